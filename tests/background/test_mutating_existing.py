"""What mutate rules with targets make of objects that exist, and where they stop."""

import pathlib

import pytest

from kymograph.clients.kubernetes import errors
from kymograph.controllers import updaterequests
from support import background, trees
from support.background import config_map, until

TRIGGERS = {"any": [{"resources": {"kinds": ["ConfigMap"], "names": ["trigger*"]}}]}


def changing(patch=None, match=TRIGGERS, **target):
    """A rule that changes Secrets."""
    described = {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", **target}
    return {
        "match": match,
        "mutate": {
            "targets": [described],
            "patchStrategicMerge": patch or {"data": {"by": "{{ request.object.metadata.name }}"}},
        },
    }


def secret(name, where="shop", **data):
    return {**config_map(name, where, **data), "kind": "Secret"}


@pytest.fixture
async def work():
    async with background.work() as made:
        yield made


async def asked(work, name="trigger", **more):
    trigger = await work.cluster.put("configmaps", config_map(name))
    return await work.ask(trigger, type_=updaterequests.MUTATE, **more)


async def test_targets_are_found_by_name_and_selector(work) -> None:
    """With wildcards; others stay as they are."""
    work.enforce(changing(name="t-*", selector={"matchLabels": {"app": "web"}}))
    for name, app in (("t-1", "web"), ("t-2", "db"), ("other", "web")):
        made = secret(name)
        made["metadata"]["labels"] = {"app": app}
        await work.cluster.put("secrets", made)
    async with work.leading():
        status = await work.ended(await asked(work))
    assert status["state"] == "Completed"
    assert [each["name"] for each in status["generatedResources"]] == ["t-1"]
    assert work.content("t-1", "shop", "secrets") == {"by": "trigger"}
    assert work.content("t-2", "shop", "secrets") == {}
    assert work.content("other", "shop", "secrets") == {}


async def test_preconditions_of_a_target_are_heeded(work) -> None:
    met = {"all": [{"key": "{{ target.data.wants || 'no' }}", "operator": "Equals", "value": "yes"}]}
    work.enforce(changing(name="*", preconditions=met))
    await work.cluster.put("secrets", secret("one", wants="yes"))
    await work.cluster.put("secrets", secret("two"))
    async with work.leading():
        await work.ended(await asked(work))
    assert work.content("one", "shop", "secrets") == {"wants": "yes", "by": "trigger"}
    assert work.content("two", "shop", "secrets") == {}


async def test_what_does_not_change_is_not_written(work) -> None:
    work.enforce(changing(name="one"))
    await work.cluster.put("secrets", secret("one", by="trigger"))
    async with work.leading():
        assert (await work.ended(await asked(work)))["generatedResources"] == []
    assert work.cluster.verbs("secrets") == []


@pytest.mark.parametrize("forbidden", [False, True])
async def test_a_target_that_changes_meanwhile_is_read_again(work, forbidden) -> None:
    """Patched, or replaced where patching is not granted: never on top of what nobody looked at."""
    if forbidden:
        work.cluster.forbidden.add(("patch", "secrets"))
    work.enforce(changing(name="one"))
    await work.cluster.put("secrets", secret("one"))
    verb = "update" if forbidden else "patch"
    original, times = getattr(work.cluster, verb), []

    async def overtaken(resource, *given, **more):
        if resource.plural == "secrets" and not times and not (forbidden and verb == "patch"):
            times.append(1)
            await work.cluster.put("secrets", secret("one", theirs="yes"))
        return await original(resource, *given, **more)

    setattr(work.cluster, verb, overtaken)
    async with work.leading():
        assert (await work.ended(await asked(work)))["state"] == "Completed"
    assert work.content("one", "shop", "secrets") == {"theirs": "yes", "by": "trigger"}


async def test_what_is_not_granted_is_told_and_tried_again(work) -> None:
    """The others of the rule are changed."""
    work.cluster.forbidden |= {("patch", "secrets"), ("update", "secrets")}
    work.enforce(changing(name="one"))
    await work.cluster.put("secrets", secret("one"))
    async with work.leading():
        name = await asked(work)
        await until(lambda: work.status(name).get("retryCount"))
        assert "cannot update resource" in work.status(name)["message"]
        work.cluster.forbidden.clear()
        assert (await work.ended(name))["state"] == "Completed"
    assert work.content("one", "shop", "secrets") == {"by": "trigger"}


async def test_the_policy_may_ask_for_it_when_it_is_written(work) -> None:
    rule = changing(name="one")
    rule["mutate"]["mutateExistingOnPolicyUpdate"] = True
    await work.cluster.put("configmaps", config_map("trigger-1"))
    await work.cluster.put("configmaps", config_map("no"))
    await work.cluster.put("secrets", secret("one"))
    work.enforce(rule)
    async with work.leading():
        await until(lambda: work.content("one", "shop", "secrets") == {"by": "trigger-1"})


async def test_an_api_server_that_does_not_answer_costs_no_retry(work) -> None:
    work.enforce(changing(name="one"))
    await work.cluster.put("secrets", secret("one"))
    async with work.leading():
        work.cluster.broken = [errors.Unreachable("gone for a moment")] * 3
        name = await asked(work)
        status = await work.ended(name)
    assert (status["state"], status["retryCount"]) == ("Completed", 0)


async def test_rules_that_set_each_other_off_are_stopped(work) -> None:
    """Each request of our own about what we wrote is one link more; after ten nothing happens."""
    loop = {"any": [{"resources": {"kinds": ["Secret"]}}]}
    work.enforce(
        {**changing({"data": {"x": "{{ target.data.x }}x"}}, match=loop, name="one"), "skipBackgroundRequests": False}
    )
    trigger = await work.cluster.put("secrets", secret("one", x="x"))
    states = []
    async with work.leading():
        for _ in range(13):
            name = await work.ask(trigger, type_=updaterequests.MUTATE, user=background.ACCOUNT)
            status = await work.ended(name)
            states.append(status["state"])
    assert states == ["Completed"] * 10 + ["Skip"] * 3
    assert "have set each other off" in status["message"]
    assert work.content("one", "shop", "secrets") == {"x": "x" * 11}


async def test_the_tree_of_an_update_request(work) -> None:
    """See `mutate-existing.tree`."""
    work.enforce(changing(name="t-1"))
    await work.cluster.put("secrets", secret("t-1"))
    async with work.leading():
        await work.ended(await asked(work))
    spans = trees.below(work.kept.finished(), "BACKGROUND mutate")
    trees.compare(pathlib.Path(__file__).with_name("mutate-existing.tree"), spans, {"kymograph.object.uid"})
