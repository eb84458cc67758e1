"""Mutate rules: what they make of an object, in Kyverno's words; the merges were compared with Kyverno's."""

import copy
import itertools

import pytest

from kymograph.apimachinery import jsonpatch
from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, exceptions, mutate, needs, watching


def policy(*rules, name="p", kind="ClusterPolicy", namespace="", **spec):
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": kind,
            "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
            "spec": {"background": False, "rules": list(rules), **spec},
        }
    )


def rule(name="r", kinds=("Pod",), match=None, **changes):
    resources = {"kinds": list(kinds), **(match or {})}
    context = {key: changes.pop(key) for key in ("context", "preconditions") if key in changes}
    return {"name": name, "match": {"any": [{"resources": resources}]}, **context, "mutate": changes}


def overlay(document, **changes):
    return rule(patchStrategicMerge=document, **changes)


def labelled(name="r", **labels):
    return overlay({"metadata": {"labels": labels}}, name=name)


def pod(**spec):
    metadata = {"name": "web", "namespace": "shop", "labels": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def containers(**images):
    return [{"name": name, "image": image} for name, image in images.items()]


def request(document, operation="CREATE", **changes):
    group, _, version = document["apiVersion"].rpartition("/")
    kind = document["kind"]
    return {
        "uid": "u",
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": f"{kind.lower()}s"},
        "namespace": document["metadata"].get("namespace", ""),
        "operation": operation,
        "object": document,
        "userInfo": {"username": "alice", "groups": []},
        **changes,
    }


def run(policies, document, facts=None, budget=None, watcher=None, **changes):
    policies = policies if isinstance(policies, list) else [policies]
    before = copy.deepcopy(document)
    clock = itertools.count(100, 10).__next__
    made = request(document, **changes)
    found = mutate.apply(policies, made, facts or needs.Facts(), budget or budgets.Budget(), clock, watcher)
    assert document == before
    return found


def outcomes(mutated):
    return [(each.rule.name, each.status, each.message) for result in mutated.results for each in result.rules]


CHANGED = [("r", "pass", "mutated Pod/web in namespace shop")]
UNCHANGED = [("r", "skip", "no patches applied")]
AT = "/mutate/patchStrategicMerge"
UNKNOWN = 'JMESPath query failed: Unknown key "none" in path'
IMAGE = "- {op: replace, path: '/spec/containers/{{ elementIndex }}/image', value: z}"


@pytest.mark.parametrize(
    ("patch", "changes"),
    [
        ({"metadata": {"labels": {"a": "b"}}}, [("add", "/metadata/labels/a", "b")]),
        ({"metadata": {"labels": {"app": "api"}}}, [("replace", "/metadata/labels/app", "api")]),
        ({"spec": {"hostNetwork": None}}, [("remove", "/spec/hostNetwork", None)]),
        ({"metadata": {"labels": {"+(app)": "api"}}}, []),
        ({"metadata": {"labels": {"+(a)": "b"}}}, [("add", "/metadata/labels/a", "b")]),
        ({"metadata": {"+(annotations)": {"a": "b"}}}, [("add", "/metadata/annotations", {"a": "b"})]),
        ({"metadata": {"labels": {"(app)": "w*", "a": "b"}}}, [("add", "/metadata/labels/a", "b")]),
        ({"metadata": {"labels": {"(app)": "api", "a": "b"}}}, []),
        ({"metadata": {"labels": {"(none)": "*", "a": "b"}}}, []),
        ({"metadata": {"labels": {"<(app)": "web", "a": "b"}}}, [("add", "/metadata/labels/a", "b")]),
        ({"metadata": {"labels": {"<(app)": "api", "a": "b"}}}, []),
        ({"metadata": {"labels": {"<(none)": "api"}, "annotations": {"a": "b"}}}, []),
        ({"(metadata)": {"labels": {"app": "web"}}, "spec": {"nodeName": "n"}}, [("add", "/spec/nodeName", "n")]),
        ({"(metadata)": {"labels": {"app": "api"}}, "spec": {"nodeName": "n"}}, []),
        ({"spec": {"(hostNetwork)": True, "nodeName": "n"}}, [("add", "/spec/nodeName", "n")]),
        ({"spec": {"nodeName": "n", "securityContext": {}}}, [("add", "/spec/nodeName", "n")]),
    ],
)
def test_anchors_decide_what_is_merged(patch, changes):
    mutated = run(policy(overlay(patch)), pod(hostNetwork=True))

    made = jsonpatch.make(pod(hostNetwork=True), mutated.resource)
    assert [(each["op"], each["path"], each.get("value")) for each in made] == changes
    assert outcomes(mutated) == (CHANGED if changes else UNCHANGED)


@pytest.mark.parametrize(
    ("patch", "policies"),
    [
        ([{"(image)": "*:latest", "imagePullPolicy": "Always"}], {"a": "Always", "c": "Always"}),
        ([{"(name)": "b", "imagePullPolicy": "Always"}], {"b": "Always"}),
        ([{"(name)": "?", "(image)": "*:latest", "imagePullPolicy": "Always"}], {"a": "Always", "c": "Always"}),
        ([{"(image)": "none", "imagePullPolicy": "Always"}], {}),
        ([{"<(image)": "*:latest", "imagePullPolicy": "Always"}], {}),
        ([{"(name)": "*", "+(imagePullPolicy)": "Always"}], {"a": "Always", "b": "Always", "c": "Always"}),
        (
            [{"(name)": "a", "imagePullPolicy": "Always"}, {"(name)": "b", "imagePullPolicy": "Never"}],
            {"a": "Always", "b": "Never"},
        ),
        ([{"name": "b", "imagePullPolicy": "Never"}], {"b": "Never"}),
    ],
)
def test_conditions_in_a_list_choose_its_elements(patch, policies):
    base = pod(containers=containers(a="x:latest", b="y:1", c="z:latest"))

    found = run(policy(overlay({"spec": {"containers": patch}})), base).resource["spec"]["containers"]

    assert {each["name"]: each["image"] for each in found} == {"a": "x:latest", "b": "y:1", "c": "z:latest"}
    assert {each["name"]: each["imagePullPolicy"] for each in found if "imagePullPolicy" in each} == policies


def test_a_global_condition_that_no_element_meets_ends_the_rule():
    patch = {"spec": {"containers": [{"<(image)": "private/*"}], "imagePullSecrets": [{"name": "s"}]}}

    assert outcomes(run(policy(overlay(patch)), pod(containers=containers(a="x")))) == UNCHANGED
    changed = run(policy(overlay(patch)), pod(containers=containers(a="x", b="private/y")))
    assert changed.resource["spec"]["imagePullSecrets"] == [{"name": "s"}]


def test_variables_are_resolved_before_the_patch_is_applied():
    patch = {"metadata": {"labels": {"{{ request.operation }}": "{{ request.object.metadata.labels.app }}-x"}}}

    assert run(policy(overlay(patch)), pod()).resource["metadata"]["labels"] == {"app": "web", "CREATE": "web-x"}


def test_whole_numbers_of_expressions_are_integers():
    found = run(policy(overlay({"spec": {"priority": "{{ multiply(`2`, `3`) }}"}})), pod()).resource

    assert type(found["spec"]["priority"]) is int


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        (
            {"patchStrategicMerge": {"spec": {"a": "{{ request.object.none }}"}}},
            f"variable substitution failed: failed to resolve request.object.none at path {AT}/spec/a: {UNKNOWN}",
        ),
        (
            {"patchStrategicMerge": {"spec": "x"}},
            'failed to patch resource: wrong node kind: expected MappingNode but got ScalarNode: node contents:\n"x"',
        ),
        (
            {"patchesJson6902": "- {op: replace, path: /spec/none, value: 1}"},
            "failed to patch resource: replace operation does not apply: doc is missing key: /spec/none: missing value",
        ),
        (
            {"foreach": [{"list": "request.object.none", "patchesJson6902": "- {op: remove, path: /spec}"}]},
            f"failed to evaluate list request.object.none: {UNKNOWN}: {UNKNOWN}",
        ),
        (
            {"foreach": [{"list": "['a']", "patchesJson6902": "- {op: test, path: /kind, value: '{{ element }}'}"}]},
            "failed to mutate elements: failed to patch resource: testing value /kind failed: test failed",
        ),
    ],
)
def test_failures_are_errors_and_change_nothing(mutation, message):
    document = pod()

    mutated = run(policy(rule(**mutation), labelled("after", a="b")), document)

    assert outcomes(mutated)[0] == ("r", "error", message)
    assert mutated.resource["metadata"]["labels"] == {"app": "web", "a": "b"}


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("- op: add\n  path: /metadata/labels/a\n  value: b\n", [("add", "/metadata/labels/a")]),
        ('[{"op": "add", "path": "/metadata/labels/a", "value": "b"}]', [("add", "/metadata/labels/a")]),
        ("- {op: add, path: /metadata/annotations/a~1b, value: c}", [("add", "/metadata/annotations")]),
        ("- {op: remove, path: /metadata/none/such}", []),
        ("- {op: add, path: /metadata/labels/app, value: web}", []),
        ("- {op: add, path: /spec/containers/-, value: {name: n}}", [("add", "/spec/containers/0")]),
        ("- {op: add, path: /metadata/labels/a, value: '{{ request.operation }}'}", [("add", "/metadata/labels/a")]),
    ],
)
def test_operations_are_applied_leniently(text, changes):
    document = pod(containers=[])

    mutated = run(policy(rule(patchesJson6902=text)), document)

    assert [(each["op"], each["path"]) for each in jsonpatch.make(document, mutated.resource)] == changes
    assert outcomes(mutated) == (CHANGED if changes else UNCHANGED)


