"""Policies applied to requests."""

import copy
import itertools

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, evaluate, needs, watching

POD = {"group": "", "version": "v1", "kind": "Pod"}
PODS = {"group": "", "version": "v1", "resource": "pods"}


def policy(*rules, name="p", kind="ClusterPolicy", namespace="", **spec):
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"background": False, "rules": list(rules) or [labelled()], **spec},
        }
    )


def rule(name, validate, kinds=("Pod",), **changes):
    return {"name": name, "match": {"any": [{"resources": {"kinds": list(kinds)}}]}, "validate": validate, **changes}


def labelled(name="labelled", **validate):
    return rule(name, {"message": "a team is needed", "pattern": {"metadata": {"labels": {"team": "?*"}}}, **validate})


def denied(name="denied", **changes):
    conditions = {"any": [{"key": "{{ request.object.metadata.name }}", "operator": "Equals", "value": "bad*"}]}
    return rule(name, {"message": "bad name", "deny": {"conditions": conditions}}, **changes)


def pod(name="web", **labels):
    metadata = {"name": name, "namespace": "shop", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}}


def request(new=None, old=None, operation="CREATE", **changes):
    return {
        "uid": "u",
        "kind": POD,
        "resource": PODS,
        "namespace": "shop",
        "operation": operation,
        "object": new,
        "oldObject": old,
        "userInfo": {"username": "alice", "groups": ["staff"]},
        **changes,
    }


def run(policies, made, facts=None, budget=None, watcher=None):
    clock = itertools.count(100, 10).__next__
    policies = policies if isinstance(policies, list) else [policies]
    return evaluate.evaluate(policies, made, facts or needs.Facts(), budget or budgets.Budget(), clock, watcher)


def outcomes(results):
    return [(each.rule.name, each.status) for result in results for each in result.rules]


def message(results):
    ((each,),) = [result.rules for result in results]
    return each.message


@pytest.mark.parametrize(
    ("made", "status", "text"),
    [
        (pod(team="a"), "pass", "validation rule 'labelled' passed."),
        (
            pod(),
            "fail",
            "validation error: a team is needed. rule labelled failed at path /metadata/labels/team/",
        ),
    ],
)
def test_a_pattern_passes_or_says_where_it_fails(made, status, text):
    results = run(policy(), request(made))
    assert outcomes(results) == [("labelled", status)]
    assert message(results) == text


def test_a_message_that_ends_a_sentence_gets_no_second_full_stop():
    results = run(policy(labelled(message="Needed.")), request(pod()))
    assert message(results) == "validation error: Needed. rule labelled failed at path /metadata/labels/team/"


def test_without_a_message_the_rule_and_path_are_named():
    results = run(policy(labelled(message=None)), request(pod()))
    assert message(results) == "validation error: rule labelled failed at path /metadata/labels/team/"


def test_a_message_may_hold_variables():
    results = run(policy(labelled(message="{{ request.object.metadata.name }} has no team")), request(pod()))
    assert message(results).startswith("validation error: web has no team. rule labelled failed")


def test_a_message_whose_variable_is_missing_still_says_what_failed():
    results = run(policy(labelled(message="{{ request.object.spec.nosuch }}")), request(pod()))
    assert outcomes(results) == [("labelled", "fail")]
    assert message(results).startswith(
        "validation error: variables substitution error in rule labelled execution error: "
    )


ANY = {"anyPattern": [{"metadata": {"labels": {"a": "?*"}}}, {"metadata": {"labels": {"b": "?*"}}}]}


@pytest.mark.parametrize(
    ("made", "status", "text"),
    [
        (pod(a="1"), "pass", "validation rule 'any' anyPattern[0] passed."),
        (pod(b="1"), "pass", "validation rule 'any' anyPattern[1] passed."),
        (
            pod(),
            "fail",
            (
                "validation error: no. rule any[0] failed at path /metadata/labels/a/ "
                "rule any[1] failed at path /metadata/labels/b/"
            ),
        ),
    ],
)
def test_one_of_several_patterns_is_enough(made, status, text):
    results = run(policy(rule("any", {"message": "no", **ANY})), request(made))
    assert outcomes(results) == [("any", status)]
    assert message(results) == text


