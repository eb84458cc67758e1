"""The work queue: one entry an object, one worker an object, failures later and never over newer findings."""

import asyncio

import pytest

from kymograph.controllers.reports import queue
from support.reporting import POD, found

OTHER = POD._replace(uid="uid-other", name="other")


def uid(work: queue.Work) -> str:
    return work.findings.subject.uid


async def nothing(work: queue.WorkQueue) -> bool:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await work.take()
    return True


@pytest.fixture(autouse=True)
def _no_back_off_ends_by_itself(monkeypatch) -> None:
    """However long the process stands still."""
    monkeypatch.setattr(queue, "BACKOFF_FIRST", 3600.0)
    monkeypatch.setattr(queue, "BACKOFF_MOST", 3600.0)


def later(monkeypatch) -> None:
    """Every back-off is over."""
    now = queue._now
    monkeypatch.setattr(queue, "_now", lambda: now() + 2 * queue.BACKOFF_MOST)


async def test_findings_on_one_object_are_one_piece_of_work() -> None:
    """However often an object is evaluated while it waits; first come, first served."""
    work = queue.WorkQueue()
    for each in (found(p="pass"), found(subject=OTHER, p="pass"), found(p="fail"), found(q="pass")):
        work.put(each)
    first = await work.take()
    assert uid(first) == POD.uid
    assert first.findings.latest == found(p="fail", q="pass").latest
    assert uid(await work.take()) == OTHER.uid
    assert await nothing(work)


async def test_what_somebody_waits_for_comes_first() -> None:
    """Before what a scan has brought by the thousand; also where it comes to what waits already, and then once."""
    work = queue.WorkQueue()
    third, fourth = OTHER._replace(uid="uid-third"), OTHER._replace(uid="uid-fourth")
    for subject in (POD, OTHER, third):
        work.put(found(subject=subject, p="pass"))
    work.put(found(subject=third, p="fail"), awaited=True)
    work.put(found(subject=fourth, p="pass"), awaited=True)
    assert [uid(await work.take()) for _ in range(4)] == [third.uid, fourth.uid, POD.uid, OTHER.uid]
    assert await nothing(work)


async def test_what_somebody_waits_for_does_not_end_a_back_off() -> None:
    work = queue.WorkQueue()
    work.put(found(p="pass"))
    failed = await work.take()
    work.done(failed, again=queue.Work(failed.findings, 1))
    work.put(found(p="fail"), awaited=True)
    assert await nothing(work)


async def test_an_object_has_one_worker_at_a_time() -> None:
    """What comes in meanwhile waits for the end of the work."""
    work = queue.WorkQueue()
    work.put(found(p="pass"))
    first = await work.take()
    work.put(found(p="fail"))
    assert await nothing(work)
    work.done(first)
    second = await work.take()
    assert second.findings.latest == found(p="fail").latest
    work.done(second)
    assert work.idle


async def test_a_failure_comes_back_under_what_is_newer(monkeypatch) -> None:
    """After a back-off, with its count, and its findings are older than those that came meanwhile."""
    work = queue.WorkQueue()
    work.put(found(p="pass", q="pass"))
    failed = await work.take()
    work.put(found(p="fail"))
    work.done(failed, again=queue.Work(failed.findings, 1))
    assert not work.idle
    assert await nothing(work)
    later(monkeypatch)
    again = await work.take()
    assert again.failures == 1
    assert again.findings.latest == found(p="fail", q="pass").latest


async def test_a_failure_waits_alone() -> None:
    """Other objects do not wait for its back-off, and news do not shorten it."""
    work = queue.WorkQueue()
    work.put(found(p="pass"))
    failed = await work.take()
    work.done(failed, again=failed)
    work.put(found(p="fail"))
    work.put(found(subject=OTHER, p="pass"))
    assert uid(await work.take()) == OTHER.uid
    assert await nothing(work)


async def test_whoever_brings_much_waits_for_room(monkeypatch) -> None:
    """Memory has a bound; scans wait, findings on objects that wait already are always taken."""
    monkeypatch.setattr(queue, "MOST_WAITING", 1)
    work = queue.WorkQueue()
    work.put(found(p="pass"))
    work.put(found(p="fail"))
    room = asyncio.create_task(work.room())
    await asyncio.sleep(0)
    assert not room.done()
    await work.take()
    await room


async def test_a_burst_is_spread_evenly() -> None:
    """So many starts a second, without a debt from idle times."""
    loop = asyncio.get_running_loop()
    pace = queue.Pace(200.0)
    await asyncio.sleep(0.05)
    began = loop.time()
    for _ in range(11):
        await pace.turn()
    assert loop.time() - began >= 10 / 200.0


async def test_who_waits_for_findings_hears_of_the_first_try_with_them(monkeypatch) -> None:
    """Not of a try that had begun before; and of what is tried again, not of the last try."""
    work = queue.WorkQueue()
    first = work.put(found(p="pass"))
    assert work.put(found(q="pass")) is first
    taken = await work.take()
    second = work.put(found(p="fail"))
    work.done(taken, again=queue.Work(taken.findings, 1))
    assert first.is_set()
    assert not second.is_set()
    later(monkeypatch)
    work.done(await work.take())
    assert second.is_set()
