"""Compiling policies, and refusing them."""

import copy

import pytest

from kymograph.engine import compile as compiler
from kymograph.engine import errors
from kymograph.engine.match import target


def document(*rules, kind="ClusterPolicy", metadata=None, **spec):
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": kind,
        "metadata": {"name": "p", **({"namespace": "shop"} if kind == "Policy" else {}), **(metadata or {})},
        "spec": {"rules": list(rules) or [rule()], **spec},
    }


def rule(name="r", **changes):
    return {
        "name": name,
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "validate": {"message": "no", "pattern": {"spec": {"hostNetwork": "false"}}},
        **changes,
    }


def problems_of(policy):
    with pytest.raises(errors.PolicyInvalid) as raised:
        compiler.compile_policy(policy)
    return [str(problem) for problem in raised.value.problems]


def here(namespace="shop", labels=None):
    return target.of({"metadata": {}}, ("", "v1", "Pod", ""), "CREATE", namespace, labels or {}, None)


def test_a_policy_shows_what_others_need_of_it():
    metadata = {
        "uid": "u-1",
        "resourceVersion": "7",
        "labels": {"team": "a"},
        "annotations": {
            "policies.kyverno.io/severity": "high",
            "policies.kyverno.io/category": "Best Practices",
            "policies.kyverno.io/scored": "false",
        },
    }
    found = compiler.compile_policy(
        document(metadata=metadata, validationFailureAction="enforce", background=False, emitWarning=True)
    )
    assert (found.key, found.name, found.namespace, found.kind) == ("p", "p", "", "ClusterPolicy")
    assert (found.group, found.version, found.uid, found.resource_version) == ("kyverno.io", "v1", "u-1", "7")
    assert (found.severity, found.category, found.scored) == ("high", "Best Practices", False)
    assert (found.background, found.admission, found.emits_warnings) == (False, True, True)
    assert (found.validation_action, found.may_enforce) == ("Enforce", True)
    assert (found.failure_policy, found.timeout_seconds) == ("Fail", None)
    assert found.labels == {"team": "a"}


def test_defaults_are_kyvernos():
    found = compiler.compile_policy(document())
    assert (found.background, found.admission, found.emits_warnings, found.apply_one) == (True, True, False, False)
    assert (found.validation_action, found.may_enforce, found.failure_policy) == ("Audit", False, "Fail")
    assert found.scored


def test_a_namespaced_policy_is_keyed_by_its_namespace():
    found = compiler.compile_policy(document(kind="Policy"))
    assert (found.key, found.namespace) == ("shop/p", "shop")


def test_rules_for_controllers_are_made_from_rules_for_pods():
    found = compiler.compile_policy(document())
    assert [each.name for each in found.rules] == ["r", "autogen-r", "autogen-cronjob-r"]
    assert {each.base_name for each in found.rules} == {"r"}
    assert [each.name for each in found.validate.written] == ["r"]
    assert [each.name for each in found.validate.by_kind["Deployment"]] == ["autogen-r"]
    assert [each.name for each in found.validate.by_kind["CronJob"]] == ["autogen-cronjob-r"]
    assert "Pod" not in found.validate.by_kind
    assert {each.type for each in found.rules} == {"validate"}


def test_a_rewritten_rule_is_for_its_controllers_only():
    match = {"any": [{"resources": {"kinds": ["Pod"]}}, {"resources": {"kinds": ["Service"]}}]}
    found = compiler.compile_policy(document(rule(match=match)))
    assert "Service" not in found.validate.by_kind
    assert [each.name for each in found.validate.by_kind["Deployment"]] == ["autogen-r"]


def test_the_annotation_turns_rewriting_off():
    metadata = {"annotations": {"pod-policies.kyverno.io/autogen-controllers": "none"}}
    found = compiler.compile_policy(document(metadata=metadata))
    assert [each.name for each in found.rules] == ["r"]
    assert found.validate.by_kind == {}


def test_a_rule_shows_what_webhooks_need_of_it():
    found = compiler.compile_policy(document())
    (scope,) = found.rules[0].match.scopes
    assert [(each.group, each.version, each.kind) for each in scope.kinds] == [("*", "*", "Pod")]
    assert scope.operations == ("CREATE", "UPDATE", "DELETE", "CONNECT")
    (scope,) = found.rules[2].match.scopes
    assert [(each.group, each.version, each.kind) for each in scope.kinds] == [("batch", "v1", "CronJob")]