def test_several_patterns_that_are_all_skipped_skip_the_rule():
    patterns = [{"metadata": {"(name)": "x*", "labels": {"a": "?*"}}}, {"metadata": {"(name)": "y*"}}]
    results = run(policy(rule("any", {"anyPattern": patterns})), request(pod()))
    assert outcomes(results) == [("any", "skip")]
    assert message(results).startswith("rule any[0] skipped: ")


def test_a_pattern_that_does_not_apply_skips_the_rule():
    results = run(policy(rule("r", {"pattern": {"metadata": {"(name)": "db", "x": "y"}}})), request(pod()))
    assert outcomes(results) == [("r", "skip")]


def test_a_variable_that_is_missing_is_an_error_of_the_rule():
    validate = {"pattern": {"metadata": {"name": "{{ request.object.spec.nosuch }}"}}}
    results = run(policy(rule("r", validate)), request(pod()))
    assert outcomes(results) == [("r", "error")]
    assert message(results).startswith("variable substitution failed: ")


def test_deny_says_its_message():
    results = run(policy(denied()), request(pod("bad-1")))
    assert outcomes(results) == [("denied", "fail")]
    assert message(results) == "bad name"
    assert message(run(policy(denied()), request(pod("good")))) == "validation rule 'denied' passed."


@pytest.mark.parametrize(
    ("of_rule", "of_condition", "text"),
    [
        ("", "", "validation error: rule r failed"),
        ("rule says", "", "rule says"),
        ("", "condition says", "condition says"),
        ("rule says", "condition says", "rule says; condition says"),
        ("{{request.name}} is bad", "{{request.operation}}", "web is bad; CREATE"),
        ("{{request.nosuch.field}}", "condition says", "condition says"),
    ],
)
def test_deny_joins_the_messages_of_rule_and_conditions(of_rule, of_condition, text):
    condition = {"key": "a", "operator": "Equals", "value": "a", "message": of_condition}
    validate = {"message": of_rule, "deny": {"conditions": {"any": [condition]}}}
    assert message(run(policy(rule("r", validate)), request(pod(), name="web"))) == text


def test_deny_without_conditions_denies_always():
    assert outcomes(run(policy(rule("r", {"deny": {}})), request(pod()))) == [("r", "fail")]


def test_on_delete_patterns_say_nothing_and_deny_sees_the_old_object():
    made = request(None, pod("bad-1"), "DELETE")
    assert run(policy(), made) == ()
    assert outcomes(run(policy(denied()), made)) == [("denied", "fail")]


def test_preconditions_on_delete_skip_even_patterns():
    conditions = {"all": [{"key": "{{ request.operation }}", "operator": "NotEquals", "value": "DELETE"}]}
    made = request(None, pod(), "DELETE")
    assert outcomes(run(policy({**labelled(), "preconditions": conditions}), made)) == [("labelled", "skip")]


@pytest.mark.parametrize(
    ("key", "status", "text"),
    [
        ("{{ request.operation }}", "fail", "validation error: a team is needed."),
        ("{{ request.namespace }}", "skip", "preconditions not met; only here"),
        ("{{ request.nosuch.field }}", "error", "failed to evaluate preconditions: "),
    ],
)
def test_preconditions_decide_whether_a_rule_applies(key, status, text):
    conditions = {"all": [{"key": key, "operator": "Equals", "value": "CREATE", "message": "only here"}]}
    results = run(policy({**labelled(), "preconditions": conditions}), request(pod()))
    assert outcomes(results) == [("labelled", status)]
    assert message(results).startswith(text)


