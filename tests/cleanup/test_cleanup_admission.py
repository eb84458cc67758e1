"""Cleanup policies when they are written: refused where the operator may not do what they ask, with what is missing."""

import pytest
import yaml

from fakes.cleanable import Catalogues, Cleanable
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers.cleanup import collections
from kymograph.engine import errors
from support.cleanuppolicies import cleanup_policy


@pytest.fixture
def server():
    return Cleanable()


@pytest.fixture
def check(server):
    return collections.Check(server, Catalogues())


async def refused(check, document) -> list[str]:
    with pytest.raises(errors.PolicyInvalid) as caught:
        await check(document)
    return [problem.reason for problem in caught.value.problems]


async def test_what_may_be_done_is_admitted(check, server) -> None:
    """Delete and list are asked for, of each kind, where the policy is."""
    assert await check(cleanup_policy(namespace="shop")) == ()
    asked = [each["resourceAttributes"] for each in server.reviews]
    assert asked == [
        {"resource": "pods", "verb": "delete", "namespace": "shop"},
        {"resource": "pods", "verb": "list", "namespace": "shop"},
    ]


@pytest.mark.parametrize("verb", ["delete", "list"])
async def test_what_may_not_is_refused_with_the_missing_rule(check, server, verb) -> None:
    """In Kyverno's words; the rule can be applied as it is printed."""
    server.forbidden = {(verb, "pods"), ("delete", "nodes")}
    first, second, how = await refused(check, cleanup_policy(kinds=("Pod", "Node")))
    assert first == f"cleanup controller has no permission to {verb} kind Pod"
    assert second == "cleanup controller has no permission to delete kind Node"
    role = yaml.safe_load(how.partition("apply:\n")[2])
    assert role["kind"] == "ClusterRole"
    assert role["metadata"]["labels"] == {"rbac.kymograph.dev/aggregate-to-cleanup": "true"}
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["delete", "get", "list"]}]


async def test_what_does_not_compile_is_refused_first(check, server) -> None:
    """Nothing is asked about it."""
    assert len(await refused(check, cleanup_policy(schedule="never"))) == 1
    assert server.reviews == []


async def test_kinds_of_the_cluster_in_a_policy_of_a_namespace(check) -> None:
    """It could never delete one."""
    (reason,) = await refused(check, cleanup_policy(namespace="shop", kinds=("Pod", "Node")))
    assert reason == "Cluster wide resource 'Node' not allowed in namespaced policy"


async def test_kinds_that_are_not_served_are_warned_of(check) -> None:
    """Their definition may come later."""
    (warning,) = await check(cleanup_policy(kinds=("Pod", "example.org/v1/Parcel")))
    assert "does not serve example.org/v1/Parcel" in warning


async def test_wildcards_ask_for_nothing(check, server) -> None:
    """They stand for what is granted."""
    server.forbidden = {("delete", "pods"), ("delete", "nodes")}
    assert await check(cleanup_policy(kinds=("*",))) == ()


async def test_an_api_server_that_does_not_answer_keeps_nobody_waiting(server) -> None:
    """The policy is admitted with a warning: it deletes only what may be deleted anyway."""

    class Silent(Catalogues):
        async def refresh(self):
            raise kubernetes_errors.Unreachable("no answer")

    (warning,) = await collections.Check(server, Silent())(cleanup_policy())
    assert "is not known now" in warning
