"""Rules of two policies that set each other off: found, stopped and told of."""

import asyncio

import pytest

from fakes import objects
from kymograph.controllers import updaterequests
from kymograph.controllers.background import loops
from support import background
from support.background import config_map, until


@pytest.fixture
async def work():
    async with background.work() as made:
        yield made


def making(kind: str, because_of: str) -> dict:
    """A rule that makes an object of a kind, with a new name, because of one of another."""
    return {
        "match": {"any": [{"resources": {"kinds": [because_of]}}]},
        "skipBackgroundRequests": False,
        "generate": {
            "apiVersion": "v1",
            "kind": kind,
            "name": "{{ request.object.metadata.name }}x",
            "namespace": "shop",
            "data": {"data": {"a": "b"}},
        },
    }


def of(kind: str, name: str, **data: str) -> tuple[str, dict]:
    return f"{kind.lower()}s", {**config_map(name, **data), "kind": kind}


async def test_two_policies_that_make_what_the_other_is_about_are_stopped(work) -> None:
    """The UpdateRequest, an Event, a metric and the report say so."""
    work.enforce(making("Secret", "ConfigMap"), name="one")
    work.enforce(making("ConfigMap", "Secret"), name="two")
    trigger, user, links = await work.cluster.put(*of("ConfigMap", "x")), "jane", 0
    async with work.leading():
        while links < 20:
            policy = "one" if trigger["kind"] == "ConfigMap" else "two"
            status = await work.ended(await work.ask(trigger, user=user, policy=policy))
            if status["state"] != "Completed":
                break
            (made,) = status["generatedResources"]
            trigger = work.cluster.stored[f"{made['kind'].lower()}s", "shop", made["name"]]
            user, links = background.ACCOUNT, links + 1
    assert (links, status["state"]) == (loops.MOST_LINKS + 1, "Skip")
    assert "have set each other off" in status["message"]
    (event,) = [each for each in work.events if each.reason == "PolicyError"]
    assert (event.regarding.name, event.related.name) == (policy, trigger["metadata"]["name"])
    assert "have set each other off" in event.text
    assert work.kept.scrape()['update_requests_stopped_total{type="generate"}'] == 1
    told = work.reported[-1][2]
    assert [(each.status, "set each other off" in each.message) for each in told] == [("error", True)]


class Late(objects.Objects):
    """An API server that does what is applied to Secrets and ConfigMaps at once, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def apply(self, resource, document, *, namespace="", **more):
        stored = await super().apply(resource, document, namespace=namespace, **more)
        await self.answers.wait()
        return stored


async def test_a_link_counts_before_its_write_is_answered(work) -> None:
    """What a write sets off is worked on meanwhile: a chain is no shorter on an API server that answers late."""
    work.cluster = Late()
    work.background = work.process(work.cluster)
    work.enforce(making("ConfigMap", "ConfigMap"))
    trigger, user, asked = await work.cluster.put(*of("ConfigMap", "x")), "jane", []
    async with work.leading():
        for _ in range(loops.MOST_LINKS + 1):
            asked.append(await work.ask(trigger, user=user))
            made = ("configmaps", "shop", f"{trigger['metadata']['name']}x")
            trigger, user = await until(lambda made=made: work.cluster.stored.get(made)), background.ACCOUNT
        assert (await work.ended(await work.ask(trigger, user=user)))["state"] == "Skip"
        assert [work.status(each).get("state") for each in asked] == ["Pending"] * len(asked)
        work.cluster.answers.set()
        for each in asked:
            assert (await work.ended(each))["state"] == "Completed"


async def test_what_is_put_back_goes_on_with_the_chain(work) -> None:
    """One policy keeps an object as it is, another changes it each time: the second is stopped."""
    work.enforce({**making("Secret", "ConfigMap"), "generate": {
        **making("Secret", "ConfigMap")["generate"], "name": "kept", "synchronize": True,
    }}, name="keeps")  # fmt: skip
    work.enforce({
        "match": {"any": [{"resources": {"kinds": ["Secret"]}}]},
        "skipBackgroundRequests": False,
        "mutate": {
            "targets": [{"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "kept"}],
            "patchStrategicMerge": {"data": {"a": "z"}},
        },
    }, name="changes")  # fmt: skip
    trigger = await work.cluster.put(*of("ConfigMap", "x"))
    states = []
    async with work.leading():
        await work.ended(await work.ask(trigger, policy="keeps"))
        while len(states) < 20 and "Skip" not in states:
            kept = work.cluster.stored["secrets", "shop", "kept"]
            name = await work.ask(kept, type_=updaterequests.MUTATE, user=background.ACCOUNT, policy="changes")
            states.append((await work.ended(name))["state"])
            part = updaterequests.Part("r", updaterequests.trigger_of(_about(trigger)), deletes=False)
            healed = updaterequests.document(f"healed-{len(states)}", updaterequests.GENERATE, "keeps", part)
            healed["metadata"]["namespace"] = background.SPACE
            await work.cluster.put("updaterequests", healed)
            await work.ended(f"healed-{len(states)}")
    assert states == ["Completed"] * loops.MOST_LINKS + ["Skip"]


def _about(document: dict) -> dict:
    return {"kind": {"group": "", "version": "v1", "kind": document["kind"]}, "namespace": "shop", "object": document}


async def test_a_user_begins_a_chain_anew(work) -> None:
    work.enforce(making("Secret", "ConfigMap"))
    trigger = await work.cluster.put(*of("ConfigMap", "x"))
    async with work.leading():
        for _ in range(loops.MOST_LINKS + 2):
            assert (await work.ended(await work.ask(trigger)))["state"] == "Completed"
    await until(lambda: not [each for each in work.events if each.reason == "PolicyError"])
