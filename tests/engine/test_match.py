"""Which objects and users a rule is for."""

import pytest

from kymograph.engine import fields
from kymograph.engine.match import blocks, target


def decide(rule, resource=None, **request):
    """Decide about a Pod, changed by the keyword arguments."""
    problems = fields.Problems()
    match = blocks.read(rule, "spec.rules[0]", problems)
    problems.raise_if_any()
    resource = {"metadata": {"name": "web-1", "namespace": "shop"}} if resource is None else resource
    kind = request.get("kind", ("", "v1", "Pod", ""))
    user = request.get("user", target.User("alice", ("staff",)))
    labels = request.get("namespace_labels", {})
    made = target.of(resource, kind, request.get("operation", "CREATE"), request.get("namespace", "shop"), labels, user)
    return match.decide(made)


def resources(**description):
    return {"match": {"any": [{"resources": {"kinds": ["Pod"], **description}}]}}


@pytest.mark.parametrize(
    ("description", "decision"),
    [
        ({}, "matched"),
        ({"kinds": ["Deployment"]}, "unmatched"),
        ({"kinds": ["Deployment", "Pod"]}, "matched"),
        ({"kinds": ["v1/Pod"]}, "matched"),
        ({"kinds": ["apps/v1/Pod"]}, "unmatched"),
        ({"name": "web-*"}, "matched"),
        ({"name": "db-*"}, "unmatched"),
        ({"names": ["db-*", "web-?"]}, "matched"),
        ({"namespaces": ["shop"]}, "matched"),
        ({"namespaces": ["kube-*", "sh?p"]}, "matched"),
        ({"namespaces": ["kube-*"]}, "unmatched"),
        ({"operations": ["CREATE", "DELETE"]}, "matched"),
        ({"operations": ["UPDATE"]}, "unmatched"),
        ({"names": ["web-1"], "namespaces": ["kube-system"]}, "unmatched"),
    ],
)
def test_all_attributes_must_hold_and_in_each_list_one_entry(description, decision):
    assert decide(resources(**description)) == decision


@pytest.mark.parametrize(
    ("selector", "decision"),
    [
        ({"matchLabels": {"app": "web"}}, "matched"),
        ({"matchLabels": {"app": "w*"}}, "matched"),
        ({"matchLabels": {"*": "db"}}, "unmatched"),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, "unmatched"),
    ],
)
def test_selector_looks_at_the_labels_of_the_object(selector, decision):
    resource = {"metadata": {"name": "web-1", "labels": {"app": "web"}}}
    assert decide(resources(selector=selector), resource) == decision


@pytest.mark.parametrize(
    ("annotations", "decision"),
    [
        ({"team": "shop"}, "matched"),
        ({"t*": "sh?p"}, "matched"),
        ({"team": "shop", "owner": "*"}, "unmatched"),
    ],
)
def test_annotations_are_wildcards_in_key_and_value(annotations, decision):
    resource = {"metadata": {"name": "web-1", "annotations": {"team": "shop", "x": "y"}}}
    assert decide(resources(annotations=annotations), resource) == decision


def test_generate_name_stands_in_for_a_name():
    resource = {"metadata": {"generateName": "web-"}}
    assert decide(resources(name="web-*"), resource) == "matched"
    assert decide(resources(name="web-?*"), resource) == "unmatched"


def test_a_namespace_is_in_the_namespace_of_its_name():
    rule = {"match": {"any": [{"resources": {"kinds": ["Namespace"], "namespaces": ["kube-*"]}}]}}
    kind = ("", "v1", "Namespace", "")
    assert decide(rule, {"metadata": {"name": "kube-system"}}, kind=kind, namespace="kube-system") == "matched"
    assert decide(rule, {"metadata": {"name": "shop"}}, kind=kind, namespace="shop") == "unmatched"


