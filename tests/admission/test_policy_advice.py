"""What the author of a policy is told beside its problems: what the cluster lacks, and what is deprecated."""

import dataclasses

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
        dataclasses.replace(served("apps", "Deployment", subresource="scale"), content="Scale"),
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


@pytest.mark.parametrize("kind", ["Scale", "autoscaling/v1/Scale"])
async def test_the_kind_of_a_subresource_is_refused(kind):
    """Requests for it are selected by the resource it belongs to: the policy would be accepted and enforce nothing."""
    reason = f"{kind} is the kind of a subresource, which is selected by its resource: `Deployment/scale`"
    assert await advice("Pod", kind) == ([f"{SECOND_KIND}: {reason}"], [])


@pytest.mark.parametrize("kind", ["Certificate", "v2/Pod", "batch/v1/Pod", "Pod/logs", "Cert*"])
async def test_a_kind_that_is_not_served_is_accepted_with_a_warning(kind):
    """Its CustomResourceDefinition may come later; a slip of the pen is told from that only by its author."""
    problems, (warning,) = await advice("Pod", kind)
    assert problems == []
    assert warning == (f"{SECOND_KIND}: the API server does not serve {kind}; nothing is enforced on it until it does")


async def test_kinds_of_exclude_are_looked_at_too():
    _, warnings = await advice("Pod", rule={"exclude": {"resources": {"kinds": ["Nosuch"]}}})
    assert [warning.partition(":")[0] for warning in warnings] == ["spec.rules[0].exclude.resources.kinds[0]"]


@pytest.mark.parametrize("kind", ["a.example/v1/Cluster", "Names*"])
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
    problems, (warning,) = await policyadvice.of(policy("a.example/v1/Cluster", kind="Policy"), mute)
    assert problems == ()
    assert warning == "whether the API server serves all kinds is not known now: connection refused"


async def test_what_is_said_without_a_cluster_is_said_too():
    """Whatever the engine warns of."""
    found = await policyadvice.of(policy(failurePolicy="Ignore"), Catalogues())
    assert found == (
        (),
        ("spec.failurePolicy is deprecated, use spec.webhookConfiguration.failurePolicy instead.",),
    )


@pytest.mark.parametrize(
    ("api_version", "kind", "namespace", "reason"),
    [
        ("a.example/v1", "Cluster", "shop", "target namespace must not be set for a cluster-wide resource"),
        ("b.example/v1", "Cluster", "", "target namespace must be set for a namespaced resource"),
    ],
)
async def test_what_a_rule_generates_lies_where_the_api_server_serves_it(api_version, kind, namespace, reason):
    generate = {"apiVersion": api_version, "kind": kind, "name": "n", "namespace": namespace, "data": {"spec": {}}}
    document = policy()
    (rule,) = document["spec"]["rules"]
    generating = {**document, "spec": {"rules": [{"name": "r", "match": rule["match"], "generate": generate}]}}
    (problem,) = (await policyadvice.of(generating, Catalogues())).problems
    assert str(problem) == f"spec.rules[0].generate.namespace: {reason}"


async def test_a_generate_rule_that_is_there_stays_the_one_that_generated():
    target = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": "shop"}
    generating = {"generate": {**target, "synchronize": True, "data": {"data": {}}}}
    old, renamed, moved = (policy(), policy(), policy())
    for document, fields in ((old, {}), (renamed, {"name": "other"}), (moved, {})):
        (rule,) = document["spec"]["rules"]
        document["spec"] = {"rules": [{**rule, "validate": None, **generating, **fields}]}
    moved["spec"]["rules"][0]["generate"] = {**generating["generate"], "name": "d"}
    assert await policyadvice.of(old, Catalogues(), old) == ((), ())
    (problem,) = (await policyadvice.of(renamed, Catalogues(), old)).problems
    assert problem.reason == "changes of immutable fields of a rule spec in a generate rule is disallowed"
    problems, (warning,) = await policyadvice.of(moved, Catalogues(), old)
    assert problems == ()
    assert warning.endswith("changes in the generate rule pattern could result in stale targets")