@pytest.mark.parametrize(
    ("spec", "policy", "timeout"),
    [
        ({}, "Fail", None),
        ({"failurePolicy": "Ignore", "webhookTimeoutSeconds": 5}, "Ignore", 5),
        ({"webhookConfiguration": {"failurePolicy": "Ignore", "timeoutSeconds": 30}}, "Ignore", 30),
    ],
)
def test_the_webhook_settings_have_an_old_and_a_new_place(spec, policy, timeout):
    found = compiler.compile_policy(document(**spec))
    assert (found.failure_policy, found.timeout_seconds) == (policy, timeout)


@pytest.mark.parametrize(
    ("of_rule", "of_policy", "namespace", "labels", "action"),
    [
        ({}, {}, "shop", {}, "Audit"),
        ({}, {"validationFailureAction": "Enforce"}, "shop", {}, "Enforce"),
        ({"failureAction": "Audit"}, {"validationFailureAction": "Enforce"}, "shop", {}, "Audit"),
        (
            {"failureAction": "Audit", "failureActionOverrides": [{"action": "Enforce", "namespaces": ["sh*"]}]},
            {},
            "shop",
            {},
            "Enforce",
        ),
        (
            {"failureAction": "Audit", "failureActionOverrides": [{"action": "Enforce", "namespaces": ["sh*"]}]},
            {},
            "bank",
            {},
            "Audit",
        ),
        ({}, {"validationFailureActionOverrides": [{"action": "enforce"}]}, "shop", {}, "Enforce"),
        (
            {},
            {
                "validationFailureActionOverrides": [
                    {"action": "Enforce", "namespaceSelector": {"matchLabels": {"env": "prod"}}},
                ]
            },
            "shop",
            {"env": "prod"},
            "Enforce",
        ),
        (
            {},
            {
                "validationFailureActionOverrides": [
                    {
                        "action": "Enforce",
                        "namespaces": ["bank"],
                        "namespaceSelector": {"matchLabels": {"env": "prod"}},
                    },
                ]
            },
            "shop",
            {"env": "prod"},
            "Audit",
        ),
        ({}, {"validationFailureActionOverrides": [{"action": "Enforce", "namespaces": []}]}, "shop", {}, "Audit"),
    ],
)
def test_the_action_is_the_first_that_says_something(of_rule, of_policy, namespace, labels, action):
    validate = {"pattern": {"spec": {"a": "b"}}, **of_rule}
    found = compiler.compile_policy(document(rule(validate=validate), **of_policy))
    first = found.rules[0]
    assert (first.fixed_action or first.action(here(namespace, labels))) == action
    assert (found.fixed_action or found.action(here(namespace, labels))) == action


def test_labels_of_namespaces_are_asked_for_only_where_they_are_looked_at():
    selector = {"namespaceSelector": {"matchLabels": {"a": "b"}}}
    plain = compiler.compile_policy(document())
    matching = compiler.compile_policy(document(rule(match={"any": [{"resources": {"kinds": ["Pod"], **selector}}]})))
    overriding = compiler.compile_policy(document(validationFailureActionOverrides=[{"action": "Enforce", **selector}]))
    assert [each.needs_namespace_labels for each in (plain, matching, overriding)] == [False, True, True]


