"""Which requests the API server is told to ask about: exactly those that policies match, told in one way only."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.clients.kubernetes import discovery
from kymograph.controllers.admission import webhooknames, webhookrules, webhooks
from kymograph.engine import compile as compiler
from support.installed import policy


def served(group, version, plural, kind, *subresources, namespaced=True):
    return [discovery.Served(group, version, plural, kind, sub, namespaced) for sub in ("", *subresources)]


CATALOGUE = discovery.Catalogue(
    (
        *served("", "v1", "pods", "Pod", "status", "exec", "ephemeralcontainers"),
        *served("", "v1", "services", "Service", "status"),
        *served("", "v1", "namespaces", "Namespace", namespaced=False),
        *served("apps", "v1", "deployments", "Deployment", "scale"),
        *served("apps", "v1", "daemonsets", "DaemonSet"),
        *served("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
        *served("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    )
)
ADDRESS = webhooks.Address(ca_pem=b"PEM", url="https://10.0.0.1:9443", namespace="kymograph", service="kymograph")
ALL = ("CONNECT", "CREATE", "DELETE", "UPDATE")
PATTERN = {"message": "m", "pattern": {"metadata": {"name": "?*"}}}


def compiled(*kinds, name="p", match=None, operations=None, kind="ClusterPolicy", **spec):
    """A policy for some kinds, not rewritten for controllers of Pods and not for background scans."""
    chosen = {"kinds": list(kinds), **({"operations": operations} if operations else {})}
    document = policy(
        name,
        PATTERN,
        kind=kind,
        namespace="ns" if kind == "Policy" else "",
        match=match or {"any": [{"resources": chosen}]},
        background=False,
        **spec,
    )
    document["metadata"]["annotations"] = {"pod-policies.kyverno.io/autogen-controllers": "none"}
    return compiler.compile_policy(document)


def rules(*policies, catalogue=CATALOGUE):
    """The rules of the only webhook, as (group, version, resources, operations, scope)."""
    document = webhooks.resource_configuration(policies, catalogue, ADDRESS)
    (webhook,) = document["webhooks"]
    return [
        (*each["apiGroups"], *each["apiVersions"], each["resources"], tuple(each["operations"]), each["scope"])
        for each in webhook["rules"]
    ]


PODS = ["pods", "pods/ephemeralcontainers"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Pod", [("", "v1", PODS, "Namespaced")]),
        ("v1/Pod", [("", "v1", PODS, "Namespaced")]),
        ("Deployment", [("apps", "v1", ["deployments"], "Namespaced")]),
        ("apps/v1/Deployment", [("apps", "v1", ["deployments"], "Namespaced")]),
        ("Namespace", [("", "v1", ["namespaces"], "*")]),
        ("Deployment/scale", [("apps", "v1", ["deployments/scale"], "Namespaced")]),
        ("Pod/exec", [("", "v1", ["pods/exec"], "Namespaced")]),
        ("Pod.status", [("", "v1", ["pods/status"], "Namespaced")]),
        ("Pod/*", [("", "v1", [*PODS, "pods/exec", "pods/status"], "Namespaced")]),
        ("Service/*", [("", "v1", ["services", "services/status"], "Namespaced")]),
        (
            "HorizontalPodAutoscaler",
            [
                ("autoscaling", "v1", ["horizontalpodautoscalers"], "Namespaced"),
                ("autoscaling", "v2", ["horizontalpodautoscalers"], "Namespaced"),
            ],
        ),
        ("v2/HorizontalPodAutoscaler", [("autoscaling", "v2", ["horizontalpodautoscalers"], "Namespaced")]),
        ("apps/*/D*", [("apps", "v1", ["daemonsets", "deployments"], "Namespaced")]),
        ("P?d", [("", "v1", PODS, "Namespaced")]),
        ("*", [("*", "*", ["*", "pods/ephemeralcontainers"], "*")]),
        ("*/*", [("*", "*", ["*/*"], "*")]),
        ("*/scale", [("*", "*", ["*/scale"], "*")]),
        ("apps/v1/*", [("apps", "v1", ["*"], "*")]),
        ("app*/v1/*", [("apps", "v1", ["daemonsets", "deployments"], "Namespaced")]),
        ("*/*/*/s?ale", [("apps", "v1", ["deployments/scale"], "Namespaced")]),
    ],
)
def test_a_kind_becomes_the_resources_that_serve_it(kind, expected) -> None:
    """A whole `*` is the API server's own wildcard; others are looked up, since it would take them literally.

    Containers added to running Pods are covered by whatever covers Pods, as in the engine.
    """
    found = [(group, version, names, scope) for group, version, names, _, scope in rules(compiled(kind))]
    assert found == expected


def test_a_kind_that_is_not_served_has_no_rule_and_is_named() -> None:
    """It enters when it is served; a policy of nothing else needs no webhook."""
    unknown, known = compiled("Unknown", "example.com/v1/Thing"), compiled("Pod", "Other")
    assert webhooks.resource_configuration([unknown], CATALOGUE, ADDRESS) is None
    assert [each[2] for each in rules(unknown, known)] == [PODS]
    missing = webhookrules.unresolved([unknown, known], CATALOGUE)
    assert len(missing) == 3
    assert webhookrules.unresolved([compiled("*"), compiled("Pod")], CATALOGUE) == set()
    things = discovery.Catalogue((*CATALOGUE.served, *served("example.com", "v1", "things", "Thing")))
    assert ("example.com", "v1", ["things"], ALL, "Namespaced") in rules(unknown, catalogue=things)


def test_no_policies_need_no_configuration() -> None:
    """It is removed then."""
    assert webhooks.resource_configuration([], CATALOGUE, ADDRESS) is None


@pytest.mark.parametrize(
    ("operations", "expected"),
    [(None, ALL), (["CREATE"], ("CREATE",)), (["UPDATE", "CREATE"], ("CREATE", "UPDATE"))],
)
def test_operations_are_those_asked_for(operations, expected) -> None:
    """All four where a policy names none."""
    assert rules(compiled("Service", operations=operations)) == [("", "v1", ["services"], expected, "Namespaced")]


def test_operations_of_several_policies_add_up_per_resource() -> None:
    """Resources with the same operations share a rule."""
    found = rules(
        compiled("Service", name="a", operations=["CREATE"]),
        compiled("Service", name="b", operations=["DELETE"]),
        compiled("Deployment", "DaemonSet", name="c", operations=["CREATE"]),
    )
    assert found == [
        ("", "v1", ["services"], ("CREATE", "DELETE"), "Namespaced"),
        ("apps", "v1", ["daemonsets", "deployments"], ("CREATE",), "Namespaced"),
    ]


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ({"any": [{"resources": {"operations": ["DELETE", "CONNECT"]}}]}, ("CREATE", "UPDATE")),
        ({"any": [{"resources": {"kinds": ["Service"], "operations": ["DELETE"]}}]}, ("CONNECT", "CREATE", "UPDATE")),
        ({"any": [{"resources": {"kinds": ["Pod"], "operations": ["DELETE"]}}]}, ALL),
        ({"any": [{"resources": {"names": ["a"], "operations": ["DELETE"]}}]}, ALL),
        ({"any": [{"subjects": [{"kind": "User", "name": "a"}], "resources": {"operations": ["DELETE"]}}]}, ALL),
        ({"all": [{"resources": {"operations": ["DELETE"]}}]}, ALL),
        ({"any": [{}]}, ALL),
    ],
)
def test_what_is_excluded_for_certain_is_not_asked_about(exclude, expected) -> None:
    """An exclusion that looks at the object or the user is the engine's to decide."""
    found = webhooks.resource_configuration([compiled("Service", exclude=exclude)], CATALOGUE, ADDRESS)
    assert tuple(found["webhooks"][0]["rules"][0]["operations"]) == expected


