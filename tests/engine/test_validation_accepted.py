"""Policies that are accepted, those that are with a warning, and what may change of one that is there."""

import pytest

from kymograph.engine import validation
from kymograph.engine.validation import updates
from support.writtenpolicies import DENY, PODS, generating, mutating, policy, validating, verifying


def found(document):
    return [str(problem) for problem in validation.problems(document)]


ELEMENTS = [{"list": "request.object.spec.containers", "pattern": {"name": "{{ element.name }}{{ elementIndex }}"}}]


ACCEPTED = [
    policy(DENY),
    policy(DENY, admission=False),
    policy({**DENY, "exclude": {"any": [{"resources": {"kinds": ["Pod"], "names": ["a"]}}]}}),
    policy(
        {
            **DENY,
            "match": {"resources": {"kinds": ["Pod"], "selector": {"matchLabels": {"a": "b"}}}},
            "exclude": {"resources": {"kinds": ["Pod"]}},
        }
    ),
    policy({**DENY, "exclude": {"clusterRoles": ["admin"]}}, background=False),
    policy({**validating(pattern={"metadata": {}}), "match": {"resources": {"kinds": ["*"]}}}, background=False),
    policy({**mutating(patchStrategicMerge={}), "match": {"any": [{"resources": {"kinds": ["Pod/status"]}}]}}),
    policy(validating(message="{{ request.userInfo.username }}", deny={}), background=False),
    policy(validating(foreach=ELEMENTS)),
    policy({**validating(pattern={"a": "{{ given.b }}"}), "context": [{"name": "given", "variable": {"value": 1}}]}),
    policy({**validating(pattern={"a": "{{ to_upper('b') }}{{@}}"})}),
    policy(validating(pattern={"a": "\\\\{{ nosuch }}"})),
    policy(
        mutating(targets=[{"kind": "A"}], patchStrategicMerge={"a": "{{ target.data.a }} {{ request.roles }}"}),
    ),
    policy(mutating(patchesJson6902='- {op: add, path: /metadata/labels/a, value: "{{ request.name }}"}')),
    policy(mutating(foreach=[{"list": "a", "foreach": [{"list": "b", "patchesJson6902": "- {{element}}"}]}])),
    policy(generating()),
    policy(generating(apiVersion="a.example/v1", kind="Whatever", namespace="")),
    policy(generating(apiVersion="rbac.authorization.k8s.io/v1", kind="ClusterRole", namespace="")),
    policy({"generate": {"namespace": "shop", "cloneList": {"namespace": "shop", "kinds": ["v1/Secret"]}}}),
    policy(verifying()),
    policy(verifying(mutateDigest=True), validationFailureAction="enforce"),
    policy(
        DENY,
        validationFailureActionOverrides=[
            {"action": "Enforce", "namespaces": ["team-a", "team-b*"]},
            {"action": "Audit", "namespaces": ["team-c*", "team-a1"]},
        ],
    ),
]


@pytest.mark.parametrize("document", ACCEPTED)
def test_what_kyverno_accepts_is_accepted(document):
    assert found(document) == []


def test_everything_wrong_is_said_at_once():
    document = policy(
        {**validating(message="{{ element }}", deny={}), "exclude": PODS},
        mutating(patchesJson6902="- {op: add, path: a}"),
        admission=False,
    )
    assert {problem.partition(": ")[0] for problem in found(document)} == {
        "spec.rules[0]",
        "spec.rules[0].validate.message",
        "spec.rules[1].mutate.patchesJson6902",
        "spec.admission",
    }


def test_a_scope_that_a_cluster_tells_decides_where_objects_lie():
    document = policy(generating(apiVersion="a.example/v1", kind="Fleet"))
    asked = []

    def scope(api_version, kind):
        asked.append((api_version, kind))
        return False

    (problem,) = validation.problems(document, scope)
    assert problem.reason == "target namespace must not be set for a cluster-wide resource"
    assert ("a.example/v1", "Fleet") in asked


DEPRECATED = "has been deprecated and will be removed soon. Use these instead:"
LOWER_CASE = "Validation failure actions enforce/audit are deprecated, use Enforce/Audit instead."
STATUS = "You are matching on status but not including the status subresource in the policy."
REPLICAS = "You are matching on replicas but not including the scale subresource in the policy."


def denying(*operators):
    conditions = [{"key": "{{ request.name }}", "operator": each, "value": ["a"]} for each in operators]
    return validating(deny={"conditions": {"any": conditions}})