def test_rules_that_do_not_match_give_no_result_and_policies_without_results_none_either():
    both = policy(labelled(), rule("secrets", {"pattern": {"metadata": {"name": "x"}}}, kinds=["Secret"]))
    other = policy(rule("secrets", {"deny": {}}, kinds=["Secret"]), name="q")
    results = run([both, other], request(pod()))
    assert outcomes(results) == [("labelled", "fail")]
    assert [result.policy for result in results] == [both]


def test_a_rule_for_pods_is_evaluated_on_their_controllers_as_rewritten():
    deployment = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {"metadata": {"labels": {}}, "spec": {}}},
    }
    kind = {"group": "apps", "version": "v1", "kind": "Deployment"}
    results = run(policy(), request(deployment, kind=kind))
    assert outcomes(results) == [("autogen-labelled", "fail")]
    assert message(results).endswith("rule autogen-labelled failed at path /spec/template/metadata/labels/team/")


@pytest.mark.parametrize(
    ("apply_rules", "names"), [("All", ["first", "second", "third"]), ("One", ["first", "second"])]
)
def test_apply_one_stops_after_the_first_rule_that_passes_or_fails(apply_rules, names):
    never = {"all": [{"key": "a", "operator": "Equals", "value": "b"}]}
    rules = [{**labelled("first"), "preconditions": never}, labelled("second"), labelled("third")]
    results = run(policy(*rules, applyRules=apply_rules), request(pod()))
    assert [name for name, _ in outcomes(results)] == names


@pytest.mark.parametrize(
    ("validate", "spec", "old", "status"),
    [
        ({}, {"validationFailureAction": "Enforce"}, pod(), "skip"),
        ({"failureAction": "Enforce"}, {}, pod(), "skip"),
        ({}, {"validationFailureAction": "Enforce"}, pod(team="a"), "fail"),
        ({"allowExistingViolations": False}, {"validationFailureAction": "Enforce"}, pod(), "fail"),
        ({}, {}, pod(), "fail"),
        ({"failureAction": "Audit"}, {"validationFailureAction": "Enforce"}, pod(), "fail"),
    ],
)
def test_an_update_may_keep_a_violation_that_was_there(validate, spec, old, status):
    results = run(policy(labelled(**validate), **spec), request(pod(), old, "UPDATE"))
    assert outcomes(results) == [("labelled", status)]
    if status == "skip":
        assert message(results) == "skipping the rule evaluation as pre-existing violations are allowed"