def test_every_filter_of_a_match_counts() -> None:
    """Of `any` each, of `all` each too: the webhook asks about more, the engine decides."""
    kinds = [{"resources": {"kinds": [kind]}} for kind in ("Service", "Deployment")]
    for form in ("any", "all"):
        assert [each[2] for each in rules(compiled(match={form: kinds}))] == [["services"], ["deployments"]]


def test_everything_with_all_subresources_stands_alone() -> None:
    """The API server refuses a rule that names more beside it; one such policy would stop all others."""
    found = rules(*(compiled(kind, name=str(index)) for index, kind in enumerate(("*", "*/scale", "*/*"))))
    assert found == [("*", "*", ["*/*"], ALL, "*")]
    found = rules(compiled("*"), compiled("*/scale"))
    assert [each[2] for each in found] == [["*", "*/scale", "pods/ephemeralcontainers"]]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["*", "Pod", "Deployment"], [("*", "*", ["*", "pods/ephemeralcontainers"], ALL, "*")]),
        (["*", "Pod/exec"], [("", "v1", ["pods/exec"], ALL), ("*", "*", ["*", "pods/ephemeralcontainers"], ALL)]),
        (["*/*", "Pod/exec", "Namespace", "*/scale"], [("*", "*", ["*/*"], ALL)]),
        (["apps/v1/*", "Deployment"], [("apps", "v1", ["*"], ALL)]),
        (["*/scale", "Deployment/scale"], [("*", "*", ["*/scale"], ALL)]),
    ],
)
def test_what_a_wildcard_covers_is_not_told_twice(kinds, expected) -> None:
    """One request would be asked about as often as there are rules for it in separate webhooks."""
    policies = [compiled(kind, name=str(index)) for index, kind in enumerate(kinds)]
    assert [each[: len(expected[0])] for each in rules(*policies)] == expected