@pytest.mark.parametrize(
    ("document", "warnings"),
    [
        (policy(DENY), []),
        (
            policy(DENY, validationFailureAction="Enforce"),
            ["spec.validationFailureAction is deprecated, use spec.rules[*].validate.failureAction instead."],
        ),
        (policy(validating(failureAction="audit", deny={})), [f"spec.rules[0].validate.failureAction: {LOWER_CASE}"]),
        (
            policy(validating(failureActionOverrides=[{"action": "enforce"}], deny={})),
            [f"spec.rules[0].validate.failureActionOverrides[0].action: {LOWER_CASE}"],
        ),
        (
            policy(DENY, failurePolicy="Ignore"),
            ["spec.failurePolicy is deprecated, use spec.webhookConfiguration.failurePolicy instead."],
        ),
        (
            policy(DENY, webhookTimeoutSeconds=5),
            ["spec.webhookTimeoutSeconds is deprecated, use spec.webhookConfiguration.timeoutSeconds instead."],
        ),
        (
            policy(generating(), generateExisting=True),
            ["spec.generateExisting is deprecated, use spec.rules[*].generate.generateExisting instead."],
        ),
        (policy(denying("AnyIn", "AllNotIn")), []),
        (
            policy(denying("In", "NotIn", "In")),
            [f'Operator In {DEPRECATED} ["AllIn" "AnyIn"]', f'Operator NotIn {DEPRECATED} ["AllNotIn" "AnyNotIn"]'],
        ),
        (
            policy({**DENY, "preconditions": [{"key": "a", "operator": "durationlessthan", "value": "1h"}]}),
            [f'Operator durationlessthan {DEPRECATED} ["LessThan"]'],
        ),
        (
            policy({**mutating(patchesJson6902="[]"), "match": {"resources": {"kinds": ["Pod"]}}}),
            [
                (
                    "Pods managed by workload controllers should not be directly mutated using policies. "
                    "Use the autogen feature or write policies that match Pod controllers."
                )
            ],
        ),
        (
            policy(DENY, annotations={"pod-policies.kyverno.io/autogen-controllers": "Deployment,Job"}),
            [
                (
                    "Policies that match Pods apply to all Pods including those created and managed by controllers "
                    "excluded from autogen. Use preconditions to exclude the Pods managed by controllers which are "
                    "excluded from autogen. "
                    "Refer to https://kyverno.io/docs/policy-types/cluster-policy/autogen/ for details."
                )
            ],
        ),
        (policy(DENY, annotations={"pod-policies.kyverno.io/autogen-controllers": "none"}), []),
        (policy(validating(pattern={"spec": {"replicas": 2}})), [REPLICAS]),
        (policy(validating(pattern={"status": {"phase": "Running"}})), [STATUS]),
        (
            policy(
                {
                    **validating(pattern={"status": {}, "spec": {"replicas": 1}}),
                    "match": {"any": [{"resources": {"kinds": ["Deployment/scale", "Deployment/status"]}}]},
                }
            ),
            [],
        ),
        (
            policy(verifying(attestations=[{"predicateType": "a/b"}])),
            ["predicateType has been deprecated use 'type: a/b' instead of 'predicateType: a/b'"],
        ),
        (
            policy(
                {"generate": {"namespace": "a", "cloneList": {"namespace": "{{request.name}}", "kinds": ["v1/Secret"]}}}
            ),
            ["variables in spec.rules[0].generate.clone/cloneList would lead to incorrect synchronization behavior"],
        ),
    ],
)
def test_what_works_but_should_be_written_otherwise_is_a_warning(document, warnings):
    """Once each, in the words users know; that a kind is going to be dropped elsewhere is no warning here."""
    assert list(validation.warnings(document)) == warnings


def replaced(**fields):
    """A policy of one generate rule, and the same with other fields of the rule."""
    rule = generating(synchronize=True)
    return policy(rule), policy({**rule, **fields})


@pytest.mark.parametrize(
    ("old", "new", "refused", "warned"),
    [
        (*replaced(), False, False),
        (*replaced(name="other"), True, False),
        (*replaced(match=PODS), True, False),
        (*replaced(exclude=PODS), True, False),
        (*replaced(preconditions={"all": []}), True, False),
        (*replaced(generate=generating(synchronize=False, data={"data": {}})["generate"]), False, False),
        (*replaced(generate=generating(synchronize=True, name="other")["generate"]), False, True),
        (policy(generating()), policy({**generating(), "match": PODS}), False, False),
        (policy(generating()), policy(generating(), DENY), False, False),
        (policy(DENY), policy(generating()), False, False),
    ],
)
def test_a_generate_rule_stays_the_one_that_generated(old, new, refused, warned):
    reasons = [str(problem) for problem in updates.problems(old, new)]
    disallowed = "spec.rules: changes of immutable fields of a rule spec in a generate rule is disallowed"
    assert reasons == ([disallowed] if refused else [])
    assert [text.partition(":")[0] for text in updates.warnings(old, new)] == (
        ["no synchronization will be performed to the old target resource upon policy updates"] if warned else []
    )


JUNK = (None, True, 1, 2**70, "", "{{ a", "{{ element }}", "a/b/c/d/e", [], [None, 1], {}, {"a": None}, {"any": [None]})


def replaced_everywhere(value, junk):
    """The value with each of its parts replaced in turn."""
    yield junk
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: other} for other in replaced_everywhere(inner, junk))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in replaced_everywhere(inner, junk))


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_a_policy_of_any_shape_is_judged_without_an_error(junk):
    """Whatever stands anywhere in a policy, the answer is a list of reasons."""
    for document in ACCEPTED:
        for spec in replaced_everywhere(document["spec"], junk):
            broken = {**document, "spec": spec}
            assert all(str(problem) for problem in validation.problems(broken))
            assert all(validation.warnings(broken))
            assert isinstance(updates.problems(document, broken), tuple)
