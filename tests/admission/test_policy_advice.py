"""What the author of a policy is told beside its problems: what the cluster lacks, and what is deprecated."""

import pytest

from kymograph.clients.kubernetes import discovery, errors
from kymograph.controllers.admission import policyadvice
from kymograph.engine import compile as compiler


def served(group, kind, *, namespaced=True, plural="", subresource=""):
    return discovery.Served(group, "v1", plural or f"{kind.lower()}s", kind, subresource, namespaced)


SECOND_KIND = "spec.rules[0].match.any[0].resources.kinds[1]"
CATALOGUE = discovery.Catalogue(
    (
        served("", "Pod"),
        served("", "Pod", subresource="exec"),
        served("", "Namespace", namespaced=False),
        served("apps", "Deployment"),
        served("a.example", "Cluster", namespaced=False),
        served("b.example", "Cluster"),
    )
)


class Catalogues:
    """What is known, and what the API server says when it is asked."""

    def __init__(self, known=CATALOGUE, asked=CATALOGUE):
        self.current = known
        self._asked = asked
        self.times = 0

    async def refresh(self):
        self.times += 1
        if isinstance(self._asked, Exception):
            raise self._asked
        return self._asked


def policy(*kinds, kind="ClusterPolicy", rule=None, **spec):
    document = {
        "apiVersion": "kyverno.io/v1",
        "kind": kind,
        "metadata": {"name": "p", **({"namespace": "shop"} if kind == "Policy" else {})},
        "spec": {
            "background": False,
            "rules": [
                {
                    "name": "r",
                    "match": {"any": [{"resources": {"kinds": list(kinds) or ["Pod"]}}]},
                    "validate": {"message": "no", "deny": {}},
                    **(rule or {}),
                }
            ],
            **spec,
        },
    }
    compiler.compile_policy(document)
    return document


async def advice(*arguments, **named):
    found = await policyadvice.of(policy(*arguments, **named), Catalogues())
    return [str(problem) for problem in found.problems], list(found.warnings)


@pytest.mark.parametrize("kind", ["Pod", "v1/Pod", "apps/v1/Deployment", "*/Deployment", "Pod/exec", "*", "Dep*"])
async def test_of_a_kind_that_is_served_nothing_is_said(kind):
    assert await advice(kind) == ([], [])


@pytest.mark.parametrize("kind", ["Certificate", "v2/Pod", "batch/v1/Pod", "Pod/logs", "Cert*"])
async def test_a_kind_that_is_not_served_is_accepted_with_a_warning(kind):
    """Its CustomResourceDefinition may come later; a slip of the pen is told from that only by its author."""
    problems, (warning,) = await advice("Pod", kind)
    assert problems == []
    assert warning == (f"{SECOND_KIND}: the API server does not serve {kind}; nothing is enforced on it until it does")


async def test_kinds_of_exclude_are_looked_at_too():
    _, warnings = await advice("Pod", rule={"exclude": {"resources": {"kinds": ["Nosuch"]}}})
    assert [warning.partition(":")[0] for warning in warnings] == ["spec.rules[0].exclude.resources.kinds[0]"]


@pytest.mark.parametrize("kind", ["Namespace", "v1/Namespace", "a.example/v1/Cluster", "Names*"])
async def test_a_policy_of_a_namespace_is_not_about_cluster_wide_kinds(kind):
    assert await advice("Pod", kind, kind="Policy") == (
        [f"{SECOND_KIND}: Cluster wide resource '{kind}' not allowed in namespaced policy"],
        [],
    )
    assert await advice("Pod", kind) == ([], [])


async def test_a_kind_that_is_namespaced_in_some_group_can_be_meant():
    assert await advice("Cluster", kind="Policy") == ([], [])


async def test_the_api_server_is_asked_again_before_anything_is_said():
    """A CustomResourceDefinition applied together with the policy is known in time."""
    document = policy("Cluster")
    stale = Catalogues(known=discovery.Catalogue())
    assert await policyadvice.of(document, stale) == ((), ())
    assert stale.times == 1
    fresh = Catalogues()
    assert await policyadvice.of(document, fresh) == ((), ())
    assert fresh.times == 0


async def test_a_policy_is_not_refused_because_the_api_server_does_not_say_what_it_serves():
    mute = Catalogues(known=discovery.Catalogue(), asked=errors.Unreachable("connection refused"))
    problems, (warning,) = await policyadvice.of(policy("Namespace", kind="Policy"), mute)
    assert problems == ()
    assert warning == "whether the API server serves all kinds is not known now: connection refused"


DEPRECATED = "has been deprecated and will be removed soon. Use these instead:"
LOWER_CASE = "Validation failure actions enforce/audit are deprecated, use Enforce/Audit instead."
MOVED = "spec.validationFailureAction is deprecated, use spec.rules[*].validate.failureAction instead."
OVERRIDES_MOVED = (
    "spec.validationFailureActionOverrides is deprecated, use spec.rules[*].validate.failureActionOverrides instead."
)


def denying(*operators):
    """A rule with conditions in `deny` that use some operators."""
    conditions = [{"key": "{{ request.name }}", "operator": each, "value": ["a"]} for each in operators]
    return {"validate": {"message": "no", "deny": {"conditions": {"any": conditions}}}}


@pytest.mark.parametrize(
    ("spec", "warnings"),
    [
        ({}, []),
        ({"validationFailureAction": "Enforce"}, [MOVED]),
        ({"validationFailureAction": "enforce"}, [MOVED, LOWER_CASE]),
        ({"rule": {"validate": {"failureAction": "audit", "deny": {}}}}, [LOWER_CASE]),
        (
            {
                "rule": {
                    "validate": {"failureActionOverrides": [{"action": "enforce", "namespaces": ["a"]}], "deny": {}}
                }
            },
            [LOWER_CASE],
        ),
        (
            {"validationFailureActionOverrides": [{"action": "Enforce", "namespaces": ["a"]}]},
            [OVERRIDES_MOVED],
        ),
        (
            {"failurePolicy": "Ignore"},
            ["spec.failurePolicy is deprecated, use spec.webhookConfiguration.failurePolicy instead."],
        ),
        (
            {"webhookTimeoutSeconds": 5},
            ["spec.webhookTimeoutSeconds is deprecated, use spec.webhookConfiguration.timeoutSeconds instead."],
        ),
        ({"webhookConfiguration": {"failurePolicy": "Ignore", "timeoutSeconds": 5}}, []),
        ({"rule": denying("AnyIn", "AllNotIn")}, []),
        (
            {"rule": denying("In", "NotIn", "In")},
            [
                f'Operator In {DEPRECATED} ["AllIn" "AnyIn"]',
                f'Operator NotIn {DEPRECATED} ["AllNotIn" "AnyNotIn"]',
            ],
        ),
        (
            {"rule": {"preconditions": [{"key": "a", "operator": "durationlessthan", "value": "1h"}]}},
            ['Operator durationlessthan has been deprecated and will be removed soon. Use these instead: ["LessThan"]'],
        ),
        (
            {"rule": {"preconditions": [{"all": [{"key": "a", "operator": "In", "value": ["a"]}]}, {"any": []}]}},
            [f'Operator In {DEPRECATED} ["AllIn" "AnyIn"]'],
        ),
    ],
)
async def test_what_is_deprecated_works_and_says_what_to_write_instead(spec, warnings):
    """Once each, however often it is used."""
    assert await advice(**spec) == ([], warnings)
