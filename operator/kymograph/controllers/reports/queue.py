"""The reports that are to be looked at: one entry an object, however often it was evaluated meanwhile.

As in Kubernetes' own controllers: an object is worked on by one worker at a time, what comes in for it meanwhile waits
for the end, and failures come back later, without overtaking anything newer. What somebody waits for goes ahead of what
nobody does: the work of an UpdateRequest ends with its report, a scan of thousands of objects can wait.
"""

import asyncio
import dataclasses
import heapq
import random
from collections.abc import Callable

from kymograph.controllers import backoff
from kymograph.controllers.reports.findings import Findings

MOST_WAITING = 8_192
"""Objects that may wait: a burst of 5,000 and as much again; some 8 kB each with 17 results."""

BACKOFF_FIRST = 1.0
BACKOFF_MOST = 60.0
"""Seconds until a failed object is tried again, doubled each time, with jitter."""

AHEAD = 3600.0
"""Seconds that what somebody waits for counts as older than it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """One object to be worked on.

    Attributes:
        findings: What was found.
        failures: How often it failed for a reason of its own.
        awaited: Somebody waits for it.
        tried: Is set once a worker is through with these findings, or has failed with them for the first time.
    """

    findings: Findings
    failures: int = 0
    awaited: bool = False
    tried: asyncio.Event = dataclasses.field(default_factory=asyncio.Event, compare=False)


class WorkQueue:
    """Objects that wait for a worker, first come, first served; those that somebody waits for before all others.

    Args:
        waited: Is told, of each object that is taken, for how many seconds it could have been.
    """

    def __init__(self, waited: Callable[[float], None] = lambda _: None) -> None:
        self._waited = waited
        self._waiting: dict[str, Work] = {}
        self._worked_on: set[str] = set()
        self._due: list[tuple[float, int, str]] = []  # the place in the order, entry, object
        self._entries: dict[str, tuple[int, float]] = {}  # the one entry of an object that counts, and when it is due
        self._sequence = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def depth(self) -> int:
        """How many objects wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether as many objects wait as may."""
        return len(self._waiting) >= MOST_WAITING

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nobody works."""
        return not self._waiting and not self._worked_on

    def put(self, findings: Findings, *, awaited: bool = False) -> asyncio.Event:
        """Add findings to those of the same object; returns `Work.tried`.

        Args:
            findings: What was found.
            awaited: Somebody waits for them to be written.
        """
        key = findings.subject.key
        before = self._waiting.get(key)
        if before is not None:
            work = dataclasses.replace(
                before, findings=before.findings.then(findings), awaited=awaited or before.awaited
            )
        else:
            work = Work(findings, awaited=awaited)
        self._waiting[key] = work
        if key in self._worked_on:
            return work.tried
        if before is None or (awaited and not before.awaited and self._entries[key][1] <= _now()):
            self._schedule(key, 0.0)
        return work.tried

    def put_back(self, findings: Findings) -> None:
        """Add findings that are older than those of the same object that wait."""
        waiting = self._waiting.get(findings.subject.key)
        if waiting is None:
            self.put(findings)
        else:
            older = dataclasses.replace(waiting, findings=findings.then(waiting.findings))
            self._waiting[findings.subject.key] = older

    async def room(self, most: int | None = None) -> None:
        """Wait until the queue is not full, or fewer objects than so many wait."""
        while len(self._waiting) >= (MOST_WAITING if most is None else most):
            self._room.clear()
            await self._room.wait()

    async def take(self) -> Work:
        """The next object; whoever takes it says `done` in the end."""
        while True:
            now = _now()
            if self._due and self._due[0][0] <= now:
                _, sequence, key = heapq.heappop(self._due)
                entry, due = self._entries.get(key, (0, 0.0))
                if entry != sequence:
                    continue
                del self._entries[key]
                self._waited(now - due)
                work = self._waiting.pop(key)
                self._worked_on.add(key)
                self._room.set()
                return work
            self._news.clear()
            try:
                async with asyncio.timeout_at(self._due[0][0] if self._due else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    def done(self, work: Work, *, again: Work | None = None) -> None:
        """The work is finished, or failed and is to be tried again after a while, with what has come in since."""
        key = work.findings.subject.key
        self._worked_on.discard(key)
        work.tried.set()
        newer = self._waiting.get(key)
        if again is not None:
            if newer is not None:
                findings = again.findings.then(newer.findings)
                again = dataclasses.replace(newer, findings=findings, failures=again.failures)
            self._waiting[key] = again
            pause = backoff.pause(again.failures + 1, BACKOFF_FIRST, BACKOFF_MOST)
            self._schedule(key, pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret
        elif newer is not None:
            self._schedule(key, 0.0)

    def _schedule(self, key: str, delay: float) -> None:
        self._sequence += 1
        due = _now() + delay
        self._entries[key] = self._sequence, due
        ahead = AHEAD if self._waiting[key].awaited and not delay else 0.0
        heapq.heappush(self._due, (due - ahead, self._sequence, key))
        self._news.set()


class Pace:
    """Spreads the starts of work evenly, at most so many a second."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._next = 0.0

    async def turn(self, size: int = 1) -> None:
        """Wait for the next start, of work that counts for so many."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + self._interval * size
        if at > now:
            await asyncio.sleep(at - now)


def _now() -> float:
    return asyncio.get_running_loop().time()
