"""What rules of every type make API servers ask about, in either configuration, and that no outage locks a cluster.

The table follows Kyverno's derivation (`pkg/controllers/webhook`, v1.19), but for one thing: rules that mutate are
among what the validating webhooks ask about, too, since only these see the object as it will be.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import labels
from kymograph.clients.kubernetes import discovery
from kymograph.controllers.admission import webhooknames, webhooks
from kymograph.engine import compile as compiler
from kymograph.engine.match import filters

CATALOGUE = discovery.Catalogue(
    tuple(
        discovery.Served(group, "v1", plural, kind, subresource, namespaced)
        for group, plural, kind, subresource, namespaced in (
            ("", "pods", "Pod", "", True),
            ("", "pods", "Pod", "exec", True),
            ("", "services", "Service", "", True),
            ("", "configmaps", "ConfigMap", "", True),
            ("", "secrets", "Secret", "", True),
            ("", "namespaces", "Namespace", "", False),
            ("", "nodes", "Node", "", False),
            ("networking.k8s.io", "networkpolicies", "NetworkPolicy", "", True),
        )
    )
)
ADDRESS = webhooks.Address(ca_pem=b"PEM", url=None, namespace="kymograph", service="kymograph")
ALL = frozenset(filters.OPERATIONS)
CHANGES = frozenset({"CREATE", "UPDATE"})
WRITES = CHANGES | {"DELETE"}

PATTERN = {"validate": {"message": "m", "pattern": {"metadata": {"name": "?*"}}}}
MUTATE = {"mutate": {"patchStrategicMerge": {"metadata": {"labels": {"a": "b"}}}}}
TARGETS = [{"apiVersion": "v1", "kind": "Secret", "namespace": "x", "name": "y"}]
EXISTING = {"mutate": {**MUTATE["mutate"], "targets": TARGETS}}
MADE = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": "{{request.object.metadata.name}}"}
GENERATE = {"generate": {**MADE, "data": {"data": {"a": "b"}}}}
CLONES = {
    "generate": {
        "namespace": "{{request.object.metadata.name}}",
        "cloneList": {"namespace": "x", "kinds": ["v1/Secret", "networking.k8s.io/v1/NetworkPolicy"]},
    }
}
IMAGES = {"verifyImages": [{"imageReferences": ["*"], "required": False, "failureAction": "Enforce"}]}


def rule(body, *kinds, match="any", exclude=(), **fields):
    chosen = {match: [{"resources": {"kinds": [kind], **fields}} for kind in kinds]}
    excluded = {"exclude": {"any": [{"resources": each} for each in exclude]}} if exclude else {}
    return {"match": chosen, **excluded, **body}


def compiled(*rules, name="p", kind="ClusterPolicy", **spec):
    metadata = {"name": name, "annotations": {"pod-policies.kyverno.io/autogen-controllers": "none"}}
    if kind == "Policy":
        metadata["namespace"] = "ns"
    named = [{"name": f"r{number}", **each} for number, each in enumerate(rules)]
    document = {"apiVersion": "kyverno.io/v1", "kind": kind, "metadata": metadata}
    return compiler.compile_policy({**document, "spec": {"background": False, **spec, "rules": named}})


def asked(document):
    """What the webhooks of a configuration ask about: resources, each with its operations."""
    found = {}
    for webhook in (document or {"webhooks": ()})["webhooks"]:
        for each in webhook["rules"]:
            for resource in each["resources"]:
                found[resource] = found.get(resource, frozenset()) | set(each["operations"])
    found.pop("pods/ephemeralcontainers", None)  # goes with Pods
    return found


TABLE = {
    "validate": (rule(PATTERN, "Pod"), {"pods": ALL}, {}),
    "validate, operations": (rule(PATTERN, "Pod", operations=["DELETE"]), {"pods": frozenset({"DELETE"})}, {}),
    "validate, all": (rule(PATTERN, "Pod", match="all"), {"pods": ALL}, {}),
    "validate, a subresource": (rule(PATTERN, "Pod/exec"), {"pods/exec": ALL}, {}),
    "validate, cluster-wide": (rule(PATTERN, "Node"), {"nodes": ALL}, {}),
    "validate, excluded operations": (
        rule(PATTERN, "Pod", exclude=[{"operations": ["DELETE", "CONNECT"]}]),
        {"pods": CHANGES},
        {},
    ),
    "validate, an excluded kind": (
        {**rule(PATTERN, "Pod", exclude=[{"kinds": ["Pod"]}]), "match": {"resources": {"kinds": ["Pod", "Service"]}}},
        {"services": ALL},
        {},
    ),
    "validate, excluded by name": (
        rule(PATTERN, "Pod", exclude=[{"kinds": ["Pod"], "names": ["a"]}]),
        {"pods": ALL},
        {},
    ),
    "validate, a kind that is not served": (rule(PATTERN, "Pod", "Unknown"), {"pods": ALL}, {}),
    "mutate": (rule(MUTATE, "Pod"), {"pods": CHANGES}, {"pods": CHANGES}),
    "mutate, operations": (
        rule(MUTATE, "Pod", operations=["UPDATE"]),
        {"pods": frozenset({"UPDATE"})},
        {"pods": frozenset({"UPDATE"})},
    ),
    "mutate existing": (rule(EXISTING, "ConfigMap"), {"configmaps": ALL}, {}),
    "generate": (rule(GENERATE, "Namespace"), {"namespaces": ALL, "configmaps": WRITES}, {}),
    "generate, clones": (
        rule(CLONES, "Namespace"),
        {"namespaces": ALL, "secrets": WRITES, "networkpolicies": WRITES},
        {},
    ),
    "verify images": (rule(IMAGES, "Pod"), {"pods": ALL}, {"pods": CHANGES}),
}


@pytest.mark.parametrize(("written", "validating", "mutating"), TABLE.values(), ids=TABLE.keys())
@pytest.mark.parametrize("failure", ["Fail", "Ignore"])
@pytest.mark.parametrize("alone", [False, True], ids=["shared", "with conditions"])
def test_what_a_rule_is_about_is_asked_about(written, validating, mutating, failure, alone) -> None:
    """In one webhook, of the policy's failure policy, by itself where the policy has conditions."""
    conditions = [{"name": "a", "expression": "true"}]
    spec = {"webhookConfiguration": {"matchConditions": conditions}} if alone else {}
    held = [compiled(written, failurePolicy=failure, **spec)]
    validation = webhooks.resource_configuration(held, CATALOGUE, ADDRESS)
    mutation = webhooks.mutation_configuration(held, CATALOGUE, ADDRESS)
    assert (asked(validation), asked(mutation)) == (validating, mutating)
    for verb, document in (("validate", validation), ("mutate", mutation)):
        for webhook in (document or {"webhooks": ()})["webhooks"]:
            path = f"/{verb}/{failure.lower()}" + ("/finegrained/p" if alone else "")
            assert (webhook["failurePolicy"], webhook["clientConfig"]["service"]["path"]) == (failure, path)
            assert webhook.get("matchConditions") == (conditions if alone else None)
            assert (webhook["matchPolicy"], webhook["sideEffects"]) == ("Equivalent", "NoneOnDryRun")
            assert webhook["timeoutSeconds"] == 10
            assert webhook.get("reinvocationPolicy") == ("IfNeeded" if verb == "mutate" else None)