def test_a_wildcard_covers_only_its_operations() -> None:
    """What is left of the narrower rule stays."""
    found = rules(compiled("*", name="a", operations=["CREATE"]), compiled("Service", name="b"))
    assert found == [
        ("", "v1", ["services"], ("CONNECT", "DELETE", "UPDATE"), "Namespaced"),
        ("*", "*", ["*", "pods/ephemeralcontainers"], ("CREATE",), "*"),
    ]


def test_a_namespaced_policy_asks_about_nothing_cluster_wide() -> None:
    """Its wildcards select in its namespace."""
    assert rules(compiled("*", kind="Policy")) == [("*", "*", ["*", "pods/ephemeralcontainers"], ALL, "Namespaced")]
    both = rules(compiled("*", kind="Policy"), compiled("*", name="q"))
    assert both == [("*", "*", ["*", "pods/ephemeralcontainers"], ALL, "*")]


def test_rules_written_for_pods_cover_their_controllers() -> None:
    """What is generated for controllers of Pods needs webhook rules too."""
    pods = compiler.compile_policy(policy("p", {"message": "m", "pattern": {"spec": {"hostNetwork": "false"}}}))
    assert ["daemonsets", "deployments"] in [each[2] for each in rules(pods)]


def test_fail_and_ignore_policies_have_a_webhook_each() -> None:
    """An outage blocks only what its authors asked to have blocked."""
    strict, lenient = compiled("Pod", name="a"), compiled("Service", name="b", failurePolicy="Ignore")
    document = webhooks.resource_configuration([lenient, strict], CATALOGUE, ADDRESS)
    assert [
        (each["name"], each["failurePolicy"], each["clientConfig"]["url"], each["rules"][0]["resources"])
        for each in document["webhooks"]
    ] == [
        ("fail.validate.kymograph.dev", "Fail", "https://10.0.0.1:9443/validate/fail", PODS),
        ("ignore.validate.kymograph.dev", "Ignore", "https://10.0.0.1:9443/validate/ignore", ["services"]),
    ]
    only = webhooks.resource_configuration([lenient], CATALOGUE, ADDRESS)
    assert [each["failurePolicy"] for each in only["webhooks"]] == ["Ignore"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [((None,), 10), ((5,), 10), ((30,), 30), ((5, 20), 20), ((5, None), 10), ((20, None), 20)],
)
def test_the_timeout_satisfies_every_policy(asked, expected) -> None:
    """What one asks for shortens no other's, and less than the default is never meant, as in Kyverno."""
    policies = [
        compiled("Pod", name=f"p{index}", **({"webhookTimeoutSeconds": seconds} if seconds else {}))
        for index, seconds in enumerate(asked)
    ]
    (webhook,) = webhooks.resource_configuration(policies, CATALOGUE, ADDRESS)["webhooks"]
    assert webhook["timeoutSeconds"] == expected


