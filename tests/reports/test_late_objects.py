"""Objects that another webhook holds up: what was found in new ones gets into a report all the same."""

import asyncio

import pytest

from kymograph.controllers.reports import findings, late, queue
from kymograph.controllers.reports.writer import Outcome
from support.reporting import POD, found

GHOST = POD._replace(name="ghost", uid="uid-ghost")


@pytest.fixture
async def _soon(monkeypatch):
    monkeypatch.setattr(late, "AFTER", 0.01)
    monkeypatch.setattr(late, "LOOK_EVERY", 0.001)


@pytest.mark.usefixtures("_soon")
async def test_a_new_object_that_comes_late_gets_its_report(cluster, controller) -> None:
    """Of policies with `background: false`, too, that no scan would ask."""

    def seen(controller):
        if controller.outcomes == [Outcome.OBJECT_GONE]:
            cluster.put("pods", "shop", "ghost", uid="uid-ghost")
        return len(controller.outcomes) == 2 and controller.work.idle

    await controller.settle(found(subject=GHOST, p="fail", fresh=True), until=seen)
    assert controller.outcomes == [Outcome.OBJECT_GONE, Outcome.WRITTEN]
    assert cluster.report(GHOST)["summary"]["fail"] == 1


@pytest.mark.usefixtures("_soon")
async def test_it_is_looked_for_once_more_and_not_for_ever(cluster, controller) -> None:
    """Most likely it was refused, or never asked for."""
    other = found(subject=GHOST._replace(name="other", uid="uid-other"), p="fail", fresh=True)
    await controller.settle(found(subject=GHOST, p="fail", fresh=True), until=lambda it: len(it.outcomes) == 2)
    await controller.settle(other, until=lambda it: len(it.outcomes) == 4)
    assert set(controller.outcomes) == {Outcome.OBJECT_GONE}
    assert cluster.verbs() == [("get", "pods")] * 4


@pytest.mark.parametrize(
    "given",
    [found(subject=GHOST, p="fail", replaces="7"), findings.Findings(GHOST, "pods", late=True)],
    ids=["a change", "the second look"],
)
async def test_what_is_not_looked_for_again(given) -> None:
    """The same change may have been made by somebody else since."""
    held = late.LateObjects(queue.WorkQueue())
    held.take(given)
    assert not held._waiting


async def test_few_are_remembered(monkeypatch) -> None:
    """Whoever forges reviews takes no more memory, and no room of others."""
    monkeypatch.setattr(late, "MOST", 3)
    work = queue.WorkQueue()
    held = late.LateObjects(work)
    for number in range(10):
        held.take(found(subject=GHOST._replace(uid=f"uid-{number}"), p="fail", fresh=True))
    assert len(held._waiting) == 3
    assert work.idle


async def test_what_was_found_since_counts_more() -> None:
    """What comes back is older than what waits, and is merged so."""
    work = queue.WorkQueue()
    work.put(found(p="pass", replaces="7"))
    work.put_back(found(p="fail", q="fail", fresh=True))
    taken = await work.take()
    statuses = {key: each.result.rules[0].status for key, each in taken.findings.of("8").items()}
    assert statuses == {"p": "pass", "q": "fail"}
    assert not taken.findings.late
    work.done(taken)
    work.put_back(found(p="fail", fresh=True))
    async with asyncio.timeout(30):
        assert (await work.take()).findings.fresh