def test_an_old_violation_counts_only_if_the_rule_would_have_applied_to_its_creation():
    only_updates = {"all": [{"key": "{{ request.operation }}", "operator": "Equals", "value": "UPDATE"}]}
    enforcing = policy({**labelled(), "preconditions": only_updates}, validationFailureAction="Enforce")
    assert outcomes(run(enforcing, request(pod(), pod(), "UPDATE"))) == [("labelled", "fail")]
    subjects = [{"kind": "User", "name": "alice"}]
    match = {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": subjects}]}
    enforcing = policy({**labelled(), "match": match}, validationFailureAction="Enforce")
    assert outcomes(run(enforcing, request(pod(), pod(), "UPDATE"))) == [("labelled", "fail")]


def test_a_namespaced_policy_is_for_its_namespace():
    here = policy(kind="Policy", namespace="shop")
    there = policy(kind="Policy", namespace="bank")
    assert [result.policy for result in run([here, there], request(pod()))] == [here]


def test_actions_are_resolved_for_each_rule_and_for_the_policy():
    audited = labelled("audited", failureAction="Audit")
    overridden = labelled(
        "overridden", failureAction="Audit", failureActionOverrides=[{"action": "Enforce", "namespaces": ["shop"]}]
    )
    (result,) = run(policy(labelled("plain"), audited, overridden, validationFailureAction="Enforce"), request(pod()))
    assert [each.action for each in result.rules] == ["Enforce", "Audit", "Enforce"]
    assert result.action == "Audit"


SELECTING = {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": {"env": "prod"}}}


def test_labels_of_the_namespace_are_asked_for_and_then_used():
    selecting = policy({**labelled(), "match": {"any": [{"resources": SELECTING}]}})
    facts = needs.Facts()
    with pytest.raises(needs.Needed) as raised:
        run(selecting, request(pod()), facts)
    assert raised.value.need == needs.NamespaceLabels("shop")
    facts.add(raised.value.need, {"env": "prod"})
    assert outcomes(run(selecting, request(pod()), facts)) == [("labelled", "fail")]
    facts.add(raised.value.need, {"env": "dev"})
    assert run(selecting, request(pod()), facts) == ()


def test_nothing_is_watched_before_all_facts_are_there():
    selecting = policy({**labelled(), "match": {"any": [{"resources": SELECTING}]}})
    watcher = Recording()
    with pytest.raises(needs.Needed):
        run([policy(), selecting], request(pod()), watcher=watcher)
    assert watcher.steps == []


def test_labels_that_cannot_be_fetched_are_an_error_of_the_rules_that_look_at_them():
    selecting = policy({**labelled("selecting"), "match": {"any": [{"resources": SELECTING}]}}, name="q")
    overriding = policy(
        labelled("overriding"),
        name="r",
        validationFailureActionOverrides=[{"action": "Audit", "namespaceSelector": {"matchLabels": {"a": "b"}}}],
    )
    facts = needs.Facts()
    facts.fail(needs.NamespaceLabels("shop"), "namespaces are not readable")
    results = run([policy(), selecting, overriding], request(pod()), facts)
    assert outcomes(results) == [("labelled", "fail"), ("selecting", "error"), ("overriding", "fail")]
    assert results[1].rules[0].message == "namespaces are not readable"
    assert results[2].rules[0].action == "Enforce"


def test_the_kind_behind_a_subresource_is_asked_for():
    exec_rule = policy(rule("exec", {"deny": {}}, kinds=["Pod/exec"]))
    kind = {"group": "", "version": "v1", "kind": "PodExecOptions"}
    made = request({"command": ["sh"]}, operation="CONNECT", kind=kind, subResource="exec")
    facts = needs.Facts()
    with pytest.raises(needs.Needed) as raised:
        run(exec_rule, made, facts)
    assert raised.value.need == needs.ResourceKind("", "v1", "pods")
    facts.add(raised.value.need, ("", "v1", "Pod"))
    assert outcomes(run(exec_rule, made, facts)) == [("exec", "fail")]
    facts.fail(raised.value.need, "no such resource")
    with pytest.raises(errors.EvaluationError, match="no such resource"):
        run(exec_rule, made, facts)


def test_service_accounts_are_named_in_the_context():
    validate = {"message": "{{serviceAccountNamespace}}/{{serviceAccountName}}", "deny": {}}
    made = request(pod(), userInfo={"username": "system:serviceaccount:ci:deployer"})
    assert message(run(policy(rule("r", validate)), made)) == "ci/deployer"
    assert message(run(policy(rule("r", validate)), request(pod()))) == "/"


def test_report_properties_are_resolved():
    with_properties = policy({**labelled(), "reportProperties": {"name": "{{ request.object.metadata.name }}"}})
    (result,) = run(with_properties, request(pod()))
    assert result.rules[0].properties == {"name": "web"}


def test_an_exhausted_budget_is_an_error_of_the_rule_and_of_all_that_follow():
    results = run([policy(), policy(denied(), name="q")], request(pod()), budget=budgets.Budget(steps=0))
    assert outcomes(results) == [("labelled", "error"), ("denied", "error")]
    assert "budget" in results[0].rules[0].message
    assert results[1].rules[0].message == results[0].rules[0].message


def test_an_unexpected_exception_is_an_error_of_its_rule_alone():
    broken, sound = policy(labelled("broken")), policy(name="q")

    class Broken:
        looks_at_deleted = False

        def check(self, resource, context, budget):
            raise ZeroDivisionError

    object.__setattr__(broken.rules[0], "body", Broken())
    results = run([broken, sound], request(pod()))
    assert outcomes(results) == [("broken", "error"), ("labelled", "fail")]
    assert results[0].rules[0].message == evaluate.UNEXPECTED
    assert isinstance(results[0].rules[0].exception, ZeroDivisionError)


def test_a_request_without_any_object_has_no_results():
    assert run(policy(), request(None, None, "CONNECT")) == ()


@pytest.mark.parametrize("made", [request(pod()), request(pod(), pod(), "UPDATE"), request(None, pod("bad"), "DELETE")])
def test_the_request_is_not_changed(made):
    before = copy.deepcopy(made)
    run([policy(labelled(), denied(), validationFailureAction="Enforce")], made)
    assert made == before


def test_times_are_of_the_clock_and_in_order():
    (result,) = run(policy(labelled("a"), labelled("b")), request(pod()))
    first, second = result.rules
    assert first.started < first.ended <= second.started < second.ended


class Recording:
    """Writes down the steps and insists that they are nested."""

    def __init__(self):
        self.steps = []
        self._open = []
        self._now = 0

    def extend(self, steps):
        for head, body, now in watching.written_out(steps):
            if isinstance(head, str):
                self.end(head, body, now)
            else:
                self.begin(head, body, now)

    def begin(self, step, subject, now):
        assert now >= self._now
        self._now = now
        self._open.append(step)
        self.steps.append(("begin", step.name, getattr(subject, "name", subject)))

    def end(self, outcome, detail, now):
        assert now >= self._now
        self._now = now
        self.steps.append(("end", self._open.pop().name, outcome))

    def close(self):
        assert self._open == []
        return self.steps


def test_a_watcher_is_told_all_steps_in_their_nesting():
    conditions = {"all": [{"key": "a", "operator": "Equals", "value": "a"}]}
    watched = policy(
        {**labelled(), "preconditions": conditions},
        rule("other", {"deny": {}}, exclude={"any": [{"resources": {"kinds": ["Pod"]}, "subjects": []}]}, kinds=["P*"]),
    )
    watcher = Recording()
    run(watched, request(pod()), watcher=watcher)
    assert watcher.close() == [
        ("begin", "POLICY", "p"),
        ("begin", "RULE", "labelled"),
        ("begin", "MATCH", "labelled"),
        ("end", "MATCH", "matched"),
        ("begin", "PRECONDITIONS", "labelled"),
        ("end", "PRECONDITIONS", "true"),
        ("end", "RULE", "fail"),
        ("begin", "RULE", "other"),
        ("begin", "MATCH", "other"),
        ("end", "MATCH", "excluded"),
        ("end", "RULE", "skip"),
        ("end", "POLICY", "fail"),
    ]


@pytest.mark.parametrize(
    ("value", "steps", "ended"),
    [("UPDATE", 1000, "false"), ("{{ request.nosuch.field }}", 1000, "error"), ("CREATE", 1, "error")],
)
def test_steps_end_however_they_end(value, steps, ended):
    conditions = {"all": [{"key": "{{ request.operation }}", "operator": "Equals", "value": value}]}
    watcher = Recording()
    watched = policy({**labelled(), "preconditions": conditions})
    run(watched, request(pod()), budget=budgets.Budget(steps=steps), watcher=watcher)
    assert ("end", watching.Step.PRECONDITIONS.name, ended) in watcher.close()


def test_results_are_the_same_watched_or_not():
    policies = [policy(labelled(), denied()), policy(denied(), name="q")]
    made = request(pod("bad"))
    assert outcomes(run(policies, made)) == outcomes(run(policies, made, watcher=Recording()))
