"""A review is untrusted input: its shape is checked once, and every refusal names the field."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.model import admission

REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "1",
        "operation": "CREATE",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "default",
        "name": "web",
        "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
        "object": {"metadata": {"name": "web", "labels": {"a": "b"}}},
        "oldObject": None,
    },
}


def changed(path: str, value) -> dict:
    """The review with the field at a dotted path set."""
    review = copy.deepcopy(REVIEW)
    *parents, last = path.split(".")
    target = review
    for parent in parents:
        target = target[parent]
    target[last] = value
    return review


def test_a_wellformed_review_gives_its_request() -> None:
    """The very request, not a copy."""
    assert admission.request_of(REVIEW) is REVIEW["request"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kind", "PodReview"),
        ("apiVersion", "admission.k8s.io/v1beta1"),
        ("request", None),
        ("request.uid", ""),
        ("request.uid", 7),
        ("request.operation", "PATCH"),
        ("request.operation", ["CREATE"]),
        ("request.name", 7),
        ("request.subResource", {}),
        ("request.requestSubResource", None),
        ("request.options", "text"),
        ("request.requestKind", []),
        ("request.requestResource", 7),
        ("request.resource", None),
        ("request.kind.group", 7),
        ("request.userInfo.username", 7),
        ("request.userInfo.groups", "system:masters"),
        ("request.object.metadata.uid", 7),
        ("request.object.metadata.generateName", []),
        ("request.object.metadata.annotations", ["a"]),
        ("request.oldObject", {"metadata": 7}),
        ("request.kind", "Pod"),
        ("request.kind.kind", None),
        ("request.resource.resource", []),
        ("request.namespace", {}),
        ("request.object", "text"),
        ("request.oldObject", []),
        ("request.userInfo", "jane"),
        ("request.userInfo.groups", ["a", 1]),
        ("request.object.metadata", []),
        ("request.object.metadata.name", 1),
        ("request.object.metadata.labels", {"a": 1}),
        ("request.oldObject", {"metadata": {"resourceVersion": 5}}),
        ("request.oldObject", {"metadata": {"resourceVersion": ["7"]}}),
        ("request.oldObject", {"metadata": {"resourceVersion": "9" * 5_000}}),
        ("request.object.metadata.uid", "u" * 2_000),
        ("request.object.metadata.name", "n" * 2_000),
        ("request.object.metadata.namespace", "n" * 2_000),
        ("request.kind.kind", "K" * 2_000),
        ("request.name", "n" * 2_000),
    ],
)
def test_a_malformed_review_is_refused_by_field(path: str, value) -> None:
    """The reason names the field that is wrong."""
    with pytest.raises(admission.MalformedReview) as refusal:
        admission.request_of(changed(path, value))
    if path.startswith("request."):
        assert path in str(refusal.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(list(REVIEW["request"])), JSON)
def test_no_value_of_any_field_escapes_as_another_error(field: str, value) -> None:
    """Whatever a field holds, the review is taken or refused."""
    try:
        admission.request_of(changed(f"request.{field}", value))
    except admission.MalformedReview:
        return


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("request.object", None),
        ("request.object", {}),
        ("request.object", {"metadata": None}),
        ("request.object.metadata.labels", None),
        ("request.userInfo", None),
        ("request.userInfo.groups", None),
        ("request.namespace", ""),
        ("request.unknown", {"of": "a later API server"}),
    ],
)
def test_what_api_servers_leave_out_or_add_is_taken(path: str, value) -> None:
    """A DELETE has no object, a cluster-scoped one no namespace; fields we do not know are not ours to refuse."""
    assert admission.request_of(changed(path, value))


def test_an_allowed_answer_holds_no_more_than_it_must() -> None:
    """Empty lists and maps are left out: the common answer is the short one."""
    assert admission.response("1", allowed=True) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "1", "allowed": True},
    }


def test_a_denial_carries_its_reason_and_code() -> None:
    """What the API server turns into the error a user reads."""
    answer = admission.response("1", allowed=False, message="no", warnings=("w",), audit_annotations={"a": "b"})
    assert answer["response"] == {
        "uid": "1",
        "allowed": False,
        "status": {"message": "no", "code": 403, "reason": "Forbidden", "status": "Failure"},
        "warnings": ["w"],
        "auditAnnotations": {"a": "b"},
    }