def test_timeouts_of_fail_and_ignore_are_their_own() -> None:
    """A patient Ignore policy does not make a Fail policy's users wait."""
    strict = compiled("Pod", name="a", webhookTimeoutSeconds=13)
    lenient = compiled("Pod", name="b", failurePolicy="Ignore", webhookTimeoutSeconds=25)
    document = webhooks.resource_configuration([strict, lenient], CATALOGUE, ADDRESS)
    assert [each["timeoutSeconds"] for each in document["webhooks"]] == [13, 25]


def test_the_operators_own_namespace_is_never_asked_about() -> None:
    """It must be able to come back while its webhooks cannot be reached; policies are not what it needs for that."""
    own = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kymograph"]}
    for webhook in webhooks.resource_configuration([compiled("*")], CATALOGUE, ADDRESS)["webhooks"]:
        assert webhook["namespaceSelector"] == {"matchExpressions": [own]}
    theirs = {"key": "team", "operator": "Exists"}
    wishes = webhooks.Wishes(
        namespace_selector={"matchExpressions": [theirs], "matchLabels": {"a": "b"}},
        object_selector={"matchLabels": {"c": "d"}},
    )
    (webhook,) = webhooks.resource_configuration([compiled("*")], CATALOGUE, ADDRESS, wishes)["webhooks"]
    assert webhook["namespaceSelector"] == {"matchExpressions": [theirs, own], "matchLabels": {"a": "b"}}
    assert webhook["objectSelector"] == {"matchLabels": {"c": "d"}}
    (webhook,) = webhooks.policy_configuration(ADDRESS, wishes)["webhooks"]
    assert (webhook["namespaceSelector"], webhook["objectSelector"]) == ({}, {})


def test_labels_that_say_when_objects_go_are_asked_about_wherever_they_are() -> None:
    """Of objects that have one, but in the operator's own namespace; no write fails for it."""
    assert webhooks.ttl_configuration(ADDRESS) is None
    document = webhooks.ttl_configuration(ADDRESS, webhooks.Wishes(ttl_label="example.com/ttl"))
    (webhook,) = document["webhooks"]
    assert webhook["objectSelector"] == {"matchExpressions": [{"key": "example.com/ttl", "operator": "Exists"}]}
    assert webhook["namespaceSelector"]["matchExpressions"][0]["values"] == ["kymograph"]
    (rule,) = webhook["rules"]
    assert (rule["apiGroups"], rule["resources"], rule["operations"]) == (["*"], ["*"], ["CREATE", "UPDATE"])
    assert (webhook["failurePolicy"], webhook["clientConfig"]["url"]) == ("Ignore", ADDRESS.url + webhooks.TTL_PATH)


CONDITION = {"name": "not-nodes", "expression": '!("system:nodes" in request.userInfo.groups)'}


def conditional(name, **spec):
    return compiled("Pod", name=name, webhookConfiguration={"matchConditions": [CONDITION]}, **spec)