@pytest.mark.parametrize(
    ("flag", "asked_for", "seconds"), [(5, None, 5), (5, 3, 5), (5, 20, 20), (20, 15, 20), (30, None, 30)]
)
def test_the_default_of_timeouts_is_the_flags(flag, asked_for, seconds) -> None:
    """A policy can ask for more; the webhook of policies has the default itself."""
    wishes = webhooks.Wishes(timeout=flag)
    held = compiled(rule(PATTERN, "Pod"), **({"webhookTimeoutSeconds": asked_for} if asked_for else {}))
    (webhook,) = webhooks.resource_configuration([held], CATALOGUE, ADDRESS, wishes)["webhooks"]
    assert webhook["timeoutSeconds"] == seconds
    (webhook,) = webhooks.policy_configuration(ADDRESS, wishes)["webhooks"]
    assert webhook["timeoutSeconds"] == flag


def test_the_service_may_have_another_port() -> None:
    """`--service-port`."""
    address = webhooks.Address(ca_pem=b"PEM", url=None, namespace="kymograph", service="kymograph", port=8443)
    (webhook,) = webhooks.policy_configuration(address)["webhooks"]
    assert webhook["clientConfig"]["service"]["port"] == 8443


def test_a_condition_of_the_name_of_ours_takes_its_place() -> None:
    """The API server refuses a webhook that names a condition twice."""
    first = webhooks.resource_configuration(
        [compiled(rule(PATTERN, "*"))], CATALOGUE, ADDRESS, webhooks.Wishes(spares_bootstrap=True)
    )
    ((ours,),) = [each["matchConditions"] for each in first["webhooks"]]
    wishes = webhooks.Wishes(spares_bootstrap=True, match_conditions=({**ours, "expression": "true"},))
    again = webhooks.resource_configuration([compiled(rule(PATTERN, "*"))], CATALOGUE, ADDRESS, wishes)
    assert [each["matchConditions"] for each in again["webhooks"]] == [[{**ours, "expression": "true"}]]


