"""What admission hands over, taken at the least cost, and kept until the objects can be expected to exist.

The hot path appends one tuple. Everything else (which object, what of it was reviewed, which entries of a report) is
made of it later, in slices; the object itself is let go within a fraction of a second. A review is untrusted: nothing
here is believed, only remembered until the writer has asked the API server.
"""

import asyncio
import collections
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import orjson
from opentelemetry.trace import SpanContext, TraceFlags

from kymograph.controllers import redaction
from kymograph.controllers.reports import confirmation, findings, queue
from kymograph.engine.evaluate import PolicyResult
from kymograph.engine.policy import CompiledPolicy
from kymograph.telemetry.sampling import Decision

logger = logging.getLogger(__name__)

MOST_ENTRIES = 8_192
"""Reviews that may wait: two seconds of 4,000 a second. More are dropped and counted, never waited for."""

GRACE = 1_000_000_000
"""Nanoseconds that an object has to be stored after we allowed it: other webhooks may take that long."""

LOOK_EVERY = 1.0
"""Seconds between two looks at what has waited long enough; what comes in between is written together."""

HELD = 0.1
"""Seconds that an object is held until a digest takes its place: thousands of them would be hundreds of megabytes."""

SLICE = 3_000_000
"""Nanoseconds of work before a waiting review is let in."""

MOST_NAME = 253
"""The longest name of an object, in characters; a longer one was never stored."""

_NOTHING: Mapping[str, Any] = {}

_Entry: TypeAlias = tuple[
    int,  # when, on the clock
    Mapping[str, Any],  # request.kind
    str,  # the resource's name
    str,  # namespace
    str,  # name
    str,  # uid
    Any,  # resourceVersion before the request
    bool,  # the object is new
    Sequence[CompiledPolicy],
    Sequence[PolicyResult],
    Decision,
    bool,  # the policies changed the object, and what is held is what they made of it
]


class Intake:
    """Takes the results of reviews and passes them on when their time has come.

    Args:
        clock: Monotonic nanoseconds.
        wall_clock: Nanoseconds since the epoch.
        dropped: Counts a review for which there was no room.
        link: Says where the trace of a request can be looked at; an empty string for nowhere.
        hidden: Gives the fields of objects that reports do not tell of.

    Attributes:
        offered: Reviews that were to be remembered.
        refused: Those for which there was no room.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        dropped: Callable[[], None],
        link: Callable[[Decision], str] = lambda _: "",
        hidden: redaction.Hidden = tuple,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._dropped = dropped
        self._link = link
        self._hidden = hidden
        self.offered = self.refused = 0
        self._held: collections.deque[tuple[_Entry, Mapping[str, Any]]] = collections.deque()
        self._entries: collections.deque[tuple[_Entry, bytes]] = collections.deque()
        self._losses: set[str] = set()

    def __len__(self) -> int:
        return len(self._held) + len(self._entries)

    def decided(
        self,
        request: Mapping[str, Any],
        evaluated: Sequence[CompiledPolicy],
        results: Sequence[PolicyResult],
        decision: Decision,
    ) -> None:
        """A review was allowed: remember what was found, unless no object comes of it. Called on the hot path.

        Args:
            request: The AdmissionRequest, its shape checked; its object is held for `HELD`.
            evaluated: The policies that had a say.
            results: What they found.
            decision: Which trace the request belongs to.
        """
        self._take(request, request.get("object") or _NOTHING, evaluated, results, decision, mutated=False)

    def mutated(
        self,
        request: Mapping[str, Any],
        made: Mapping[str, Any],
        evaluated: Sequence[CompiledPolicy],
        results: Sequence[PolicyResult],
        decision: Decision,
    ) -> None:
        """Policies changed the object of a review: remember what their rules did. Called on the hot path.

        Args:
            request: The AdmissionRequest. A new object has no uid yet.
            made: The object as it is after all changes of ours; held for `HELD`.
            evaluated: The policies that had a say.
            results: What they did.
            decision: Which trace the request belongs to.
        """
        self._take(request, made, evaluated, results, decision, mutated=True)

    def _take(
        self,
        request: Mapping[str, Any],
        reviewed: Mapping[str, Any],
        evaluated: Sequence[CompiledPolicy],
        results: Sequence[PolicyResult],
        decision: Decision,
        *,
        mutated: bool,
    ) -> None:
        operation = request["operation"]
        if operation == "CREATE":
            replaces = ""
        elif operation == "UPDATE":
            replaces = ((request.get("oldObject") or _NOTHING).get("metadata") or _NOTHING).get("resourceVersion", "")
        else:
            return
        if request.get("dryRun") or request.get("subResource"):
            return
        metadata = reviewed.get("metadata")
        if not metadata or type(metadata) is not dict:  # forged, or spoilt by a policy
            return
        uid = metadata.get("uid") or ""
        if not uid and not mutated:
            return
        held = self._held
        self.offered += 1
        if len(held) + len(self._entries) >= MOST_ENTRIES:
            self.refused += 1
            self._dropped()
            return
        entry = (
            self._clock(),
            request["kind"],
            request["resource"]["resource"],
            metadata.get("namespace") or (request.get("namespace") or "" if mutated else ""),
            metadata.get("name", ""),
            uid,
            replaces,
            operation == "CREATE",
            evaluated,
            redaction.told(request, results, self._hidden()),
            decision,
            mutated,
        )
        held.append((entry, reviewed))

    async def pass_on(self, work: queue.WorkQueue) -> None:
        """Feed a queue until cancelled. While it is full everything waits here, up to the bound."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._let_go())
            tasks.create_task(self._feed(work))

    async def _let_go(self) -> None:
        while True:
            await asyncio.sleep(HELD)
            began = self._clock()
            while self.digest():
                if self._clock() - began > SLICE:
                    await asyncio.sleep(0)
                    began = self._clock()

    async def _feed(self, work: queue.WorkQueue) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            began = self._clock()
            for found in self.mature():
                work.put(found)
                if self._clock() - began > SLICE:
                    await asyncio.sleep(0)
                    began = self._clock()
                await work.room()

    def digest(self) -> bool:
        """Put a digest in the place of the object that is held longest; whether there was one."""
        if not self._held:
            return False
        entry, reviewed = self._held.popleft()
        try:
            self._entries.append((entry, confirmation.digest(reviewed, identified=not entry[-1])))
        except orjson.JSONEncodeError:  # nested too deep to be compared: nothing of it could be confirmed
            self._dropped()
        except Exception as error:  # noqa: BLE001  # one odd review must not end all others
            self._lose(error)
        return True

    def mature(self) -> Iterator[findings.Findings]:
        """Take out what has waited for its grace, oldest first."""
        now = self._clock()
        offset = self._wall_clock() - now
        entries = self._entries
        while entries and entries[0][0][0] <= now - GRACE:
            entry, reviewed = entries.popleft()
            try:
                found = _findings(entry, reviewed, offset, self._link)
            except Exception as error:  # noqa: BLE001  # one odd review must not end all others
                self._lose(error)
                continue
            if found is not None:
                yield found

    def _lose(self, error: Exception) -> None:
        """Drop a review that is not what it should be, and say so once, without what stands in it."""
        self._dropped()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in {frame.name}"
        if kind not in self._losses:
            self._losses.add(kind)
            logger.error("A review cannot be reported on (%s); this is a defect of Kymograph", kind)