def test_each_rule_and_policy_sees_what_the_ones_before_it_made():
    chained = policy(
        labelled("one", a="1"),
        overlay({"metadata": {"labels": {"b": "{{ request.object.metadata.labels.a }}2"}}}, name="two"),
    )
    selecting = policy(
        overlay({"metadata": {"labels": {"c": "3"}}}, name="three", match={"selector": {"matchLabels": {"b": "12"}}}),
        name="q",
    )

    mutated = run([chained, selecting], pod())

    assert mutated.resource["metadata"]["labels"] == {"app": "web", "a": "1", "b": "12", "c": "3"}
    assert [name for name, _, _ in outcomes(mutated)] == ["one", "two", "three"]


def test_one_rule_is_enough_where_only_one_applies():
    both = (labelled("one", app="web"), labelled("two", a="1"), labelled("three", b="1"))

    mutated = run(policy(*both, applyRules="One"), pod())

    assert [(name, status) for name, status, _ in outcomes(mutated)] == [("one", "skip"), ("two", "pass")]


def test_preconditions_and_context_count_as_for_other_rules():
    guarded = overlay(
        {"metadata": {"labels": {"a": "{{ name }}"}}},
        context=[{"name": "name", "variable": {"jmesPath": "request.object.metadata.name"}}],
        preconditions={"all": [{"key": "{{ name }}", "operator": "Equals", "value": "web"}]},
    )
    document = pod()
    document["metadata"]["name"] = "api"

    assert run(policy(guarded), pod()).resource["metadata"]["labels"]["a"] == "web"
    assert outcomes(run(policy(guarded), document)) == [("r", "skip", "preconditions not met")]


