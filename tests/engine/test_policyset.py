"""The choice of policies for a request."""

import pytest

from kymograph.engine import compile as compiler
from kymograph.engine import policyset

POD = {"group": "", "version": "v1", "kind": "Pod"}


def policy(name="p", kinds=("Pod",), namespace="", operations=None, namespaces=None, metadata=None, **spec):
    resources = {"kinds": list(kinds)}
    if operations:
        resources["operations"] = operations
    if namespaces:
        resources["namespaces"] = namespaces
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "Policy" if namespace else "ClusterPolicy",
            "metadata": {"name": name, "namespace": namespace, **(metadata or {})},
            "spec": {
                "background": False,
                "rules": [
                    {
                        "name": "r",
                        "match": {"any": [{"resources": resources}]},
                        "validate": {"pattern": {"metadata": {"labels": {"a": "?*"}}}},
                    }
                ],
                **spec,
            },
        }
    )


def request(kind=POD, operation="CREATE", namespace="shop", subresource=""):
    made = {"kind": kind, "operation": operation, "object": {}}
    if namespace:
        made["namespace"] = namespace
    if subresource:
        made["subResource"] = subresource
    return made


def names(found):
    return [each.key for each in found]


def test_an_empty_set_has_nothing_for_anybody():
    assert policyset.PolicySet().lookup(request(), "Fail") == ()
    assert policyset.PolicySet().generation == 0


def test_changes_make_another_set():
    empty = policyset.PolicySet()
    one = empty.replace(policy("b"))
    two = one.replace(policy("a"))
    assert (names(empty.policies), names(one.policies), names(two.policies)) == ([], ["b"], ["a", "b"])
    assert (empty.generation, one.generation, two.generation) == (0, 1, 2)
    assert names(two.remove("b").policies) == ["a"]
    assert two.remove("nosuch") is two


def test_a_policy_takes_the_place_of_the_one_with_its_key():
    old, new = policy("a"), policy("a", kinds=["Secret"])
    assert policyset.PolicySet([old]).replace(new).policies == (new,)
    other_namespace = policy("a", namespace="shop")
    assert names(policyset.PolicySet([old]).replace(other_namespace).policies) == ["a", "shop/a"]


@pytest.mark.parametrize(
    ("made", "asked", "chosen"),
    [
        (policy(), request(), True),
        (policy(kinds=["Secret"]), request(), False),
        (policy(kinds=["apps/v1/Pod"]), request(), False),
        (policy(kinds=["*"]), request(), True),
        (policy(), request(subresource="ephemeralcontainers"), True),
        (policy(), request(subresource="status"), False),
        (policy(kinds=["Pod/status"]), request(subresource="status"), True),
        (policy(operations=["UPDATE"]), request(), False),
        (policy(operations=["UPDATE", "CREATE"]), request(), True),
        (policy(namespaces=["shop"]), request(), True),
        (policy(namespaces=["ba*"]), request(), False),
        (policy(namespace="shop"), request(), True),
        (policy(namespace="bank"), request(), False),
        (policy(namespace="shop"), request(namespace=""), False),
        (policy(), request({"group": "apps", "version": "v1", "kind": "Deployment"}), True),
        (policy(), request({"group": "batch", "version": "v1", "kind": "CronJob"}), True),
        (
            policy(metadata={"annotations": {"pod-policies.kyverno.io/autogen-controllers": "none"}}),
            request({"group": "apps", "version": "v1", "kind": "Deployment"}),
            False,
        ),
    ],
)
def test_a_policy_is_chosen_if_it_may_concern_the_request(made, asked, chosen):
    assert bool(policyset.PolicySet([made]).lookup(asked, "Fail")) is chosen


def test_the_kind_of_other_subresources_says_nothing_of_the_object():
    eviction = request({"group": "policy", "version": "v1", "kind": "Eviction"}, subresource="eviction")
    chosen = policyset.PolicySet([policy("a"), policy("b", kinds=["Pod/eviction"]), policy("c", kinds=["*/*"])])
    assert names(chosen.lookup(eviction, None)) == ["b", "c"]


def test_each_webhook_gets_the_policies_of_its_failure_policy():
    both = policyset.PolicySet([policy("a"), policy("b", failurePolicy="Ignore")])
    assert names(both.lookup(request(), "Fail")) == ["a"]
    assert names(both.lookup(request(), "Ignore")) == ["b"]
    assert names(both.lookup(request(), None)) == ["a", "b"]


def test_policies_that_are_not_for_admission_are_left_to_the_background():
    only_background = policyset.PolicySet([policy(admission=False, background=True)])
    assert only_background.lookup(request(), "Fail") == ()
    assert names(only_background.lookup(request(), None)) == ["p"]


def test_what_is_remembered_differs_by_namespace():
    mixed = policyset.PolicySet([policy("a"), policy("b", namespace="shop"), policy("c", namespaces=["bank"])])
    for _ in range(2):
        assert names(mixed.lookup(request(namespace="shop"), "Fail")) == ["a", "shop/b"]
        assert names(mixed.lookup(request(namespace="bank"), "Fail")) == ["a", "c"]
        assert names(mixed.lookup(request(namespace="other"), "Fail")) == ["a"]


def test_what_is_remembered_is_bounded():
    mixed = policyset.PolicySet([policy("b", namespace="shop")])
    for index in range(10_000):
        mixed.lookup(request(namespace=f"n{index}"), "Fail")
        mixed.lookup(request({**POD, "kind": f"K{index}"}), "Fail")
    assert len(mixed._remembered) <= 4096
    assert names(mixed.lookup(request(), "Fail")) == ["shop/b"]