def test_namespace_selector_looks_at_the_labels_of_the_namespace():
    rule = resources(namespaceSelector={"matchLabels": {"env": "prod"}})
    assert decide(rule, namespace_labels={"env": "prod"}) == "matched"
    assert decide(rule, namespace_labels={"env": "dev"}) == "unmatched"


def test_namespace_selector_never_selects_a_namespace():
    rule = {"match": {"any": [{"resources": {"kinds": ["Namespace"], "namespaceSelector": {}}}]}}
    kind = ("", "v1", "Namespace", "")
    assert decide(rule, {"metadata": {"name": "shop"}}, kind=kind) == "unmatched"


@pytest.mark.parametrize(
    ("kinds", "decision"),
    [(["Pod"], "matched"), (["v1/Pod"], "matched"), (["*"], "matched"), (["Deployment"], "unmatched")],
)
def test_a_rule_for_pods_is_also_for_their_ephemeral_containers(kinds, decision):
    assert decide(resources(kinds=kinds), kind=("", "v1", "Pod", "ephemeralcontainers")) == decision


def test_other_subresources_must_be_named():
    assert decide(resources(), kind=("", "v1", "Pod", "exec")) == "unmatched"
    assert decide(resources(kinds=["Pod/exec"]), kind=("", "v1", "Pod", "exec")) == "matched"


