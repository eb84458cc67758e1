"""What the ConfigMap `kyverno` says, in Kyverno's grammars; what is wrong in it is named and does not count."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import imageref
from kymograph.controllers.configuration import reading
from kymograph.engine import needs

POD, EVENT, NODE = ("", "v1", "Pod"), ("", "v1", "Event"), ("", "v1", "Node")
NAMESPACE, DEPLOYMENT = ("", "v1", "Namespace"), ("apps", "v1", "Deployment")


def read(**data):
    found, problems = reading.read(data)
    assert problems == ()
    return found


def wrong(**data):
    found, problems = reading.read(data)
    return found, [str(each) for each in problems]


@pytest.mark.parametrize(
    ("text", "matched", "others"),
    [
        ("[Event,*,*]", [(EVENT, "", "a", "b")], [(POD, "", "a", "b"), (EVENT, "status", "a", "b")]),
        (
            "[*/*,kube-system,*]",
            [(POD, "exec", "kube-system", "b"), (NAMESPACE, "", "", "kube-system")],
            [(POD, "", "a", "b")],
        ),
        ("[Node,*,*][Node/?*,*,*]", [(NODE, "", "", "n"), (NODE, "status", "", "n")], [(POD, "", "a", "b")]),
        (
            "[Pod,shop-*,web-?]",
            [(POD, "", "shop-1", "web-1")],
            [(POD, "", "shop-1", "web-12"), (POD, "", "x", "web-1")],
        ),
        (
            "[apps/v1/Deployment,*,a]",
            [(DEPLOYMENT, "", "n", "a")],
            [(("extensions", "v1", "Deployment"), "", "n", "a")],
        ),
        ("[Deployment.scale, *, *]", [(DEPLOYMENT, "scale", "n", "a")], [(DEPLOYMENT, "", "n", "a")]),
        ("[Pod,a] [Node]", [(POD, "", "a", "")], [(POD, "", "a", "b"), (NODE, "", "", "n")]),
        ("[Namespace,prod,*]", [(NAMESPACE, "", "", "prod")], [(NAMESPACE, "", "", "dev"), (POD, "", "prod", "a")]),
    ],
)
def test_resource_filters(text, matched, others) -> None:
    """`[Kind,Namespace,Name]`; what is left out matches what is empty, and a Namespace is in itself."""
    filters = read(resourceFilters=text).filters
    assert all(filters.match(*each) for each in matched)
    assert not any(filters.match(*each) for each in others)


def test_a_wrong_filter_costs_itself_only() -> None:
    """And is quoted."""
    found, problems = wrong(resourceFilters="[Event,*,*] [a,b,c,d] [a/b/c/d/e,*,*], oops")
    assert found.filters.match(EVENT, "", "a", "b")
    assert not found.filters.match(POD, "", "a", "b")
    assert problems == [
        "resourceFilters: [a,b,c,d]: a filter is [Kind,Namespace,Name]",
        (
            "resourceFilters: [a/b/c/d/e,*,*]: 'a/b/c/d/e' is no kind: write Kind, version/Kind or group/version/Kind, "
            "and /subresource"
        ),
        "resourceFilters: 'oops' is not in brackets",
    ]


@pytest.mark.parametrize(
    ("data", "user", "excluded"),
    [
        ({"excludeUsernames": "system:*"}, ("system:a", (), (), ()), True),
        ({"excludeUsernames": "a, !system:b, system:*"}, ("system:b", (), (), ()), False),
        ({"excludeGroups": "system:nodes"}, ("n", ("x", "system:nodes"), (), ()), True),
        ({"excludeGroups": "system:nodes", "excludeUsernames": "! n"}, ("n", ("system:nodes",), (), ()), False),
        ({"excludeRoles": "kube-system:*"}, ("n", (), ("kube-system:a",), ()), True),
        ({"excludeClusterRoles": "cluster-admin"}, ("n", (), (), ("view", "cluster-admin")), True),
        ({"excludeClusterRoles": "cluster-admin"}, ("n", (), ("cluster-admin",), ("view",)), False),
        ({"excludeUsernames": "!a,,"}, ("b", (), (), ()), False),
    ],
)
def test_exclusions(data, user, excluded) -> None:
    """By any attribute; an inclusion counts more than all exclusions."""
    found = read(**data).exclusions
    assert found.match(*user) is excluded
    assert found.match(*user) is excluded
    assert found.needs_roles is any("Roles" in field for field in data)


def test_webhooks() -> None:
    """Selectors, annotations, labels and conditions, as JSON."""
    found = read(
        webhooks='{"namespaceSelector": {"matchLabels": {"a": "b"}}, "objectSelector": null}',
        webhookAnnotations='{"admissions.enforcer/disabled": "true"}',
        webhookLabels='{"team": "a"}',
        matchConditions='[{"name": "a", "expression": "true"}]',
        generateSuccessEvents="true",
        successEventActions="Resource Passed, Resource Mutated",
    )
    assert found.namespace_selector == {"matchLabels": {"a": "b"}}
    assert found.object_selector == {}
    assert (found.webhook_annotations, found.webhook_labels) == (
        {"admissions.enforcer/disabled": "true"},
        {"team": "a"},
    )
    assert found.match_conditions == ({"name": "a", "expression": "true"},)
    assert (found.success_events, found.success_actions) == (True, {"Resource Passed", "Resource Mutated"})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"webhooks": "[]"}, "webhooks: must be an object, in JSON"),
        ({"webhooks": '{"namespaceSelectors": {}}'}, "webhooks: unknown field 'namespaceSelectors'"),
        ({"webhooks": '{"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}'}, "webhooks: 'Is'"),
        ({"webhookLabels": '{"a b": "c"}'}, "webhookLabels: 'a b' is not a valid label key"),
        ({"webhookAnnotations": '{"a": 1}'}, "webhookAnnotations: 'a' is no annotation with a text"),
        ({"matchConditions": '[{"name": "a"}]'}, "matchConditions: a condition has a name and an expression"),
        ({"matchConditions": "{"}, "matchConditions: is no JSON"),
        ({"generateSuccessEvents": "yes"}, "generateSuccessEvents: 'yes' is neither true nor false"),
        ({"webhooks": '{"namespaceSelector": {"matchLabels": {"a*": "b"}}}'}, "webhooks: 'a*' holds a wildcard"),
        ({"webhookLabels": '{"a": "b*"}'}, "webhookLabels: 'b*' holds a wildcard"),
        ({"successEventActions": "Resource Blocked"}, "successEventActions: nothing that succeeds is 'Resource"),
        ({"updateRequestThreshold": "many"}, "updateRequestThreshold: 'many' is no number"),
        ({"maxContextSize": "2 MB"}, "maxContextSize: '2 MB' is no number of bytes"),
        ({"maxContextSize": "-1"}, "maxContextSize: '-1' is no number of bytes"),
        ({"defaultRegistry": "10.0.0.1"}, "defaultRegistry: '10.0.0.1' is no DNS name of a registry"),
        ({"defaultRegistry": "ghcr.io/A b"}, "defaultRegistry: 'ghcr.io/A b' is no DNS name of a registry"),
        ({"enableDefaultRegistryMutation": "no"}, "enableDefaultRegistryMutation: 'no' is neither true nor false"),
        ({"resourceFilter": "[Event,*,*]"}, "resourceFilter: unknown entry; did you mean 'resourceFilters'?"),
    ],
)
def test_what_is_wrong_is_named_and_counts_as_not_there(data, said) -> None:
    """So that a mistake lets nothing pass, and a webhook configuration is never refused for it."""
    found, (problem,) = wrong(**data)
    assert problem.startswith(said)
    assert (found.webhook_labels, found.webhook_annotations, found.match_conditions) == ({}, {}, ())
    assert (found.namespace_selector, found.object_selector, found.success_events) == ({}, {}, None)
    assert (found.success_actions, found.installation) == (frozenset(), needs.STANDARD)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, needs.Installation(imageref.Naming("docker.io", shown=True), 2 * 1024 * 1024)),
        ({"defaultRegistry": "docker.io", "enableDefaultRegistryMutation": "true"}, needs.STANDARD),
        ({"defaultRegistry": "mirror.example/hub"}, needs.Installation(imageref.Naming("mirror.example/hub"))),
        ({"enableDefaultRegistryMutation": "False"}, needs.Installation(imageref.Naming(shown=False))),
        ({"maxContextSize": "3Mi"}, needs.Installation(context_size=3 * 1024 * 1024)),
        ({"maxContextSize": "0"}, needs.Installation(context_size=0)),
    ],
)
def test_what_every_evaluation_is_told(data, said) -> None:
    """Whose images are that name no registry, and how much contexts may load."""
    assert read(**data).installation == said


GOOD = {
    "webhooks": '{"namespaceSelector": {"matchLabels": {"a": "b"}}}',
    "matchConditions": '[{"name": "a", "expression": "true"}]',
    "webhookAnnotations": '{"a": "b"}',
    "webhookLabels": '{"a": "b"}',
    "generateSuccessEvents": "true",
    "successEventActions": "Resource Mutated",
    "defaultRegistry": "ghcr.io",
    "enableDefaultRegistryMutation": "false",
    "maxContextSize": "3Mi",
}
SAID = {"filters", "exclusions"}  # a wrong filter costs itself only, and a list of users is never wrong


def compared(found):
    return {field.name: getattr(found, field.name) for field in dataclasses.fields(found) if field.name not in SAID}


@pytest.mark.parametrize("field", GOOD)
def test_what_was_read_last_stays_where_an_entry_cannot_be_read(field) -> None:
    """Its author is told so; where the entry is taken out it counts no more."""
    before = read(**GOOD)
    found, problems = reading.read({**GOOD, field: "{no:"}, before)
    assert compared(found) == compared(before)
    assert [each.field for each in problems] == [field]
    assert problems[0].reason.endswith("; what it said before stays")
    without = {key: value for key, value in GOOD.items() if key != field}
    assert compared(reading.read(without, before)[0]) == compared(read(**without)) != compared(before)


@given(st.dictionaries(st.sampled_from(reading._FIELDS), st.text()))
def test_nothing_in_it_is_ever_raised(data) -> None:
    """Whoever writes it cannot stop the operator."""
    reading.read(data)
