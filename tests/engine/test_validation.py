"""What is wrong with a policy when its fields are seen together: each reason with its path, in Kyverno's words."""

import copy

import pytest

from kymograph.engine import compile as compiler
from kymograph.engine import errors, validation
from support.writtenpolicies import DENY, NAMESPACES, PODS, context, generating, mutating, policy, validating

NO_BACKGROUND = "Set spec.background=false to disable background mode for this policy rule"
IN_BACKGROUND = f"only select variables are allowed in background mode. {NO_BACKGROUND}"
IN_BACKGROUND_REGEX = r'"request\.|element|elementIndex|@|images|images\.|image\.|([a-z_0-9]+\()[^{}]"'
ONLY_METADATA = "policy can only deal with the metadata field of the resource if the rule does not match any kind"
STRINGS_ONLY = 'labels and annotations supports only string values, "use double quotes around the non string values"'
ONE_SOURCE = "exactly one of configMap or apiCall or imageRegistry or variable is required for context entries"


def found(document):
    with pytest.raises(errors.PolicyInvalid) as raised:
        compiler.compile_policy(document)
    return [str(problem) for problem in raised.value.problems]


WRONG = {
    "structure": [
        (
            policy(mutating(patchStrategicMerge={"metadata": {}}), admission=False),
            "spec.admission: disabling admission processing is only allowed with validation policies",
        ),
        (
            policy({**DENY, "celPreconditions": [{"name": "a", "expression": "true"}]}),
            "spec.rules[0].celPreconditions: celPrecondition can only be used with validate.cel",
        ),
        (
            policy(validating(foreach=[{"deny": {}}])),
            "spec.rules[0].validate.foreach[0].list: foreach.list is required",
        ),
        (
            policy(validating(foreach=[{"list": "a"}])),
            (
                "spec.rules[0].validate.foreach[0]: "
                "one of pattern, anyPattern, deny, or a nested foreach must be specified"
            ),
        ),
        (
            policy(validating(foreach=[{"list": "a", "foreach": [{"list": "b", "deny": {}, "pattern": {}}]}])),
            (
                "spec.rules[0].validate.foreach[0].foreach[0]: "
                "only one of pattern, anyPattern, deny, or a nested foreach can be specified"
            ),
        ),
    ],
    "matching": [
        (policy({**DENY, "exclude": PODS}), "spec.rules[0]: Rule is matching an empty set"),
        (
            policy({**DENY, "match": {"resources": {"kinds": ["Pod"]}}, "exclude": {"resources": {"kinds": ["Pod"]}}}),
            "spec.rules[0]: Rule is matching an empty set",
        ),
        (
            policy(
                {
                    **DENY,
                    "match": {"resources": {"kinds": ["Pod"], "name": "web-1"}},
                    "exclude": {"resources": {"kinds": ["Pod", "Job"], "name": "web-*"}},
                }
            ),
            "spec.rules[0]: Rule is matching an empty set",
        ),
        (
            policy({**DENY, "exclude": {"any": [{"roles": ["admin"]}]}}, background=False),
            "spec.rules[0].exclude.any[0].roles[0]: Role is expected to be in namespace:name format",
        ),
        (
            policy({**DENY, "match": {"any": [{"resources": {"kinds": ["Pod"], "names": ["{{request.name}}"]}}]}}),
            'spec.rules[0].match: rule "r" should not have variables in match section',
        ),
        (
            policy({**DENY, "exclude": {"any": [{"resources": {"names": ["{{request.name}}"]}}]}}),
            'spec.rules[0].exclude: rule "r" should not have variables in exclude section',
        ),
    ],
    "kinds": [
        (
            policy({**DENY, "match": NAMESPACES}, kind="Policy"),
            (
                "spec.rules[0].match.any[0].resources.kinds[0]: "
                "Cluster wide resource 'Namespace' not allowed in namespaced policy"
            ),
        ),
        (
            policy(
                {**DENY, "match": {"any": [{"resources": {"kinds": ["rbac.authorization.k8s.io/v1/ClusterRole"]}}]}},
                kind="Policy",
            ),
            (
                "spec.rules[0].match.any[0].resources.kinds[0]: "
                "Cluster wide resource 'rbac.authorization.k8s.io/v1/ClusterRole' not allowed in namespaced policy"
            ),
        ),
        (
            policy({**DENY, "match": {"all": [{"resources": {"kinds": ["Pod"], "namespaces": ["a"]}}]}}, kind="Policy"),
            "spec.rules[0].match.all[0].resources.namespaces: Filtering namespaces not allowed in namespaced policies",
        ),
        (
            policy({**DENY, "match": {"resources": {"kinds": ["*"]}}}),
            f"spec.rules[0].match.resources.kinds: wildcard policy not allowed in background mode. {NO_BACKGROUND}",
        ),
        (
            policy({**DENY, "match": {"resources": {"kinds": ["*", "Pod"]}}}, background=False),
            "spec.rules[0].match.resources.kinds: wildcard policy can not deal with more than one kind",
        ),
        (
            policy({**generating(), "match": {"resources": {"kinds": ["*"]}}}, background=False),
            "spec.rules[0].match.resources.kinds: wildcard policy does not support rule type",
        ),
        (
            policy(
                {**validating(anyPattern=[{"spec": {}}]), "match": {"resources": {"kinds": ["*"]}}}, background=False
            ),
            f"spec.rules[0].validate.anyPattern[0]: {ONLY_METADATA}",
        ),
        (
            policy(
                {**mutating(patchStrategicMerge={"spec": {}}), "match": {"resources": {"kinds": ["*"]}}},
                background=False,
            ),
            f"spec.rules[0].mutate.patchStrategicMerge: {ONLY_METADATA}",
        ),
        (
            policy(
                {
                    **validating(deny={"conditions": [{"key": "{{ a.b }}", "operator": "Equals", "value": "x"}]}),
                    "match": {"resources": {"kinds": ["*"]}},
                },
                background=False,
            ),
            f"spec.rules[0].validate.deny.conditions[0].key: {ONLY_METADATA}",
        ),
        (
            policy(validating(pattern={"spec": {"template": {"metadata": {"labels": {"a": 1}}}}})),
            f"spec.rules[0].validate.pattern.spec.template.metadata.labels: {STRINGS_ONLY}",
        ),
        (
            policy(validating(foreach=[{"list": "a", "pattern": {"metadata": {"annotations": {"a": True}}}}])),
            f"spec.rules[0].validate.foreach[0].pattern.metadata.annotations: {STRINGS_ONLY}",
        ),
        (
            policy(mutating(patchStrategicMerge={"metadata": {"labels": {"a": None}}})),
            f"spec.rules[0].mutate.patchStrategicMerge.metadata.labels: {STRINGS_ONLY}",
        ),
    ],
    "names": [
        (
            policy(validating(pattern={"a": "{{ nosuch.name }}"})),
            (
                "spec.rules[0].validate.pattern.a: policy contains invalid variables: variable substitution failed for "
                f"rule r: variable nosuch.name must match regex {IN_BACKGROUND_REGEX} or patterns []"
            ),
        ),
        (
            policy(
                {**validating(pattern={"a": "{{ map.nodata }}"}), "context": [{"name": "map", "configMap": {}}]},
            ),
            (
                "spec.rules[0].validate.pattern.a: policy contains invalid variables: variable substitution failed for "
                f"rule r: variable map.nodata must match regex {IN_BACKGROUND_REGEX} or patterns "
                "[map.data map.metadata map.data.* map.metadata.*]"
            ),
        ),
        (
            policy(validating(message="{{ request.userInfo.username }}", deny={})),
            (
                f"spec.rules[0].validate.message: {IN_BACKGROUND}: "
                "variable {{ request.userInfo.username }} is not allowed"
            ),
        ),
        (
            policy({**DENY, "preconditions": {"all": [{"key": "{{serviceAccountName}}", "operator": "Equals"}]}}),
            (
                f"spec.rules[0].preconditions.all[0].key: {IN_BACKGROUND}: "
                "variable {{serviceAccountName}} is not allowed"
            ),
        ),
        (
            policy({**DENY, "match": {"any": [{"resources": {"kinds": ["Pod"]}, "clusterRoles": ["a"]}]}}),
            f"spec.rules[0]: {IN_BACKGROUND}: invalid variable used at path: spec/rules[0]/match/any[0]/clusterRoles",
        ),
        (
            policy(
                {
                    **mutating(
                        targets=[{"kind": "ConfigMap"}],
                        patchStrategicMerge={"a": "{{ request.name }}"},
                        mutateExistingOnPolicyUpdate=True,
                    ),
                    "exclude": {"subjects": [{"kind": "User", "name": "a"}]},
                },
                background=False,
            ),
            (
                "spec.rules[0]: only select variables are allowed in on policy update. "
                "Set spec.mutateExistingOnPolicyUpdate=false to disable update policy mode for this policy rule: "
                "invalid variable used at path: spec/rules[0]/exclude/subjects"
            ),
        ),
        (
            policy(
                {
                    **mutating(
                        targets=[{"kind": "ConfigMap", "name": "{{target.metadata.name}}"}], patchStrategicMerge={}
                    ),
                }
            ),
            (
                "spec.rules[0].mutate.targets[0].name: policy contains invalid variables: "
                "invalid variables defined at mutate.targets[0]: variable target.metadata.name must match regex "
                f"{IN_BACKGROUND_REGEX} or patterns []"
            ),
        ),
        (
            policy(validating(message="{{ element.name }}", deny={})),
            (
                "spec.rules[0].validate.message: "
                "variable 'element.name' present outside of foreach at path /validate/message"
            ),
        ),
        (
            policy(validating(pattern={"{{ elementIndex }}": "x"})),
            (
                "spec.rules[0].validate.pattern: "
                "variable 'elementIndex' present outside of foreach at path /validate/pattern"
            ),
        ),
    ],
    "context": [
        (
            policy(context(name="", variable={"value": 1})),
            "spec.rules[0].context[0].name: a name is required for context entries",
        ),
        (
            policy(context(name="request", variable={"value": 1})),
            (
                "spec.rules[0].context[0].name: "
                "entry name request is invalid as it conflicts with a pre-defined variable request"
            ),
        ),
        (
            policy(context(name="images.a", variable={"value": 1})),
            (
                "spec.rules[0].context[0].name: "
                "entry name images.a is invalid as it conflicts with a pre-defined variable images"
            ),
        ),
        (policy(context()), f"spec.rules[0].context[0]: {ONE_SOURCE}"),
        (
            policy(context(variable={"value": 1}, configMap={"name": "a", "namespace": "b"})),
            f"spec.rules[0].context[0]: {ONE_SOURCE}",
        ),
        (
            policy(context(variable={})),
            "spec.rules[0].context[0].variable: a variable must define a value or a jmesPath expression",
        ),
        (
            policy(context(variable={"value": 1, "default": 2})),
            (
                "spec.rules[0].context[0].variable.default: "
                "a variable must define a default value only when a jmesPath expression is defined"
            ),
        ),
        (
            policy(context(configMap={"namespace": "b"})),
            "spec.rules[0].context[0].configMap.name: a name is required for configMap context entry",
        ),
        (
            policy(context(configMap={"name": "a"})),
            "spec.rules[0].context[0].configMap.namespace: a namespace is required for configMap context entry",
        ),
        (
            policy(context(apiCall={"urlPath": "/api", "service": {"url": "https://a.example"}})),
            "spec.rules[0].context[0].apiCall: a URLPath cannot be used for service API calls",
        ),
        (
            policy(context(imageRegistry={})),
            "spec.rules[0].context[0].imageRegistry.reference: a ref is required for imageRegistry context entry",
        ),
        (
            policy(context(globalReference={})),
            "spec.rules[0].context[0].globalReference.name: a name is required for globalReference context entry",
        ),
        (
            policy(context(globalReference={"name": "a"}), kind="Policy"),
            "spec.rules[0].context[0].globalReference: globalReference is not allowed in namespaced policies",
        ),
        (
            policy({"validate": {"cel": {"expressions": []}}, "context": [{"name": "a", "variable": {"value": 1}}]}),
            "spec.rules[0].context: context variables are not supported for CEL expressions in validate rules",
        ),
    ],
    "mutation": [
        (
            policy(mutating(patchStrategicMerge={"a": 1}, mutateExistingOnPolicyUpdate=True)),
            (
                "spec.mutateExistingOnPolicyUpdate: "
                "rules[0].mutate.targets has to be specified when mutateExistingOnPolicyUpdate is set"
            ),
        ),
        (
            policy(DENY, mutating(patchStrategicMerge={"a": 1}), mutateExistingOnPolicyUpdate=True),
            (
                "spec.mutateExistingOnPolicyUpdate: "
                "rules[1].mutate.targets has to be specified when mutateExistingOnPolicyUpdate is set"
            ),
        ),
        (
            policy(
                mutating(patchStrategicMerge={"a": 1}, targets=[{"kind": "ConfigMap", "namespace": "other"}]),
                kind="Policy",
            ),
            (
                "spec.rules[0].mutate.targets[0].namespace: This field can be ignored or should have value of the "
                "namespace where the policy is being created"
            ),
        ),
        (
            policy(mutating(foreach=[{"list": "a", "patchStrategicMerge": {}}], patchesJson6902="[]")),
            "spec.rules[0].mutate: only one of `foreach`, `patchStrategicMerge`, or `patchesJson6902` is allowed",
        ),
        (
            policy(mutating(patchStrategicMerge={"a": 1}, patchesJson6902="[]")),
            "spec.rules[0].mutate: only one of `patchStrategicMerge` or `patchesJson6902` is allowed",
        ),
        (
            policy(mutating(foreach=[{"list": "a"}])),
            "spec.rules[0].mutate.foreach[0]: only one of `patchStrategicMerge` or `patchesJson6902` is allowed",
        ),
        (
            policy(
                mutating(foreach=[{"list": "a", "context": [{}], "foreach": [{"list": "b", "patchesJson6902": "[]"}]}])
            ),
            "spec.rules[0].mutate.foreach[0]: a nested foreach cannot contain other declarations",
        ),
        (
            policy(mutating(patchesJson6902="- {op: add, path: metadata/labels/a, value: b}")),
            (
                "spec.rules[0].mutate.patchesJson6902: "
                "path must begin with a forward slash: spec.rules[0]: metadata/labels/a"
            ),
        ),
        (
            policy(mutating(patchesJson6902="- {op: set, path: /a, value: b}")),
            "spec.rules[0].mutate.patchesJson6902: unexpected kind: spec.rules[0]: set",
        ),
        (
            policy(mutating(patchesJson6902='- {op: add, path: "/metadata/labels/{{request.name}}", value: b}')),
            'spec.rules[0].mutate.patchesJson6902: rule "r" should not have variables in patchesJSON6902 path section',
        ),
    ],
}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        pytest.param(document, problem, id=f"{concern}-{index}")
        for concern, rows in WRONG.items()
        for index, (document, problem) in enumerate(rows)
    ],
)
def test_what_is_wrong_is_said_with_its_path(document, problem):
    before = copy.deepcopy(document)
    assert problem in found(document)
    assert document == before


def test_subresources_cannot_be_scanned_in_a_cluster_and_need_not_be_elsewhere():
    """The command line has no background scan: a policy with a subresource is applied there, as Kyverno's does."""
    document = policy({**DENY, "match": {"any": [{"resources": {"kinds": ["Pod/exec"]}}]}})
    compiler.compile_policy(document)
    assert [str(each) for each in validation.problems(document)] == [
        "spec.rules[0].match.any[0].resources.kinds[0]: background scan enabled with subresource Pod/exec"
    ]
    assert validation.problems({**document, "spec": {**document["spec"], "background": False}}) == ()