def test_a_policy_with_match_conditions_has_a_webhook_of_its_own() -> None:
    """Conditions are said per webhook: others must not be held by them, nor it by the installation's."""
    wishes = webhooks.Wishes(match_conditions=({"name": "all", "expression": "true"},))
    policies = [
        conditional("a"),
        conditional("b", kind="Policy", failurePolicy="Ignore"),
        compiled("Service", name="c"),
    ]
    document = webhooks.resource_configuration(policies, CATALOGUE, ADDRESS, wishes)
    assert [
        (each["name"], each["clientConfig"]["url"], [condition["name"] for condition in each["matchConditions"]])
        for each in document["webhooks"]
    ] == [
        ("a.fail.validate.kymograph.dev", "https://10.0.0.1:9443/validate/fail/finegrained/a", ["not-nodes"]),
        ("fail.validate.kymograph.dev", "https://10.0.0.1:9443/validate/fail", ["all"]),
        ("ns.b.ignore.validate.kymograph.dev", "https://10.0.0.1:9443/validate/ignore/finegrained/ns/b", ["not-nodes"]),
    ]


def test_a_policy_that_is_not_for_admission_asks_about_nothing() -> None:
    """Its webhook would cost every request a call."""
    assert webhooks.resource_configuration([conditional("a", admission=True)], CATALOGUE, ADDRESS) is not None
    document = policy("p", PATTERN, admission=False)
    assert webhooks.resource_configuration([compiler.compile_policy(document)], CATALOGUE, ADDRESS) is None


def test_kyvernos_names_are_kyvernos() -> None:
    """For tools that look for them (`pkg/config` of Kyverno)."""
    wishes = webhooks.Wishes(names=webhooknames.KYVERNO, labels={"team": "a", "webhook.kyverno.io/managed-by": "b"})
    policies = [conditional("a"), compiled("Service", name="c", failurePolicy="Ignore")]
    document = webhooks.resource_configuration(policies, CATALOGUE, ADDRESS, wishes)
    assert document["metadata"] == {
        "name": "kyverno-resource-validating-webhook-cfg",
        "labels": {"team": "a", "webhook.kyverno.io/managed-by": "kyverno"},
    }
    assert [each["name"] for each in document["webhooks"]] == [
        "validate.kyverno.svc-fail-finegrained-a",
        "validate.kyverno.svc-ignore",
    ]


@given(st.lists(st.from_regex(r"[a-c-]{0,3}(/[a-c-]{1,3})?", fullmatch=True), unique=True), st.booleans())
def test_no_two_policies_have_webhooks_of_one_name(keys, kyverno) -> None:
    """The API server refuses a configuration for that; likewise for a name that is too long."""
    names = webhooknames.KYVERNO if kyverno else webhooknames.KYMOGRAPH
    keys = [*keys, "n" * 63 + "/" + "p" * 200]
    found = names.of_policies("validate", "Fail", keys)
    assert len(set(found.values())) == len(keys)
    assert all(len(name) <= 253 for name in found.values())


def test_what_nodes_need_to_join_is_spared_where_that_is_wanted() -> None:
    """Only by webhooks that fail closed: the others block nobody."""
    policies = [compiled("*", name="a"), compiled("*", name="b", failurePolicy="Ignore")]
    document = webhooks.resource_configuration(policies, CATALOGUE, ADDRESS, webhooks.Wishes(spares_bootstrap=True))
    strict, lenient = document["webhooks"]
    assert [each["name"] for each in strict["matchConditions"]] == ["kymograph-exclude-bootstrap-resources"]
    assert "matchConditions" not in lenient


def test_what_is_generated_is_asked_about() -> None:
    """Who changes or deletes it; a kind that only a request tells is not known yet."""
    generate = {"apiVersion": "v1", "kind": "Service", "namespace": "a", "name": "b", "data": {"spec": {}}}
    document = policy("p", PATTERN, match={"any": [{"resources": {"kinds": ["Namespace"]}}]}, background=False)
    (rule,) = document["spec"]["rules"]
    del rule["validate"]
    rule["generate"] = generate
    assert rules(compiler.compile_policy(document)) == [
        ("", "v1", ["namespaces"], ALL, "*"),
        ("", "v1", ["services"], ("CREATE", "DELETE", "UPDATE"), "Namespaced"),
    ]
    rule["generate"] = {**generate, "kind": "{{ request.object.kind }}"}
    assert rules(compiler.compile_policy(document)) == [("", "v1", ["namespaces"], ALL, "*")]