def test_an_exception_keeps_a_rule_from_changing_an_object():
    document = {
        "apiVersion": "kyverno.io/v2",
        "kind": "PolicyException",
        "metadata": {"name": "e", "namespace": "shop"},
        "spec": {
            "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "exceptions": [{"policyName": "p", "ruleNames": ["r"]}],
        },
    }
    excused = exceptions.Exceptions([exceptions.compile_exception(document)])

    mutated = mutate.apply(
        [policy(labelled(a="b"))],
        request(pod()),
        needs.Facts(),
        budgets.Budget(),
        itertools.count().__next__,
        exceptions=excused,
    )

    assert [(name, status) for name, status, _ in outcomes(mutated)] == [("r", "skip")]
    assert mutated.resource == pod()


@pytest.mark.parametrize(
    ("loop", "images"),
    [
        (
            {
                "patchStrategicMerge": {
                    "spec": {"containers": [{"name": "{{ element.name }}", "image": "r/{{ element.image }}"}]}
                }
            },
            {"a": "r/x", "b": "r/y"},
        ),
        (
            {"patchesJson6902": IMAGE.replace("z", "'{{ elementIndex }}'")},
            {"a": "0", "b": "1"},
        ),
        (
            {
                "preconditions": {"all": [{"key": "{{ element.name }}", "operator": "Equals", "value": "b"}]},
                "patchesJson6902": IMAGE,
            },
            {"a": "x", "b": "z"},
        ),
        (
            {
                "context": [{"name": "tag", "variable": {"value": "{{ element.name }}-t"}}],
                "patchesJson6902": IMAGE.replace("z", "'{{ tag }}'"),
            },
            {"a": "a-t", "b": "b-t"},
        ),
        ({"order": "Descending", "patchesJson6902": "- {op: remove, path: '/spec/containers/{{ elementIndex }}'}"}, {}),
        ({"patchesJson6902": "- {op: remove, path: '/spec/containers/{{ elementIndex }}'}"}, {"b": "y"}),
    ],
)
def test_a_loop_patches_for_each_element(loop, images):
    looped = rule(foreach=[{"list": "request.object.spec.containers", **loop}])

    mutated = run(policy(looped), pod(containers=containers(a="x", b="y")))

    assert {each["name"]: each["image"] for each in mutated.resource["spec"]["containers"]} == images
    assert outcomes(mutated) == CHANGED


