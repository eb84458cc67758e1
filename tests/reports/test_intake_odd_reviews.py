"""A review may be forged, and policies may make anything of an object: the intake goes on."""

import asyncio
import logging

import pytest

from kymograph.controllers.reports import intake, queue
from support import pods
from support.reporting import UNTRACED, compiled, result_of

P = compiled(name="p")
NOW = 5_000_000_000


@pytest.fixture
def dropped():
    return []


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def taken(clock, dropped):
    return intake.Intake(lambda: clock[0], lambda: clock[0], lambda: dropped.append(1))


def mature(taken, clock):
    while taken.digest():
        pass
    clock[0] += intake.GRACE
    return list(taken.mature())


@pytest.mark.parametrize(
    "metadata", [None, {}, "text", ["a"], {"name": 5}, {"name": ["web"]}, {"name": "web", "uid": ["u"]}]
)
async def test_a_changed_object_without_metadata_leaves_nothing(taken, clock, dropped, metadata) -> None:
    """A new object has no uid yet when policies change it, so that nothing else is asked of it."""
    taken.mutated(pods.create()["request"], {"kind": "Pod", "metadata": metadata}, (P,), (result_of(P),), UNTRACED)
    assert mature(taken, clock) == []
    assert not dropped


async def test_what_cannot_be_digested_is_dropped_counted_and_told_once(taken, clock, dropped, caplog) -> None:
    """Without what stands in it; the others are passed on."""
    request = pods.create()["request"]
    odd = {"kind": "Deployment", "metadata": {"name": "web", "annotations": ["deployment.kubernetes.io/revision"]}}
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            taken.mutated(request, odd, (P,), (), UNTRACED)
        taken.decided(request, (P,), (result_of(P),), UNTRACED)
        (found,) = mature(taken, clock)
    assert found.subject.name == request["object"]["metadata"]["name"]
    assert len(dropped) == 2
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == "A review cannot be reported on (AttributeError in digest); this is a defect of Kymograph"


async def test_nothing_of_it_ends_who_passes_reviews_on(taken, monkeypatch) -> None:
    """Else the process would end with it."""
    monkeypatch.setattr(intake, "HELD", 0.001)
    monkeypatch.setattr(intake, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(intake, "GRACE", 0)
    work = queue.WorkQueue()
    passing = asyncio.create_task(taken.pass_on(work))
    odd = {"kind": "Deployment", "metadata": {"name": "web", "annotations": ["deployment.kubernetes.io/revision"]}}
    taken.mutated(pods.create()["request"], odd, (P,), (), UNTRACED)
    taken.decided(pods.create()["request"], (P,), (result_of(P),), UNTRACED)
    async with asyncio.timeout(30):
        await work.take()
    assert not passing.done()
    passing.cancel()
    await asyncio.gather(passing, return_exceptions=True)
