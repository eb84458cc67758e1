"""Which replica does what only one may do: a leader, elected by a Lease.

Every replica answers reviews and compiles policies. Webhook configurations, statuses and clean-up are the leader's
work: it is begun when leadership is gained and cancelled the moment it is lost. Nothing is handed over, since all that
work starts from what the cluster says.

The rules are those of client-go's `tools/leaderelection`: a record counts for as long as it was *seen* to change within
its duration, measured by the reader's own monotonic clock; no clock is compared with another. It guarantees less than
a lock does: a leader that was suspended may send one more write when it wakes. So what leaders write must be correct
whoever writes last, and is.

The official client library has an election too (`kubernetes.aio.leaderelection`, 37.0.2). It is not used because it
measures with the wall clock, has no limit on a call that hangs past the renewal deadline, ends at a refused connection,
does not give the Lease back on a stop, and costs a second of start-up and 20 MiB to import.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from opentelemetry import context, trace

from kymograph.clients.kubernetes import errors
from kymograph.telemetry import semconv

logger = logging.getLogger(__name__)

_NOBODY = trace.NoOpTracer()

LEASE_DURATION = 15.0
RENEW_DEADLINE = 10.0
RETRY_PERIOD = 2.0
JITTER = 1.2
"""client-go's: seconds without a change after which others take the Lease; seconds without a renewal after which the
leader stops; seconds between two tries; and the part of that by which tries of followers are spread."""

TOGETHER = 0.2
"""Seconds over which the tries of followers are spread when the Lease ends."""

RELEASE_WITHIN = 5.0
"""Seconds that giving the Lease back may take on a stop: as long as readiness fails before that, by default. An API
server that is slow for a moment would otherwise leave the cluster without a leader until the Lease ends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says.

    Attributes:
        holder: Who leads; empty for nobody.
        seconds: How long the record counts without a change.
        acquired: Since when the holder leads, by its clock.
        renewed: When the holder last said so, by its clock.
        transitions: How often the holder has changed.
        version: The Lease's resourceVersion; empty for one that is not stored yet.
    """

    holder: str
    seconds: int
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0
    version: str = ""


class Conflict(Exception):
    """The Lease was written by somebody else in the meantime."""


class Lock(Protocol):
    """Where the record is kept."""

    async def read(self) -> Record | None:
        """The record, or None where there is none."""

    async def write(self, record: Record) -> Record:
        """Replace the record of the same version (create it where the version is empty); returns what is stored.

        Raises:
            Conflict: Somebody else has written it.
        """


class Leader:
    """One candidate.

    Args:
        lock: The Lease.
        identity: Who we are; no two living processes may share it. A process that finds its own in the Lease (its
            container was restarted) goes on leading at once.
        clock: Monotonic seconds.
        jitter: Random numbers from 0 to 1.
        tracer: Makes a span of each gain and each loss.

    Attributes:
        followed: Whether another replica was seen to lead, ever.
    """

    def __init__(
        self,
        lock: Lock,
        identity: str,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        tracer: trace.Tracer = _NOBODY,
    ) -> None:
        self._lock = lock
        self._identity = identity
        self._clock = clock
        self._jitter = jitter
        self._tracer = tracer
        self._observed: Record | None = None
        self._observed_at = 0.0
        self._renewed_at = 0.0
        self._leads = asyncio.Event()
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._work: set[asyncio.Task[None]] = set()
        self._resigned = False
        self._complained = ""
        self.followed = False

    @property
    def leading(self) -> bool:
        """Whether this replica may do the leader's work right now; False at once after a suspension that cost it."""
        return self._leads.is_set() and self._clock() < self._renewed_at + RENEW_DEADLINE

    async def run(self) -> None:
        """Stand for election until cancelled; nothing that the API server does ends it."""
        while True:
            wait = await self.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()
            self._news.clear()

    async def lead(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do work whenever this replica leads: made anew at each gain, cancelled at each loss; until cancelled.

        Raises:
            Exception: What the work raised. It may not end otherwise.
        """
        while True:
            while not self._leads.is_set():  # lost again in the turn in which it was gained
                await self._leads.wait()
            task = asyncio.create_task(work())
            self._work.add(task)
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait([task])
                raise
            finally:
                self._work.discard(task)
            if not task.cancelled():
                task.result()
                raise RuntimeError(f"{task} ended")

    def noticed(self, record: Record | None) -> None:
        """The Lease was seen to change (None: it is gone). Who may gain or lose by it looks at once."""
        holder = record.holder if record is not None else ""
        if self._leads.is_set():
            if holder != self._identity:
                self._news.set()
            return
        if record is not None:
            self._observe(record)
        if not holder:
            self._news.set()

    async def resign(self) -> None:
        """Stop the leader's work and give the Lease back, so that another replica begins at once; for good."""
        self._resigned = True
        self._lose("it is stopping")
        try:
            async with asyncio.timeout(RELEASE_WITHIN), self._turn:
                if self._observed is None or self._observed.holder != self._identity:
                    return
                if self._work:
                    await asyncio.wait(self._work)
                self._observe(await self._lock.write(dataclasses.replace(self._observed, holder="", seconds=1)))
        except (Conflict, TimeoutError, errors.KubernetesError) as error:
            logger.warning("The Lease is not given back, another replica waits until it ends: %s", error)

    async def step(self) -> float:
        """Renew or try to acquire the Lease once; returns the seconds until that is due again."""
        async with self._turn:
            if self._resigned:
                return LEASE_DURATION
            began = self._clock()
            deadline = self._renewed_at + RENEW_DEADLINE if self._leads.is_set() else began + RENEW_DEADLINE
            try:
                async with asyncio.timeout(max(deadline - began, 0)):
                    holds = await self._try()
            except (Conflict, TimeoutError, errors.KubernetesError) as error:
                return self._failed(error, deadline)
            self._complained = ""
            if holds:
                self._renewed_at = began
                self._gain(began)
                return RETRY_PERIOD
            self._lose("another replica holds the Lease")
            return self._spread()

    async def _try(self) -> bool:
        """Whether the Lease is ours now."""
        if self._leads.is_set() and self._observed is not None:
            with contextlib.suppress(Conflict):  # somebody touched it: see who
                self._observe(await self._lock.write(self._observed))
                return True
        found = await self._lock.read()
        if found is None:
            found = Record("", int(LEASE_DURATION), transitions=-1)
        else:
            self._observe(found)
        if found.holder != self._identity:
            if found.holder and self._clock() < self._observed_at + found.seconds:
                self.followed = True
                return False
            found = Record(
                self._identity, int(LEASE_DURATION), transitions=found.transitions + 1, version=found.version
            )
        self._observe(await self._lock.write(found))
        return True

    def _observe(self, record: Record) -> None:
        if record != self._observed:
            self._observed = record
            self._observed_at = self._clock()

    def _failed(self, error: Exception, deadline: float) -> float:
        text = str(error) or "no answer in time"
        if isinstance(error, Conflict):
            logger.debug("Another replica was faster: %s", text)
        elif text != self._complained:
            self._complained = text
            logger.warning("The Lease cannot be read or renewed, trying again: %s", text)
        left = deadline - self._clock()
        if self._leads.is_set() and left <= 0:
            self._lose("it could not renew the Lease in time")
        return min(RETRY_PERIOD, left) if self._leads.is_set() else self._spread()

    def _spread(self) -> float:
        """Seconds until a follower's next try: when the Lease ends at the latest, and not all followers at once."""
        wait = RETRY_PERIOD * (1 + JITTER * self._jitter())
        if self._observed is None:
            return wait
        left = self._observed_at + self._observed.seconds - self._clock()
        return min(wait, left + TOGETHER * self._jitter()) if left > 0 else wait

    def _gain(self, began: float) -> None:
        if not self._leads.is_set() and not self._resigned:
            logger.info("%s leads", self._identity)
            self._leads.set()
            self._traced("gained", "nobody else holds the Lease", began)

    def _lose(self, why: str) -> None:
        if self._leads.is_set():
            self._leads.clear()
            for task in self._work:
                task.cancel()
            logger.warning("%s no longer leads: %s", self._identity, why)
            self._traced("lost", why, self._renewed_at)

    def _traced(self, change: str, why: str, began: float) -> None:
        """A span of a gain, as long as the Lease took, or of a loss, as long as the Lease had not been renewed."""
        ended = time.time_ns()
        attributes = {
            semconv.LEADER_IDENTITY: self._identity,
            semconv.LEADER_CHANGE: change,
            semconv.LEADER_REASON: why,
        }
        span = self._tracer.start_span(
            "LEADER election",
            context=context.Context(),
            attributes=attributes,
            start_time=ended - int((self._clock() - began) * 1e9),
        )
        span.end(ended)