@pytest.mark.parametrize(
    ("subject", "decision"),
    [
        ({"kind": "User", "name": "alice"}, "matched"),
        ({"kind": "User", "name": "al*"}, "matched"),
        ({"kind": "User", "name": "staff"}, "unmatched"),
        ({"kind": "Group", "name": "st?ff"}, "matched"),
        ({"kind": "Group", "name": "alice"}, "unmatched"),
        ({"kind": "ServiceAccount", "namespace": "ci", "name": "deploy*"}, "unmatched"),
    ],
)
def test_subjects(subject, decision):
    rule = {"match": {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": [subject]}]}}
    assert decide(rule) == decision


def test_a_service_account_is_known_by_namespace_and_name():
    subject = {"kind": "ServiceAccount", "namespace": "ci", "name": "deploy*"}
    rule = {"match": {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": [subject]}]}}
    assert decide(rule, user=target.User("system:serviceaccount:ci:deployer")) == "matched"
    assert decide(rule, user=target.User("system:serviceaccount:shop:deployer")) == "unmatched"


def test_without_a_user_match_forgets_its_subjects_and_exclude_does_not():
    subjects = [{"kind": "User", "name": "alice"}]
    rule = {"match": {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": subjects}]}}
    assert decide(rule, user=None) == "matched"
    rule = {**resources(), "exclude": {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": subjects}]}}
    assert decide(rule, user=None) == "matched"
    assert decide(rule) == "excluded"


@pytest.mark.parametrize(
    ("form", "names", "decision"),
    [
        ("any", ["web-*", "db-*"], "matched"),
        ("any", ["x", "y"], "unmatched"),
        ("all", ["web-*", "*-1"], "matched"),
        ("all", ["web-*", "db-*"], "unmatched"),
    ],
)
def test_any_is_or_and_all_is_and(form, names, decision):
    entries = [{"resources": {"kinds": ["Pod"], "names": [name]}} for name in names]
    assert decide({"match": {form: entries}}) == decision


def test_the_oldest_form_is_one_filter():
    assert decide({"match": {"resources": {"kinds": ["Pod"], "name": "web-1"}}}) == "matched"
    assert decide({"match": {"resources": {"kinds": ["Pod"], "name": "db"}}}) == "unmatched"


@pytest.mark.parametrize(
    ("exclude", "decision"),
    [
        ({"any": [{"resources": {"names": ["db"]}}, {"resources": {"namespaces": ["shop"]}}]}, "excluded"),
        ({"any": [{"resources": {"names": ["db"]}}]}, "matched"),
        ({"all": [{"resources": {"names": ["web-*"]}}, {"resources": {"namespaces": ["shop"]}}]}, "excluded"),
        ({"all": [{"resources": {"names": ["web-*"]}}, {"resources": {"namespaces": ["x"]}}]}, "matched"),
        ({"resources": {"namespaces": ["shop"]}}, "excluded"),
        ({"any": [{}]}, "matched"),
        ({"all": [{"resources": {"names": ["web-*"]}}, {}]}, "matched"),
        ({}, "matched"),
        ({"any": [{"subjects": [{"kind": "Group", "name": "staff"}]}]}, "excluded"),
    ],
)
def test_exclude_takes_away_and_an_empty_filter_takes_nothing(exclude, decision):
    assert decide({**resources(), "exclude": exclude}) == decision


def test_exclude_is_not_looked_at_where_match_does_not_hold():
    rule = {**resources(kinds=["Secret"]), "exclude": {"any": [{"resources": {"kinds": ["Pod"]}}]}}
    assert decide(rule) == "unmatched"


def problems_of(rule):
    problems = fields.Problems()
    blocks.read(rule, "rule", problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({}, "rule.match: match resources not specified"),
        ({"match": {}}, "rule.match: match resources not specified"),
        ({"match": {"any": [{}]}}, "rule.match.any[0]: match resources not specified"),
        ({"match": []}, "rule.match: must be an object with any, all or resources, not []"),
        (
            {"match": {"any": [{"resources": {"names": ["x"]}}]}},
            (
                "rule.match.any[0].resources.kinds: at least one element must be specified in a kind block, "
                "the kind attribute is mandatory when working with the resources element"
            ),
        ),
        (
            {"match": {"any": [{"resources": {"kinds": ["Pod"]}}], "all": [{"resources": {"kinds": ["Pod"]}}]}},
            "rule.match: Can't specify any and all together",
        ),
        (
            {"match": {"any": [{"resources": {"kinds": ["Pod"]}}], "resources": {"kinds": ["Pod"]}}},
            "rule.match: can't specify any/all together with match resources",
        ),
        (
            resources(name="a", names=["b"]),
            "rule.match.any[0].resources: Both name and names can not be specified together",
        ),
        (
            resources(selector={}),
            "rule.match.any[0].resources.selector: The requirements are not specified in selector",
        ),
        (
            resources(operations=["PATCH"]),
            "rule.match.any[0].resources.operations[0]: 'PATCH' is not one of CREATE, UPDATE, DELETE, CONNECT",
        ),
        (resources(nmes=["x"]), "rule.match.any[0].resources.nmes: unknown field; did you mean 'names'?"),
        (
            {"match": {"any": [{"resources": {"kinds": ["Pod"]}, "roles": "a:b"}]}},
            "rule.match.any[0].roles: must be a list, not a string",
        ),
        (
            {"match": {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": [{"kind": "Robot", "name": "x"}]}]}},
            "rule.match.any[0].subjects[0].kind: kind must be 'User', 'Group', or 'ServiceAccount'",
        ),
    ],
)
def test_a_block_that_cannot_be_meant_is_refused(rule, problem):
    assert problem in problems_of(rule)


def test_scopes_say_what_is_known_without_an_object():
    problems = fields.Problems()
    match = blocks.read(
        {
            "match": {"any": [{"resources": {"kinds": ["Pod"], "operations": ["CREATE"], "namespaces": ["a*"]}}]},
            "exclude": {
                "any": [
                    {"resources": {"kinds": ["Pod"], "operations": ["DELETE"]}},
                    {"resources": {"kinds": ["Pod"], "namespaces": ["b"]}},
                ]
            },
        },
        "rule",
        problems,
    )
    (scope,) = match.scopes
    assert ([each.kind for each in scope.kinds], scope.operations, scope.namespaces) == (["Pod"], ("CREATE",), ("a*",))
    assert [each.operations for each in match.exclusions] == [("DELETE",)]
    assert match.may_select("Pod")
    assert not match.may_select("Secret")
