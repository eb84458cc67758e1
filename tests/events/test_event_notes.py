"""What Events say: Kyverno's reasons, actions and texts."""

import pytest

from kymograph.controllers.events import notes
from kymograph.engine import exceptions
from support.reporting import compiled, result_of

POD = notes.Reference("v1", "Pod", "shop", "web", "uid-web")
NODE = notes.Reference("v1", "Node", "", "n1", "uid-n1")
POLICY = notes.Reference("kyverno.io/v1", "ClusterPolicy", "", "p", "uid-p")
EXCEPTION = exceptions.compile_exception(
    {
        "apiVersion": "kyverno.io/v2",
        "kind": "PolicyException",
        "metadata": {"name": "e", "namespace": "kymograph", "uid": "uid-e"},
        "spec": {
            "exceptions": [{"policyName": "p", "ruleNames": ["r"]}],
            "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        },
    }
)


def told(status, *, subject=POD, blocked=False, omitted=(), **properties):
    """What is said of a review in which the rule of `p` ended so."""
    found = [result_of(compiled(), status, "because", **properties)]
    excepted = exceptions.Exceptions([EXCEPTION])
    return list(notes.of_review(subject, found, blocked=blocked, excepted=excepted, omitted=omitted))


@pytest.mark.parametrize("status", ["fail", "error"])
def test_a_violation_is_told_of_the_policy_and_of_the_object(status) -> None:
    """Where the request was allowed."""
    of_policy, of_object = told(status)
    assert of_policy == notes.Note(
        POLICY,
        POD,
        notes.Reason.POLICY_VIOLATION,
        notes.Action.PASSED,
        notes.Source.ADMISSION,
        f"Pod shop/web: [r] {status}; because",
    )
    assert of_object == of_policy._replace(regarding=POD, related=None, text=f"policy p/r {status}: because")


def test_of_a_refused_request_only_the_policy_is_told() -> None:
    """There is no object."""
    (note,) = told("fail", blocked=True)
    assert (note.regarding, note.action) == (POLICY, "Resource Blocked")
    assert note.text == "Pod shop/web: [r] fail (blocked); because"


def test_what_lies_in_no_namespace_is_named_without_one() -> None:
    """A Node, for example."""
    assert told("fail", subject=NODE)[0].text == "Node n1: [r] fail; because"


def test_a_policy_without_failures_was_applied() -> None:
    """Unless that is not wanted."""
    (note,) = told("pass")
    assert (note.regarding, note.reason, note.text) == (POLICY, "PolicyApplied", "Pod shop/web: pass")
    assert told("pass", omitted={"PolicyApplied"}) == []


def test_an_exception_that_applied_is_told_of_itself_and_of_the_policy() -> None:
    """With their names; a rule that was skipped otherwise is not told of."""
    of_exception, of_policy = told("skip", exceptions="e")
    assert of_exception.regarding == ("kyverno.io/v2", "PolicyException", "kymograph", "e", "uid-e")
    assert of_exception.text == "resource Pod/shop/web was skipped from policy rule p/r"
    assert (of_policy.regarding, of_policy.reason) == (POLICY, "PolicySkipped")
    assert of_policy.text == "resource Pod/shop/web was skipped from rule r due to policy exceptions kymograph/e"
    assert told("skip") == []
    assert told("skip", exceptions="e", omitted={"PolicySkipped"}) == []


def test_scans_say_the_same_from_their_own_source() -> None:
    """A warning is a violation, too."""
    found = [result_of(compiled(), "warn", "because")]
    of_object, of_policy = notes.of_scan(POD, found)
    assert {of_object.source, of_policy.source} == {"kyverno-scan"}
    assert (of_object.text, of_policy.text) == ("policy p/r warn: because", "Pod shop/web: [r] warn; because")
