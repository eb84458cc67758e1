"""Kinds that cannot be listed, followed or named: the others are scanned as if these were not there."""

import asyncio
import itertools
import logging

import pytest

from kymograph.clients.kubernetes import discovery, errors
from kymograph.controllers.reports.scans import changes, scanner
from support.reporting import served
from support.scanning import ScannedCluster, World, a_policy, selecting

BROKEN = errors.StatusError(500, "InternalError", "conversion webhook for example.com/v1 failed")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(scanner, "SETTLE", 0.0)
    monkeypatch.setattr(scanner, "RETRY_AFTER", 0.001)
    monkeypatch.setattr(scanner, "PAGES_PER_SECOND", 1e6)
    monkeypatch.setattr(changes, "SETTLE", 0.0)


@pytest.fixture
def cluster():
    """One object of each kind."""
    made = ScannedCluster()
    for plural in ("configmaps", "services", "leases"):
        made.put(plural, "shop", plural[0])
    return made


def states(world):
    return {each["kind"]: each["state"] for each in world.progress.document()["resources"]}


@pytest.mark.parametrize("error", [BROKEN, errors.AnswerInvalid("no JSON"), errors.StatusError(503, "", "away")])
async def test_a_kind_that_cannot_be_listed_is_tried_again_and_keeps_no_other(cluster, error, caplog) -> None:
    """A broken conversion webhook, an aggregated API that is away: said once, and scanned as soon as it can be."""
    cluster.fail("list", "services", *[error] * 3)
    world = World(cluster, a_policy("c"), a_policy("s", kind="Service"), a_policy("l", kind="Lease"))
    with caplog.at_level(logging.WARNING):
        async with world.at_work():
            await world.scanned()
            assert states(world) == {"ConfigMap": "scanned", "Service": "failed", "Lease": "scanned"}
            assert [name for name, _ in world.results()] == ["c", "l"]
            await world.until(lambda: len(world.put) == 3)
            await world.until(lambda: states(world)["Service"] == "scanned")
    assert world.results()[-1] == ("s", {"s": ["fail"]})
    assert cluster.verbs().count(("list", "configmaps")) == 1
    assert caplog.text.count("Objects of kind Service cannot be listed and are scanned later") == 1


async def test_it_is_tried_ever_more_rarely(cluster, monkeypatch) -> None:
    """Each try costs a list of all reports."""
    monkeypatch.setattr(scanner, "RETRY_AFTER", 0.01)
    tries = []

    def broken():
        tries.append(asyncio.get_running_loop().time())
        raise BROKEN

    cluster.fail("list", "services", *[broken] * 100)
    world = World(cluster, a_policy("s", kind="Service"))
    async with world.at_work():
        await world.until(lambda: len(tries) == 5)
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert all(pause >= 0.01 * 2**number for number, pause in enumerate(pauses))


async def test_what_changed_meanwhile_is_not_forgotten(cluster) -> None:
    """A kind that was scanned before, and cannot be listed when a policy is added, is asked about all policies then."""
    world = World(cluster, a_policy("s", kind="Service"))
    async with world.at_work():
        await world.scanned()
        cluster.fail("list", "services", BROKEN, BROKEN)
        world.put.clear()
        world.store.put(a_policy("t", kind="Service"))
        await world.until(lambda: world.put)
    assert world.results() == [("s", {"s": ["fail"], "t": ["fail"]})]


async def test_a_namespace_with_other_labels_waits_for_no_kind(cluster) -> None:
    """The kind that cannot be listed is scanned as a whole later."""
    services = selecting("s")
    services["spec"]["rules"][0]["match"]["any"][0]["resources"]["kinds"] = ["Service"]
    world = World(cluster, services, selecting("c"))
    world.changes.namespace_changed("shop", {})
    async with world.at_work():
        await world.scanned()
        assert world.put == []
        cluster.fail("list", "configmaps", BROKEN)
        world.labels["shop"] = {"checked": "yes"}
        world.changes.namespace_changed("shop", world.labels["shop"])
        await world.until(lambda: len(world.put) == 2)
    assert sorted(name for name, _ in world.results()) == ["c", "s"]


def listing(*items):
    """What metrics-server serves: a list without version, of objects without uid."""

    class Computed(ScannedCluster):
        async def pages(self, resource, **given):
            if resource.group == "metrics.k8s.io":
                yield {"metadata": {}, "items": list(items)}
                return
            async for page in super().pages(resource, **given):
                yield page

    return Computed()


@pytest.mark.parametrize("verbs", [("get", "list"), ("get", "list", "watch")])
@pytest.mark.parametrize("kind", ["PodMetrics", "*"])
async def test_objects_that_are_computed_get_no_report(kind, verbs) -> None:
    """They have no uid that it could be named after."""
    cluster = listing({"metadata": {"name": "web", "namespace": "shop"}, "containers": []})
    cluster.put("configmaps", "shop", "c")
    world = World(cluster, a_policy(kind=kind), a_policy("q"))
    usage = served("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", verbs=verbs)
    world.catalogues.next = discovery.Catalogue((usage, served("", "v1", "configmaps", "ConfigMap")))
    async with world.at_work():
        await world.scanned()
        await world.until(lambda: world.put)
    assert {name for name, _ in world.results()} == {"c"}