def test_what_a_loop_merges_keeps_the_order_of_its_list():
    looped = rule(
        foreach=[
            {
                "list": "['a', 'b', 'c']",
                "patchStrategicMerge": {"spec": {"volumes": [{"name": "{{ element }}", "x": 1}]}},
            }
        ]
    )

    found = run(policy(looped), pod(volumes=[{"name": "z"}])).resource["spec"]["volumes"]

    assert [each["name"] for each in found] == ["a", "b", "c", "z"]


def test_loops_within_loops_know_both_elements():
    inner = {
        "list": "element.env",
        "patchesJson6902": (
            "- {op: replace, path: '/spec/containers/{{ elementIndex0 }}/env/{{ elementIndex1 }}/value',"
            " value: '{{ element0.name }}.{{ element1.name }}'}"
        ),
    }
    looped = rule(foreach=[{"list": "request.object.spec.containers", "foreach": [inner]}])
    base = pod(containers=[{"name": name, "env": [{"name": "X", "value": ""}]} for name in "ab"])

    found = run(policy(looped), base).resource["spec"]["containers"]

    assert [each["env"][0]["value"] for each in found] == ["a.X", "b.X"]


def test_a_second_loop_sees_what_the_first_one_made():
    looped = rule(
        foreach=[
            {"list": "['n']", "patchesJson6902": "- {op: add, path: /spec/containers/-, value: {name: new}}"},
            {
                "list": "request.object.spec.containers",
                "patchesJson6902": "- {op: add, path: '/spec/containers/{{ elementIndex }}/tty', value: true}",
            },
        ]
    )

    found = run(policy(looped), pod(containers=[{"name": "a"}])).resource["spec"]["containers"]

    assert found == [{"name": "a", "tty": True}, {"name": "new", "tty": True}]


def test_a_loop_that_changes_nothing_is_skipped():
    looped = rule(foreach=[{"list": "request.object.spec.containers", "patchStrategicMerge": {"spec": {"x": 1}}}])

    assert outcomes(run(policy(looped), pod(containers=[None]))) == [("r", "skip", "0 elements processed")]


