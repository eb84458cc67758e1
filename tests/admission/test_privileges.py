"""A policy is taken only if the operator may do what it asks for; what is missing is said, ready to be granted."""

import asyncio

import pytest
import yaml

from fakes import objects
from kymograph.controllers.admission import privileges
from support.writtenpolicies import generating, mutating, policy

ACCOUNT = "system:serviceaccount:kymograph:kymograph"


class Reviews:
    """Grants some verbs on some resources, in all namespaces or in some."""

    def __init__(self, *granted):
        self.granted, self.asked = set(granted), []

    async def create(self, resource, document):
        asked = document["spec"]["resourceAttributes"]
        self.asked.append(asked)
        return {"status": {"allowed": (asked["verb"], asked["resource"]) in self.granted}}


def may(*verbs, resource="configmaps"):
    return Reviews(*((verb, resource) for verb in verbs))


async def found(reviews, *rules):
    return await privileges.Privileges(reviews, lambda: ACCOUNT).lacking(policy(*rules), objects.Objects().current)


async def test_what_is_granted_is_taken() -> None:
    assert await found(may("get", "create"), generating()) == privileges.NOTHING
    assert await found(may("get", "list", "watch", "create", "update", "delete"), generating(synchronize=True)) == (
        (),
        (),
    )


async def test_patch_does_for_update() -> None:
    assert await found(may("get", "list", "watch", "create", "patch", "delete"), generating(synchronize=True)) == (
        (),
        (),
    )


async def test_what_is_missing_is_said_in_kyvernos_words_with_the_grant() -> None:
    (problem,) = (await found(may("get"), generating(synchronize=True))).problems
    assert problem.path == "spec.rules[0].generate"
    said, _, grant = problem.reason.partition("\n\n")
    assert said == f"{ACCOUNT} requires permissions list,create,update,delete for resource v1/ConfigMap"
    role = yaml.safe_load(grant)
    assert role["metadata"]["labels"] == {"rbac.kymograph.dev/aggregate-to-background": "true"}
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "create", "update", "delete"]}
    ]


async def test_without_watch_the_author_is_warned() -> None:
    answered = await found(may("get", "list", "create", "update", "delete"), generating(synchronize=True))
    assert answered.problems == ()
    assert "without the verb watch for v1/ConfigMap" in answered.warnings[0]


@pytest.mark.parametrize(("name", "verbs"), [("one", "get,update"), ("o*", "get,update,list")])
async def test_targets_are_asked_for_too(name, verbs) -> None:
    """Those that are not named have to be listed."""
    target = {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": name}
    (problem,) = (await found(may(), mutating(targets=[target], patchStrategicMerge={}))).problems
    assert problem.path == "spec.rules[0].mutate.targets[0]"
    assert problem.reason.startswith(
        f"auth check fails, additional privileges are required for the service account '{ACCOUNT}': "
        f"{ACCOUNT} requires permissions {verbs} for resource v1/Secret in namespace shop"
    )


async def test_a_target_with_a_name_is_asked_for_by_it() -> None:
    """Roles may grant the change of one object alone."""
    reviews = may("get", "update", resource="secrets")
    target = {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "one"}
    assert await found(reviews, mutating(targets=[target], patchStrategicMerge={})) == privileges.NOTHING
    assert {asked["name"] for asked in reviews.asked} == {"one"}


@pytest.mark.parametrize("fields", [{"kind": "{{ request.object.kind }}"}, {"kind": "Unheard", "apiVersion": "of/v1"}])
async def test_of_kinds_that_are_not_known_nothing_is_asked(fields) -> None:
    reviews = may()
    assert await found(reviews, generating(**fields)) == privileges.NOTHING
    assert reviews.asked == []


async def test_of_a_subresource_the_right_on_its_object_is_asked_for() -> None:
    """Kyverno asks for that on the subresource, which nobody can create; whether it is served does not matter."""
    assert await found(may("get", "create"), generating(kind="ConfigMap/status")) == privileges.NOTHING
    (problem,) = (await found(may("get"), generating(kind="ConfigMap/status"))).problems
    assert "requires permissions create for resource v1/ConfigMap/status" in problem.reason


async def test_every_pattern_of_a_loop_and_every_kind_of_a_list_counts() -> None:
    listed = {"kinds": ["v1/Secret", "v1/ConfigMap"], "namespace": "base"}
    loop = {"list": "request.object", "namespace": "shop", "cloneList": listed}
    rule = {**generating(), "generate": {"foreach": [loop]}}
    problems = (await found(may("get", "create"), rule)).problems
    assert [each.reason.partition("\n")[0].rpartition(" resource ")[2] for each in problems] == [
        "v1/Secret in namespace shop"
    ]


async def test_a_policy_is_no_load_for_the_api_server() -> None:
    """Some questions at once, and a bound on all: each kind, namespace and verb is one."""

    class Slow(Reviews):
        at_once = most = 0

        async def create(self, resource, document):
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0)
            self.at_once -= 1
            return await super().create(resource, document)

    def into(namespaces):
        return [generating(namespace=f"n{number}") for number in range(namespaces)]

    reviews = Slow(("get", "configmaps"), ("create", "configmaps"))
    assert await found(reviews, *into(100)) == privileges.NOTHING
    assert (len(reviews.asked), reviews.most) == (200, 8)
    (problem,) = (await found(reviews, *into(300))).problems
    assert (problem.path, len(reviews.asked)) == ("spec.rules", 200)
    assert problem.reason.startswith("they need 600 rights on kinds and namespaces, more than 500")