LABELS = st.sampled_from(["kubernetes.io/metadata.name", "team"])
VALUES = st.sampled_from(["kymograph", "kube-system", "a"])
EXPRESSIONS = st.one_of(
    st.fixed_dictionaries(
        {"key": LABELS, "operator": st.sampled_from(["In", "NotIn"]), "values": st.lists(VALUES, min_size=1)}
    ),
    st.fixed_dictionaries({"key": LABELS, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
SELECTORS = st.fixed_dictionaries(
    {}, optional={"matchLabels": st.dictionaries(LABELS, VALUES), "matchExpressions": st.lists(EXPRESSIONS)}
)
POLICIES = st.builds(
    lambda written, number, failure, alone, space: compiled(
        written,
        name=f"p{number}",
        failurePolicy=failure,
        kind=space,
        **({"webhookConfiguration": {"matchConditions": [{"name": "a", "expression": "true"}]}} if alone else {}),
    ),
    st.sampled_from([rule(PATTERN, "Pod"), rule(MUTATE, "Pod"), rule(PATTERN, "*"), rule(PATTERN, "*/*")]),
    st.integers(0, 3),
    st.sampled_from(["Fail", "Ignore"]),
    st.booleans(),
    st.sampled_from(["ClusterPolicy", "Policy"]),
)


@given(
    st.lists(POLICIES, max_size=4, unique_by=lambda each: each.key),
    st.builds(
        webhooks.Wishes,
        names=st.sampled_from([webhooknames.KYMOGRAPH, webhooknames.KYVERNO]),
        namespace_selector=SELECTORS,
        object_selector=SELECTORS,
        spares_bootstrap=st.booleans(),
        ttl_label=st.sampled_from(["", "cleanup.kyverno.io/ttl"]),
    ),
)
def test_no_outage_locks_the_operator_out(policies, wishes) -> None:
    """Whatever policies and ConfigMap say: what fails closed is never about the operator's own namespace.

    But for policies and what goes with them, which the operator does not need to come back: it writes their status.
    """
    documents = [
        webhooks.resource_configuration(policies, CATALOGUE, ADDRESS, wishes),
        webhooks.mutation_configuration(policies, CATALOGUE, ADDRESS, wishes),
        webhooks.ttl_configuration(ADDRESS, wishes),
        webhooks.reachability_configuration(ADDRESS, wishes),
        webhooks.policy_configuration(ADDRESS, wishes),
    ]
    known = {name for _, name in webhooks.configurations(wishes.names)}
    for document in filter(None, documents):
        assert document["metadata"]["name"] in known  # what `kymograph uninstall` removes
        assert dict(wishes.names.labels).items() <= document["metadata"]["labels"].items()
        for webhook in document["webhooks"]:
            if webhook["failurePolicy"] != "Fail":
                continue
            if document is documents[-1]:
                assert {group for each in webhook["rules"] for group in each["apiGroups"]} == {"kyverno.io"}
                assert not any("/" in name or "*" in name for each in webhook["rules"] for name in each["resources"])
            else:
                own = {"kubernetes.io/metadata.name": "kymograph", "team": "a"}
                assert not labels.matcher(webhook["namespaceSelector"])(own)