def test_a_configuration_leads_to_the_service_or_to_the_url() -> None:
    """Inside a cluster the Service of the operator's namespace, on port 443."""
    inside = webhooks.Address(ca_pem=b"PEM", url=None, namespace="ours", service="svc")
    bundle = base64.b64encode(b"PEM").decode()
    assert webhooks.policy_configuration(inside)["webhooks"][0]["clientConfig"] == {
        "service": {"namespace": "ours", "name": "svc", "path": "/validate/policies", "port": 443},
        "caBundle": bundle,
    }
    assert webhooks.policy_configuration(ADDRESS)["webhooks"][0]["clientConfig"] == {
        "url": "https://10.0.0.1:9443/validate/policies",
        "caBundle": bundle,
    }


def test_policies_are_always_checked_and_an_outage_lets_none_in() -> None:
    """A policy that nobody checked could use what is not enforced, and nobody would notice."""
    (webhook,) = webhooks.policy_configuration(ADDRESS)["webhooks"]
    assert (webhook["failurePolicy"], webhook["rules"][0]["operations"]) == ("Fail", ["CREATE", "UPDATE"])
    assert webhook["rules"][0]["resources"] == ["clusterpolicies", "policies"]
    assert webhook["rules"][1]["resources"] == [
        "cleanuppolicies",
        "clustercleanuppolicies",
        "globalcontextentries",
        "policyexceptions",
    ]


def test_an_owner_takes_the_configuration_along_when_it_goes() -> None:
    """None where the operator was installed without its role."""
    owner = {"apiVersion": "v1", "kind": "ClusterRole", "name": "kymograph", "uid": "1"}
    owned = webhooks.Address(ca_pem=b"", url=None, namespace="n", service="s", owner=owner)
    assert webhooks.policy_configuration(owned)["metadata"]["ownerReferences"] == [owner]
    assert "ownerReferences" not in webhooks.policy_configuration(ADDRESS)["metadata"]


POLICIES = [
    compiled("Pod", name="a"),
    compiled("Service", "Deployment", name="b", operations=["CREATE"]),
    compiled("*", name="c", failurePolicy="Ignore"),
    compiled("HorizontalPodAutoscaler", name="d", webhookTimeoutSeconds=20),
    compiled("Pod/exec", name="e"),
    compiled("Pod", name="f", kind="Policy"),
]


@given(st.permutations(POLICIES), st.permutations(CATALOGUE.served))
def test_the_same_policies_always_give_the_same_configuration(policies, entries) -> None:
    """Else every restart, and every replica, would write it again."""
    found = webhooks.resource_configuration(policies, discovery.Catalogue(tuple(entries)), ADDRESS)
    assert found == webhooks.resource_configuration(POLICIES, CATALOGUE, ADDRESS)
    for webhook in found["webhooks"]:
        for rule in webhook["rules"]:
            assert rule["resources"] == sorted(rule["resources"])


def test_the_real_api_server_takes_what_is_derived(kubectl) -> None:
    """Every form of rule at once, and the configuration for policies."""
    everything = [*POLICIES, *(compiled(kind, name="x") for kind in ("*/*", "*/scale", "apps/v1/*", "Service/*"))]
    for document in (
        webhooks.resource_configuration(everything, CATALOGUE, ADDRESS),
        webhooks.resource_configuration(
            [conditional("y"), conditional("z")],
            CATALOGUE,
            ADDRESS,
            webhooks.Wishes(names=webhooknames.KYVERNO, spares_bootstrap=True, annotations={"a": "b"}),
        ),
        webhooks.policy_configuration(ADDRESS),
        webhooks.reachability_configuration(ADDRESS),
    ):
        kubectl("apply", "--dry-run=server", "-f", "-", input=json.dumps(document))
