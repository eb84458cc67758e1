"""What may be cleaned up follows from one review of the operator's own rules."""

import pytest

from kymograph.clients.kubernetes import discovery
from kymograph.controllers.cleanup import grants

ALL = frozenset({"get", "list", "watch", "delete", "create"})


def rule(verbs, groups=("",), plurals=("pods",), **more):
    return {"verbs": list(verbs), "apiGroups": list(groups), "resources": list(plurals), **more}


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ([rule(["list", "watch", "delete"])], True),
        ([rule(["list", "watch"]), rule(["delete"])], True),
        ([rule(["*"])], True),
        ([rule(["*"], ["*"], ["*"])], True),
        ([rule(["*"], [""], ["*"])], True),
        ([rule(["*"], ["*"], ["pods"])], True),
        ([rule(["list", "watch"], ["*"], ["*"]), rule(["delete"])], True),
        ([], False),
        ([rule(["list", "watch", "get"])], False),
        ([rule(["delete"])], False),
        ([rule(["*"], ["apps"], ["pods"])], False),
        ([rule(["*"], [""], ["pods/status"])], False),
        ([rule(["*"], resourceNames=["one"])], False),
        ([rule(["list", "watch"]), rule(["delete"], resourceNames=["one"])], False),
        ([rule(["list", "watch"], ["a"]), rule(["delete"], ["b"])], False),
    ],
)
def test_all_three_verbs_must_be_granted_for_all_names(rules, allowed) -> None:
    """By one rule or by several together, by name or by wildcard."""
    assert grants.Grants(rules).allow("", "pods") is allowed


def test_nothing_is_granted_where_a_verb_is_granted_for_nothing() -> None:
    """The cheap test that spares asking what the API server serves."""
    assert not grants.Grants()
    assert not grants.Grants([rule(["list", "watch"], ["*"], ["*"])])
    assert grants.Grants([rule(["*"])])


def test_each_resource_is_watched_once_in_the_version_its_group_prefers() -> None:
    """Not in all its versions, not its subresources, not where it cannot be watched at all."""
    served = discovery.Served
    catalogue = discovery.Catalogue(
        (
            served("", "v1", "pods", "Pod", "", namespaced=True, verbs=ALL),
            served("", "v1", "pods", "Pod", "status", namespaced=True, verbs=ALL),
            served("", "v1", "bindings", "Binding", "", namespaced=True, verbs=frozenset({"create"})),
            served("x.io", "v2", "widgets", "Widget", "", namespaced=False, verbs=ALL),
            served("x.io", "v1", "widgets", "Widget", "", namespaced=False, verbs=ALL),
            served("x.io", "v1", "gadgets", "Gadget", "", namespaced=True, verbs=ALL),
        )
    )
    found = grants.cleanable(catalogue, grants.Grants([rule(["*"], ["*"], ["*"])]))
    assert {(each.api_version, each.plural, each.namespaced) for each in found} == {
        ("v1", "pods", True),
        ("x.io/v2", "widgets", False),
        ("x.io/v1", "gadgets", True),
    }


async def test_only_what_holds_everywhere_is_asked_for() -> None:
    """The review names a namespace that cannot exist, so that no RoleBinding answers."""

    class Server:
        async def create(self, resource, document):
            assert resource.path() == "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
            assert document["spec"] == {"namespace": "-"}
            return {**document, "status": {"resourceRules": [rule(["*"])], "nonResourceRules": []}}

    granted = await grants.read(Server())
    assert granted.allow("", "pods")
    assert not granted.allow("", "secrets")
