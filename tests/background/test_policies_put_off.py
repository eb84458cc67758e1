"""A policy about which nothing can be done keeps no other from being followed, and is followed once it can be."""

import asyncio
import itertools
import logging

import pytest

from kymograph.clients.kubernetes import errors
from kymograph.controllers.background import policywork
from support import background
from support.background import config_map, namespace, until
from support.writtenpolicies import generating

BROKEN = errors.StatusError(500, "InternalError", "conversion webhook failed")


@pytest.fixture
async def work(monkeypatch):
    monkeypatch.setattr(policywork, "RETRY_AFTER", 0.01)
    async with background.work() as made:
        yield made


class Broken:
    """Kinds that cannot be listed, as a whole or those that are `selected` by label, and when that was tried."""

    def __init__(self, cluster):
        self.kinds = {"secrets"}
        self.tries = []
        self.selected = False
        self._pages = cluster.pages

    def pages(self, resource, **given):
        fails = resource.plural in self.kinds and bool(given.get("label_selector")) is self.selected
        return self._fail() if fails else self._pages(resource, **given)

    async def _fail(self):
        self.tries.append(asyncio.get_running_loop().time())
        raise BROKEN
        yield


@pytest.fixture
def broken(work, monkeypatch):
    """Secrets cannot be listed."""
    made = Broken(work.cluster)
    monkeypatch.setattr(work.cluster, "pages", made.pages)
    return made


def of_secrets():
    """A rule whose existing triggers are Secrets."""
    return {**generating(generateExisting=True), "match": {"any": [{"resources": {"kinds": ["Secret"]}}]}}


def about(work):
    """The policies that there are UpdateRequests for."""
    return {each["spec"]["policy"] for key, each in work.cluster.stored.items() if key[0] == "updaterequests"}


async def test_others_are_followed_meanwhile_and_it_is_once_it_can_be(work, broken, caplog) -> None:
    """Said once; tried again ever more rarely."""
    await work.cluster.put("namespaces", namespace("shop"))
    await work.cluster.put("secrets", {**config_map("s"), "kind": "Secret"})
    work.enforce(of_secrets(), name="a")
    work.enforce(generating(generateExisting=True), name="b")
    with caplog.at_level(logging.WARNING):
        async with work.leading():
            await until(lambda: work.content("c", "shop"))
            await until(lambda: len(broken.tries) >= 4)
            assert about(work) == {"b"}
            broken.kinds.clear()
            await until(lambda: about(work) == {"a", "b"})
    pauses = [after - before for before, after in itertools.pairwise(broken.tries)]
    assert all(pause >= 0.01 * 2**number for number, pause in enumerate(pauses))
    assert caplog.text.count("What follows from policy a is done later") == 1


async def test_one_that_is_deleted_is_not_tried_again(work, broken, monkeypatch) -> None:
    monkeypatch.setattr(policywork, "REFUSED_AFTER", 0.01)
    await work.cluster.put("namespaces", namespace("shop"))
    work.enforce(of_secrets(), name="a")
    async with work.leading():
        await until(lambda: len(broken.tries) >= 2)
        work.forget("a")
        tried = len(broken.tries)
        work.enforce(generating(generateExisting=True), name="b")
        await until(lambda: work.content("c", "shop"))
    assert len(broken.tries) == tried


async def test_what_moved_is_let_go_of_before_anything_follows_from_it(work, broken, monkeypatch) -> None:
    """While what was generated cannot be listed it stays its own, and is not deleted as something not wanted."""
    monkeypatch.setattr(policywork, "REFUSED_AFTER", 0.01)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    work.enforce(generating(synchronize=True))
    work.enforce(generating(generateExisting=True, name="begun"), name="b")
    async with work.leading():
        await work.ended(await work.ask(trigger))
        await until(lambda: work.content("begun", "shop"))
        monkeypatch.setattr(broken, "kinds", {"configmaps"})
        monkeypatch.setattr(broken, "selected", True)
        work.enforce(generating(synchronize=True, name="elsewhere"), generation=2)
        await until(lambda: len(broken.tries) >= 3)
        assert work.content("elsewhere", "shop") is None
        broken.kinds.clear()
        await until(lambda: work.content("elsewhere", "shop"))
    assert work.content("c", "shop") == {"a": "b"}


async def test_objects_that_are_computed_are_no_triggers(work) -> None:
    """They have no uid, as PodMetrics: nothing that is made for them could be told from what is made for others."""
    for name in ("computed", "shop"):
        await work.cluster.put("namespaces", namespace(name))
    del work.cluster.stored["namespaces", "", "computed"]["metadata"]["uid"]
    work.enforce(generating(generateExisting=True))
    async with work.leading():
        await until(lambda: work.content("c", "shop"))
    assert work.content("c", "computed") is None