def _findings(entry: _Entry, reviewed: bytes, offset: int, link: Callable[[Decision], str]) -> findings.Findings | None:
    decided_at, kind, plural, namespace, name, uid, replaces, fresh, evaluated, results, decision, mutated = entry
    if not findings.is_reported_kind(kind["group"], kind["kind"]):
        return None
    if not name or any(type(each) is not str or len(each) > MOST_NAME for each in (namespace, name, uid)):
        return None
    silent = findings.Found(None, decided_at + offset, reviewed, link(decision))
    if mutated:
        latest = _by_rule(kind["kind"], evaluated, results, silent)
    else:
        latest = {policy.key: silent for policy in evaluated}
        for result in results:
            latest[result.policy.key] = silent._replace(result=result)
    traced = decision.recorded or decision.sampled
    return findings.Findings(
        subject=findings.Subject(kind["group"], kind["version"], kind["kind"], namespace, name, uid),
        plural=plural,
        latest=latest,
        replaces=replaces if isinstance(replaces, str) else "",
        fresh=fresh and not mutated,
        requests=(_span(decision),) if traced else (),
    )


def _by_rule(
    kind: str, evaluated: Sequence[CompiledPolicy], results: Sequence[PolicyResult], silent: findings.Found
) -> dict[str, findings.Found]:
    """What each rule that changes objects did. Those with targets did nothing to this one."""
    latest = {
        findings.of_rule(policy.key, rule.name): silent
        for policy in evaluated
        for rule in policy.mutate.of(kind)
        if not rule.body.targets
    }
    for result in results:
        for each in result.rules:
            key = findings.of_rule(result.policy.key, each.rule.name)
            latest[key] = silent._replace(result=result._replace(rules=(each,)))
    return latest


def _span(decision: Decision) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if decision.sampled else TraceFlags.DEFAULT)
    return SpanContext(decision.trace_id, decision.span_id, is_remote=True, trace_flags=flags)