def test_rules_about_pods_change_the_templates_of_controllers():
    looped = rule(
        "loop",
        foreach=[
            {
                "list": "request.object.spec.containers",
                "patchStrategicMerge": {"spec": {"containers": [{"name": "{{ element.name }}", "tty": True}]}},
            }
        ],
    )
    both = policy(labelled(a="b"), looped)
    template = {"spec": {"containers": [{"name": "a"}]}}
    metadata = {"name": "d", "namespace": "shop"}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}}
    job = {"jobTemplate": {"spec": {"template": template}}}
    cron_job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": job}
    wanted = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "tty": True}]}}

    changed = run(both, deployment)

    assert changed.resource["spec"]["template"] == wanted
    assert [name for name, _, _ in outcomes(changed)] == ["autogen-r", "autogen-loop"]
    assert run(both, cron_job).resource["spec"]["jobTemplate"]["spec"]["template"] == wanted


def test_a_request_without_mutate_rules_gives_its_own_object():
    validating = policy(
        {"name": "v", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "validate": {"pattern": {"spec": "?*"}}}
    )
    document = pod()

    assert run(validating, document) == ((), document)
    assert run([], document).resource is document


def test_a_deletion_is_not_changed():
    assert run(policy(labelled(a="b")), pod(), operation="DELETE", object=None, oldObject=pod()) == ((), None)


def test_an_exhausted_budget_is_an_error_of_the_rules_that_follow():
    mutated = run(policy(labelled("one", a="b"), labelled("two", c="d")), pod(), budget=budgets.Budget(steps=1))

    assert {status for _, status, _ in outcomes(mutated)} == {"error"}
    assert mutated.resource == pod()


class Watcher:
    def __init__(self):
        self.steps = []

    def extend(self, steps):
        self.steps += watching.written_out(steps)


def test_a_missing_fact_is_asked_for_once_and_no_step_is_told_twice():
    config = [{"name": "c", "configMap": {"name": "c", "namespace": "shop"}}]
    asking = policy(
        labelled("one", a="1"), overlay({"metadata": {"labels": {"b": "{{ c.data.b }}"}}}, name="two", context=config)
    )
    facts, watcher = needs.Facts(), Watcher()
    mutation = mutate.Mutation(
        [policy(labelled(z="0"), name="q"), asking],
        request(pod()),
        facts,
        budgets.Budget(),
        itertools.count().__next__,
        watcher,
    )

    with pytest.raises(needs.Needed) as needed:
        mutation.run()
    facts.add(needed.value.need, {"metadata": {}, "data": {"b": "2"}})
    mutated = mutation.run()

    assert mutated.resource["metadata"]["labels"] == {"app": "web", "z": "0", "a": "1", "b": "2"}
    assert [name for name, _, _ in outcomes(mutated)] == ["r", "one", "two"]
    assert [step[1].name for step in watcher.steps if step[0] is watching.Step.RULE] == ["r", "one", "two"]


@pytest.mark.parametrize(
    ("mutation", "reason"),
    [
        ({}, "one of foreach, patchStrategicMerge, patchesJson6902"),
        (
            {"patchStrategicMerge": {}, "patchesJson6902": "- {op: remove, path: /a}"},
            "only one of `patchStrategicMerge` or `patchesJson6902` is allowed",
        ),
        ({"patchStrategicMerge": "x"}, "must be an object"),
        ({"patchesJson6902": "["}, "failed to decode patches: invalid state detected"),
        ({"patchesJson6902": "- {op: set, path: /a}"}, "unsupported operation"),
        ({"patchesJson6902": "a: [b"}, "failed to convert patchesJSON6902 to JSON"),
        ({"patchStrategicMerge": {"a": "{{ request.}}"}}, "request."),
        ({"foreach": [{"patchStrategicMerge": {}}]}, "foreach.list is required"),
        ({"foreach": [{"list": "a", "order": "Up", "patchStrategicMerge": {}}]}, "'Up' is not one of"),
        ({"patchStrategicMerge": {}, "overlay": {}}, "unknown field"),
    ],
)
def test_what_cannot_be_compiled_says_why(mutation, reason):
    with pytest.raises(errors.PolicyInvalid) as invalid:
        policy(rule(**mutation))
    assert reason in str(invalid.value)
