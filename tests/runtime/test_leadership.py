"""The election of a leader: one at a time, at once where it can be, late where it must be."""

import asyncio
import dataclasses
import pathlib

import pytest

from fakes import traced
from kymograph.clients.kubernetes import errors
from kymograph.runtime import leadership
from kymograph.runtime.leadership import LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD, Record
from support import trees


class Lock:
    """One Lease in memory, as an API server keeps it."""

    def __init__(self) -> None:
        self.stored: Record | None = None
        self.version = 0
        self.answers = True
        self.hangs = False

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if not self.answers:
            raise errors.Unreachable("refused")

    async def read(self) -> Record | None:
        await self._answer()
        return self.stored

    async def write(self, record: Record) -> Record:
        await self._answer()
        if record.version != (self.stored.version if self.stored else ""):
            raise leadership.Conflict("changed")
        self.version += 1
        self.stored = dataclasses.replace(record, version=str(self.version))
        return self.stored


class Clock:
    """Monotonic seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lock():
    return Lock()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def candidate(lock, clock):
    """Makes candidates for the one Lease, on one clock unless given another."""
    return lambda name, its_clock=clock: leadership.Leader(lock, name, its_clock, lambda: 0.5)


async def test_the_first_leads_and_the_second_follows(lock, candidate):
    first, second = candidate("a"), candidate("b")
    assert await first.step() == RETRY_PERIOD
    assert await second.step() == pytest.approx(RETRY_PERIOD * 1.6)
    assert (first.leading, second.leading) == (True, False)
    assert (first.followed, second.followed) == (False, True)
    assert (lock.stored.holder, lock.stored.transitions) == ("a", 0)


async def test_of_two_that_ask_at_the_same_moment_one_leads(candidate):
    candidates = [candidate(name) for name in "abc"]
    await asyncio.gather(*(each.step() for each in candidates))
    assert [each.leading for each in candidates].count(True) == 1


async def test_a_leader_that_renews_stays(candidate, clock):
    first, second = candidate("a"), candidate("b")
    for _ in range(30):
        await first.step()
        await second.step()
        assert (first.leading, second.leading) == (True, False)
        clock.now += RETRY_PERIOD


async def test_a_leader_that_died_is_replaced_when_its_record_has_not_changed_for_its_duration(lock, candidate, clock):
    first, second = candidate("a"), candidate("b")
    await first.step()
    await second.step()
    clock.now += LEASE_DURATION - 0.1
    await second.step()
    assert not second.leading
    clock.now += 0.1
    await second.step()
    assert second.leading
    assert (lock.stored.holder, lock.stored.transitions) == ("b", 1)


async def test_the_times_in_a_record_are_not_believed(lock, candidate, clock):
    """A leader whose clock is wrong by a year is followed like any other: what counts is that its record changes."""
    lock.stored = Record("a", 15, "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", 3, "1")
    lock.version = 1
    second = candidate("b")
    await second.step()
    clock.now += LEASE_DURATION - 1
    await second.step()
    assert not second.leading
    lock.stored = dataclasses.replace(lock.stored, version="2")  # the renewal of a clock that stands still
    lock.version = 2
    await second.step()
    clock.now += LEASE_DURATION - 1
    await second.step()
    assert not second.leading


async def test_the_leader_stops_before_another_may_begin(lock, candidate, clock):
    """Cut off from the API server it leads on until the renewal deadline, which is before anybody takes the Lease."""
    first, second = candidate("a"), candidate("b")
    await first.step()
    await second.step()
    lock.answers = False
    clock.now += RENEW_DEADLINE - 0.5
    assert await first.step() == pytest.approx(0.5)
    assert first.leading
    clock.now += 0.5
    await first.step()
    assert not first.leading
    lock.answers = True
    await second.step()
    assert not second.leading
    clock.now += LEASE_DURATION - RENEW_DEADLINE
    await second.step()
    assert second.leading
    await first.step()
    assert not first.leading


async def test_a_call_that_hangs_does_not_outlast_the_renewal_deadline(lock, candidate, clock):
    first = candidate("a")
    await first.step()
    lock.hangs = True
    clock.now += RENEW_DEADLINE - 0.01
    step = asyncio.create_task(first.step())
    await asyncio.sleep(0)
    clock.now += 0.01
    await asyncio.wait_for(step, 30)
    assert not first.leading


async def test_a_suspended_leader_knows_at_once_that_it_no_longer_leads(candidate, clock):
    first, second = candidate("a"), candidate("b")
    await first.step()
    await second.step()
    clock.now += LEASE_DURATION
    assert not first.leading
    await second.step()
    assert second.leading
    await first.step()
    await first.step()
    assert not first.leading
    assert first.followed


async def test_a_lease_given_back_is_taken_at_once(lock, candidate, clock):
    first, second = candidate("a"), candidate("b")
    await first.step()
    await second.step()
    await first.resign()
    assert not first.leading
    assert lock.stored.holder == ""
    await second.step()
    assert second.leading
    await first.step()
    assert not first.leading, "who resigned does not stand again"
    await first.resign()
    assert lock.stored.holder == "b"


async def test_who_cannot_give_the_lease_back_in_time_leaves_without(lock, candidate, monkeypatch):
    """The next one waits until it ends."""
    monkeypatch.setattr(leadership, "RELEASE_WITHIN", 0.01)
    first = candidate("a")
    await first.step()
    lock.hangs = True
    await asyncio.wait_for(first.resign(), 30)
    assert not first.leading
    assert lock.stored.holder == "a"


async def test_a_restarted_container_goes_on_leading(candidate):
    """The same identity: the process before it is dead, so there is nobody to wait for."""
    await candidate("a").step()
    again = candidate("a")
    await again.step()
    assert again.leading


async def test_a_deleted_lease_is_made_again_by_its_holder(lock, candidate):
    first = candidate("a")
    await first.step()
    lock.stored = None
    await first.step()
    assert first.leading
    assert lock.stored.holder == "a"


async def test_somebody_who_touches_the_lease_does_not_depose_the_leader(lock, candidate):
    first = candidate("a")
    await first.step()
    lock.stored = dataclasses.replace(lock.stored, version="77")  # an annotation, perhaps
    await first.step()
    assert first.leading


async def test_work_begins_with_leadership_and_is_cancelled_with_its_loss(candidate, clock):
    first, second = candidate("a"), candidate("b")
    history: list[str] = []

    async def work() -> None:
        history.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            history.append("ended")

    leading = asyncio.create_task(first.lead(work))
    await asyncio.sleep(0)
    assert history == []
    await first.step()
    await _settle()
    assert history == ["begun"]
    clock.now += LEASE_DURATION  # suspended
    await second.step()
    await second.step()
    clock.now += LEASE_DURATION
    await second.step()
    await first.step()
    await _settle()
    assert history == ["begun", "ended"]
    await second.resign()
    await first.step()
    await _settle()
    assert history == ["begun", "ended", "begun"]
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert history == ["begun", "ended", "begun", "ended"]


async def test_work_does_not_begin_where_leadership_was_lost_in_the_turn_in_which_it_was_gained(
    lock, candidate, monkeypatch
) -> None:
    """Who waits for the gain is woken by it, and not stopped by the loss."""
    leader, began = candidate("a"), []

    async def work() -> None:
        began.append(leader.leading)
        await asyncio.Event().wait()

    leading = asyncio.create_task(leader.lead(work))
    await asyncio.sleep(0)
    written = lock.write
    resigning = []

    async def write(record: Record) -> Record:
        stored = await written(record)
        if not resigning:
            resigning.append(asyncio.create_task(leader.resign()))
        return stored

    monkeypatch.setattr(lock, "write", write)
    await leader.step()
    await asyncio.gather(*resigning)
    assert (lock.stored.holder, leader.leading) == ("", False)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert began == []


async def test_work_has_ended_before_the_lease_is_given_back(lock, candidate, monkeypatch):
    monkeypatch.setattr(leadership, "RELEASE_WITHIN", 60.0)  # this process may stand still while the work ends
    first = candidate("a")
    held: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            held.append(lock.stored.holder)

    leading = asyncio.create_task(first.lead(work))
    await first.step()
    await _settle()
    await first.resign()
    assert held == ["a"]
    assert lock.stored.holder == ""
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)


@pytest.mark.parametrize("failure", [None, OSError("broken")])
async def test_work_that_ends_by_itself_is_a_failure_of_the_process(candidate, failure):
    async def work() -> None:
        if failure is not None:
            raise failure

    first = candidate("a")
    await first.step()
    with pytest.raises(type(failure) if failure else RuntimeError, match="broken" if failure else "ended"):
        await asyncio.wait_for(first.lead(work), 30)


async def test_a_follower_tries_when_the_lease_ends_at_the_latest(lock, candidate, clock):
    """What it saw in between counts: a renewal that the watch showed moves the end."""
    first, second = candidate("a"), candidate("b")
    await first.step()
    await second.step()
    clock.now += LEASE_DURATION - 1
    assert await second.step() == pytest.approx(1 + leadership.TOGETHER / 2)
    await first.resign()
    again = candidate("a")
    await again.step()
    second.noticed(lock.stored)
    clock.now += 1
    assert await second.step() == pytest.approx(RETRY_PERIOD * 1.6)
    assert not second.leading


async def test_a_leader_that_sees_another_in_the_lease_looks_at_once(lock, candidate):
    first = candidate("a")
    running = asyncio.create_task(first.run())
    await _settle()
    assert first.leading
    first.noticed(lock.stored)  # its own renewal: nothing to do
    lock.stored = Record("b", 15, version="99")
    first.noticed(lock.stored)
    await _settle()
    assert not first.leading
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_notice_ends_the_wait(lock, candidate):
    """A follower that sees the Lease become free does not wait for its turn."""
    first, second = candidate("a"), candidate("b")
    await first.step()
    running = asyncio.create_task(second.run())
    await _settle()
    await first.resign()
    second.noticed(lock.stored)
    await _settle()
    assert second.leading
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_tree_of_an_election(lock, clock):
    """See `election.tree`: a gain and a loss; renewals and those who follow are no news."""
    async with traced.kept() as kept:
        first = leadership.Leader(lock, "a", clock, lambda: 0.5, kept.telemetry.tracer)
        second = leadership.Leader(lock, "b", clock, lambda: 0.5, kept.telemetry.tracer)
        for _ in range(3):
            await first.step()
            await second.step()
            clock.now += RETRY_PERIOD
        lock.answers = False
        clock.now += RENEW_DEADLINE
        await first.step()
        trees.compare(pathlib.Path(__file__).with_name("election.tree"), kept.finished())