def changed(change):
    policy = document()
    change(policy)
    return policy


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ({}, "apiVersion: must be kyverno.io/v1 or kyverno.io/v2beta1"),
        (
            document(metadata={"namespace": "x"}),
            "metadata.namespace: A clusterpolicy should not have the namespace defined",
        ),
        (document(metadata={"name": "x" * 64}), "metadata.name: may not be longer than 63 bytes"),
        (document(rules=[]), "spec.rules: a policy needs at least one rule"),
        (
            document(admission=False, background=False),
            "spec: disabling both admission and background processing is not allowed",
        ),
        (document(rule("a"), rule("a")), "spec.rules[1].name: Duplicate rule name: 'a'"),
        (document(rule(name="")), "spec.rules[0].name: a rule needs a name"),
        (document(rule("x" * 64)), "spec.rules[0].name: may not be longer than 63 characters"),
        (
            document({"name": "a", "match": rule()["match"]}),
            (
                "spec.rules[0]: No operation defined in the rule 'a'."
                "(supported operations: mutate,validate,generate,verifyImages)"
            ),
        ),
        (
            document(rule(mutate={})),
            (
                "spec.rules[0]: Multiple operations defined in the rule 'r', "
                "only one operation (mutate,validate,generate,verifyImages) is allowed per rule"
            ),
        ),
        (
            document(rule(context=[{"name": "a"}])),
            (
                "spec.rules[0].context[0]: "
                "exactly one of configMap or apiCall or imageRegistry or variable is required for context entries"
            ),
        ),
        (
            document(rule(validate={"foreach": []})),
            "spec.rules[0].validate.foreach: a foreach needs at least one list",
        ),
        (
            document(webhookConfiguration={"matchConditions": [{"name": "a b", "expression": "true"}]}),
            (
                "spec.webhookConfiguration.matchConditions[0].name: "
                "must be a qualified name: letters, digits, '-', '_' and '.'"
            ),
        ),
        (
            document(webhookConfiguration={"matchConditions": [{"name": "a", "expression": " "}]}),
            "spec.webhookConfiguration.matchConditions[0].expression: must not be empty",
        ),
        (
            document(webhookConfiguration={"matchConditions": [{"name": "a", "expression": "true"}] * 2}),
            "spec.webhookConfiguration.matchConditions[1].name: Duplicate value: 'a'",
        ),
        (
            document(generateExisting="yes"),
            "spec.generateExisting: must be true or false, not a string",
        ),
        (document(rule(matchs={})), "spec.rules[0].matchs: unknown field; did you mean 'match'?"),
        (document(backgroud=True), "spec.backgroud: unknown field; did you mean 'background'?"),
        (
            document(rule(validate={"message": "x"})),
            "spec.rules[0].validate: one of pattern, anyPattern, deny, foreach, cel must be specified",
        ),
        (
            document(rule(validate={"pattern": {}, "deny": {}})),
            "spec.rules[0].validate: only one of pattern, anyPattern, deny, foreach, cel can be specified",
        ),
        (document(rule(validate={"anyPattern": {}})), "spec.rules[0].validate.anyPattern: must be a list of patterns"),
        (
            document(webhookTimeoutSeconds=31),
            "spec.webhookTimeoutSeconds: the timeout value must be between 1 and 30 seconds",
        ),
        (
            document(webhookConfiguration={"timeoutSeconds": 0}),
            "spec.webhookConfiguration.timeoutSeconds: the timeout value must be between 1 and 30 seconds",
        ),
        (
            document(failurePolicy="Fail", webhookConfiguration={"failurePolicy": "Fail"}),
            "spec.failurePolicy: remove the deprecated field and use spec.webhookConfiguration.failurePolicy instead",
        ),
        (
            document(kind="Policy", validationFailureActionOverrides=[{"action": "Audit"}]),
            (
                "spec.validationFailureActionOverrides: "
                "Use of validationFailureActionOverrides is supported only with ClusterPolicy"
            ),
        ),
        (
            document(rule(match={"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["a"]}}]}), kind="Policy"),
            "spec.rules[0].match.any[0].resources.namespaces: Filtering namespaces not allowed in namespaced policies",
        ),
        (
            document(rule(match={"any": [{"resources": {"kinds": ["Pod"], "names": ["{{request.name}}"]}}]})),
            'spec.rules[0].match: rule "r" should not have variables in match section',
        ),
        (
            document(rule(match={"any": [{"resources": {"kinds": ["*"]}}]})),
            (
                "spec.rules[0].match.any[0].resources.kinds: wildcard policy not allowed in background mode. "
                "Set spec.background=false to disable background mode for this policy rule"
            ),
        ),
        (
            document(rule(match={"any": [{"resources": {"kinds": ["*", "Pod"]}}]}), background=False),
            "spec.rules[0].match.any[0].resources.kinds: wildcard policy can not deal with more than one kind",
        ),
        (
            document(rule(match={"any": [{"resources": {"kinds": ["*"]}}]}), background=False),
            (
                "spec.rules[0].validate.pattern: policy can only deal with the metadata field of the resource if "
                "the rule does not match any kind"
            ),
        ),
        (
            document(rule(match={"any": [{**rule()["match"]["any"][0], "subjects": [{"kind": "User", "name": "a"}]}]})),
            (
                "spec.rules[0]: only select variables are allowed in background mode. "
                "Set spec.background=false to disable background mode for this policy rule: "
                "invalid variable used at path: spec/rules[0]/match/any[0]/subjects"
            ),
        ),
        (
            document(rule(validate={"message": "{{ request.userInfo.username }}", "pattern": {}})),
            (
                "spec.rules[0].validate.message: only select variables are allowed in background mode. "
                "Set spec.background=false to disable background mode for this policy rule: "
                "variable {{ request.userInfo.username }} is not allowed"
            ),
        ),
        (
            document(rule(validate={"message": "{{ element.name }}", "pattern": {}})),
            (
                "spec.rules[0].validate.message: variable 'element.name' present outside of foreach "
                "at path /validate/message"
            ),
        ),
        (
            document(rule(validate={"message": "{{ nosuch.name }}", "pattern": {}})),
            (
                "spec.rules[0].validate.message: policy contains invalid variables: "
                "variable substitution failed for rule r: variable nosuch.name must match regex "
                r'"request\.|element|elementIndex|@|images|images\.|image\.|([a-z_0-9]+\()[^{}]" or patterns []'
            ),
        ),
        (
            document(rule(validate={"pattern": {"metadata": {"labels": {"a": 1}}}})),
            (
                "spec.rules[0].validate.pattern.metadata.labels: labels and annotations supports only string values, "
                '"use double quotes around the non string values"'
            ),
        ),
        (
            document(metadata={"annotations": {"pod-policies.kyverno.io/autogen-controllers": "all"}}),
            (
                "metadata.annotations[pod-policies.kyverno.io/autogen-controllers]: "
                "Autogen annotation does not support 'all' anymore, remove the annotation or set it to a valid value"
            ),
        ),
        (
            document(validationFailureAction="Deny"),
            "spec.validationFailureAction: 'Deny' is not one of Audit, Enforce, audit, enforce",
        ),
        (document(applyRules="Some"), "spec.applyRules: 'Some' is not one of All, One"),
        (document("rule"), "spec.rules[0]: must be an object, not a string"),
        (changed(lambda policy: policy.pop("metadata")), "metadata: must be an object with a name"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(policy, problem):
    assert problem in problems_of(policy)


def test_all_problems_are_said_at_once():
    rules = rule("a", celPreconditions=[]), rule("b", validate={"cel": {}, "foreach": []})
    found = problems_of(document(*rules, backgroud=True))
    assert {text.split(":")[0] for text in found} >= {
        "spec.backgroud",
        "spec.rules[0].celPreconditions",
        "spec.rules[1].validate.cel",
        "spec.rules[1].validate",
    }


def test_a_wrong_expression_or_operator_is_a_problem_of_the_policy():
    conditions = {"any": [{"key": "{{ request.object. }}", "operator": "Equals", "value": "x"}]}
    assert problems_of(document(rule(preconditions=conditions)))
    conditions = {"any": [{"key": "{{ request.name }}", "operator": "Resembles", "value": "x"}]}
    assert problems_of(document(rule(validate={"deny": {"conditions": conditions}})))


@pytest.mark.parametrize(
    "spec",
    [
        {"background": True, "admission": True, "schemaValidation": False},
        {"useServerSideApply": False, "generateExisting": False, "mutateExistingOnPolicyUpdate": False},
        {"applyRules": "One", "emitWarning": True},
    ],
)
def test_fields_that_change_nothing_else_are_accepted(spec):
    assert compiler.compile_policy(document(rule(skipBackgroundRequests=False), **spec)).name == "p"


def test_more_rules_than_can_be_compiled_in_time_are_refused_before_they_are():
    """A policy is untrusted, too: thousands of rules would take minutes."""
    (problem,) = problems_of(document(*(rule(f"r{number}") for number in range(501))))
    assert problem == "spec.rules: has more than 500 rules; make several policies of them"


def test_v2beta1_is_the_same_policy():
    policy = {**document(), "apiVersion": "kyverno.io/v2beta1"}
    assert compiler.compile_policy(policy).version == "v2beta1"


def test_the_document_is_not_changed():
    policy = document()
    before = copy.deepcopy(policy)
    compiler.compile_policy(policy)
    assert policy == before
