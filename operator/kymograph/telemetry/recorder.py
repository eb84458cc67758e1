"""The hot path: what a request did, as a list of small tuples.

Nothing is built here: no span, no id for a step, no attribute. A request that turns out not to be kept has cost two
tuples a step, or one a policy; one that is kept is handed as it is to the export thread, which renders it
(`rendering`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kymograph.telemetry import memory, propagation, propagators

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.util.types import AnyValue

    from kymograph.telemetry.sampling import Decision

MAX_ENTRIES = 8_192
"""Entries of one request's log, two a step or one for a rule that only matched, or for a policy of such rules. A policy
can loop over as many elements as its budget allows; its trace stops growing here, and the server span says how many
steps are missing."""

ENTRY = 256
"""Bytes that an entry of a log holds, about: a tuple, and its times."""

FREE = 24
"""Entries of a log that are not weighed, because weighing them costs as much as noting them: see `memory.UNDER_WAY`."""

SPAN = 768
"""Bytes that a span comes to until it is delivered, texts apart: what it is made from, and what is written of it."""

TEXT = 4
"""Bytes of a character of a text: as it is, and in the places where it is written."""

CALL = 2_048
"""Bytes of the attributes of a call to another process, whose texts are bounded."""

CLIENT_BEGIN = -1
CLIENT_END = -2

POLICY, RULE, MATCH, PRECONDITIONS, NEED = 0, 1, 2, 4, 5
"""Codes of steps (`kymograph.engine.watching.Step`): those that an entry in short stands for, and a fact's."""

MATCHED = "matched"
"""The outcome of the match of every rule of a policy in short."""

POLICY_IN_SHORT = 6
RULE_IN_SHORT = 7
CONDITIONED_RULE_IN_SHORT = 10
"""How long the entries of a policy and a rule in short are (`kymograph.engine.watching.Entry`)."""


class Event(NamedTuple):
    """Something that happened at one moment of a request: `now` is of the same clock as the steps."""

    name: str
    attributes: "Mapping[str, AnyValue]"
    now: int


class Server(NamedTuple):
    """What the server span will say; known only at the request's end."""

    name: str
    attributes: "Mapping[str, AnyValue]"
    error: str
    events: Sequence[Event]
    now: int


class ClientBegin(NamedTuple):
    """A call to another process begins: `parent_id` is the client span around it, or 0 for the step that is open."""

    span_id: int
    parent_id: int
    name: str
    attributes: "Mapping[str, AnyValue]"


class ClientEnd(NamedTuple):
    """The call with this id ended: `error` is empty if it succeeded."""

    span_id: int
    attributes: "Mapping[str, AnyValue]"
    error: str


class Recorder:
    """Records the steps of one request. It is a `Watcher` of the engine, by shape.

    Used by one thread. Steps are strictly nested; client spans are not, because calls run concurrently.

    Args:
        decision: What was decided for this request.
        started_ns: The request's start on the monotonic clock that all later `now` are read from.
        wall_ns: The same moment in nanoseconds since the epoch: the only look at the wall clock in a request, so that
            a step of the clock does not bend a trace. 0 while it is not known whether anybody wants to know.
        ids: Where the ids of client spans come from.
        forms: How those we call are told of the trace.
        baggage: What its caller wants them told, too.
        room: What the logs of all requests may hold of memory; None for no bound but that of each.

    Attributes:
        decision: What was decided, and at the request's end decided anew by a keep rule.
        kept_by: The rule that keeps the spans of a request that was not sampled; empty until one does.
    """

    __slots__ = (
        "_baggage",
        "_beyond",
        "_claim",
        "_forms",
        "_ids",
        "_limit",
        "_room",
        "decision",
        "dropped",
        "kept_by",
        "log",
        "server",
        "started_ns",
        "wall_ns",
    )

    def __init__(
        self,
        decision: "Decision",
        started_ns: int,
        wall_ns: int,
        ids: "IdGenerator",
        forms: propagators.Propagators = propagators.W3C,
        baggage: str = "",
        room: memory.Share | None = None,
    ) -> None:
        self.decision = decision
        self.started_ns = started_ns
        self.wall_ns = wall_ns
        self.log: list[tuple[Any, ...]] = []
        self.dropped = 0
        self.kept_by = ""
        self.server: Server | None = None
        self._beyond = 0
        self._ids = ids
        self._forms = forms
        self._baggage = baggage
        self._limit = MAX_ENTRIES
        self._room = room
        self._claim: memory.Claim | None = None

    @property
    def recording(self) -> bool:
        """Whether anybody will look at the steps. If not, the engine is better given no watcher at all."""
        return self.decision.recorded or self.decision.tentative

    def keep(self, rule: str, wall_ns: int) -> None:
        """Have the spans of a request that was not sampled made and sent.

        Args:
            rule: Why.
            wall_ns: The request's start in nanoseconds since the epoch, which nobody had asked for until now.
        """
        self.kept_by = rule
        self.wall_ns = wall_ns
        self.decision = self.decision._replace(recorded=True, tentative=False)

    @property
    def traceparent(self) -> str:
        """The header's value for the request's answer: its flag says whether our spans exist, once that is decided."""
        decision = self.decision
        sampled = decision.sampled or decision.recorded
        return propagation.render(decision.trace_id, decision.span_id, sampled=sampled)

    def headers(self, span_id: int = 0) -> dict[str, str]:
        """Write the headers to inject into a call; `span_id` is the client span's, or 0 for the server span."""
        decision = self.decision
        return self._forms.write(
            decision.trace_id,
            span_id or decision.span_id,
            sampled=decision.sampled,
            tracestate=decision.tracestate,
            baggage=self._baggage,
        )

    def extend(self, steps: Sequence[tuple[Any, ...]]) -> None:
        """Take in a log of steps; see `kymograph.engine.watching.Watcher`."""
        log = self.log
        size = len(log) + len(steps)
        if size <= self._limit and (size <= FREE or self._is_held(len(steps))):
            log += steps
            return
        for head, body, now in written_out(steps):
            if isinstance(head, str):
                self.end(head, str(body), now)
            else:
                self.begin(head, body, now)

    def begin(self, step: int, subject: object, now: int) -> None:
        """A step begins; see `kymograph.engine.watching.Entry`. Where there is no room it is only counted."""
        log = self.log
        if len(log) < self._limit:
            log.append((step, subject, now))
        else:
            self._beyond += 1
            self.dropped += 1

    def end(self, outcome: str, detail: str, now: int) -> None:
        """The step begun last ends; see `kymograph.engine.watching.Entry`."""
        if self._beyond:
            self._beyond -= 1
        else:
            self.log.append((outcome, detail, now))

    def client_begin(self, name: str, attributes: "Mapping[str, AnyValue]", now: int, parent_id: int = 0) -> int:
        """A call to another process begins.

        Args:
            name: The client span's name, of low cardinality.
            attributes: What is known before the call.
            now: Nanoseconds of the request's monotonic clock.
            parent_id: The client span that this call is part of, or 0 for the step that is open now.

        Returns:
            The span's id, to be sent downstream.
        """
        span_id = self._ids.generate_span_id()
        if len(self.log) < self._limit and self._is_held(2):
            self.log.append((CLIENT_BEGIN, ClientBegin(span_id, parent_id, name, attributes), now))
        else:
            self.dropped += 1
        return span_id

    def client_end(self, span_id: int, attributes: "Mapping[str, AnyValue]", error: str, now: int) -> None:
        """The call with this id ended: attributes of its result, and what went wrong or an empty string."""
        self.log.append((CLIENT_END, ClientEnd(span_id, attributes, error), now))

    def finish(
        self,
        name: str,
        attributes: "Mapping[str, AnyValue]",
        now: int,
        *,
        error: str = "",
        events: Sequence[Event] = (),
    ) -> None:
        """Say what the server span says. After this the recorder belongs to whoever renders it, and weighs it anew.

        Args:
            name: The server span's name: `admission validate CREATE apps/Deployment`.
            attributes: Its attributes; held by reference.
            now: The request's end on its monotonic clock.
            error: What failed on our side. A denial is not an error: it is an event and an attribute.
            events: What happened at one moment, such as the denial.
        """
        self.server = Server(name, attributes, error, events, now)
        self._claim = None

    @property
    def span_count(self) -> int:
        """How many spans the log stands for, where every step and call has ended: half the entries not in short."""
        short = halves = 0
        for entry in self.log:
            length = len(entry)
            if length == POLICY_IN_SHORT:
                short += 1 + 2 * len(entry[-1])
            elif length >= RULE_IN_SHORT:
                short += 2 if length == RULE_IN_SHORT else 3
            else:
                halves += 1
        return 1 + short + (halves + 1) // 2

    @property
    def weight(self) -> int:
        """Bytes that the record and its spans hold until they are delivered, about, and rather too many."""
        texts = calls = 0
        for entry in self.log:
            length = len(entry)
            if length == POLICY_IN_SHORT:
                for result in entry[-1]:
                    texts += len(result[2])
            elif length >= RULE_IN_SHORT:
                texts += len(entry[2])
            elif type(entry[0]) is str:
                texts += len(entry[1])
            elif entry[0] == CLIENT_BEGIN:
                calls += 1
            elif entry[0] == NEED and isinstance(entry[1], tuple):
                texts += _texts(entry[1])
        if self.server is not None:
            for value in self.server.attributes.values():
                if type(value) is str:
                    texts += len(value)
                elif type(value) is tuple:
                    texts += _texts(value)
        return SPAN * self.span_count + CALL * calls + TEXT * texts

    def _is_held(self, entries: int) -> bool:
        """Whether there is room for so many entries more; if not, the log does not grow any further."""
        room = self._room
        if room is None:
            return True
        claim = self._claim
        if claim is None:
            claim = self._claim = room.claim()
        if claim.grow(ENTRY * entries):
            return True
        self._limit = 0
        return False


def _texts(values: Iterable[Any]) -> int:
    """How many characters there are in some values, those of sequences included."""
    return sum(
        len(each) if isinstance(each, str | bytes) else _texts(each) if isinstance(each, tuple) else 0
        for each in values
    )


def written_out(log: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, Any, int]]:
    """The entries of a log, each in short as those that it stands for; see `kymograph.engine.watching`."""
    for entry in log:
        if len(entry) == POLICY_IN_SHORT:
            policy, outcome, began, decided, ended, results = entry
            yield POLICY, policy, began
            for rule, said, detail, _, started, left, _, _ in results:
                yield from _rule_written_out(rule, said, detail, started, decided, left, MATCHED)
                decided = left
            yield outcome, "", ended
        elif len(entry) >= RULE_IN_SHORT:
            yield from _rule_written_out(*entry)
        else:
            head, body, now = entry
            yield head, body, now


def _rule_written_out(
    rule: object, outcome: str, detail: str, began: int, decided: int, ended: int, match: str, *asked: Any
) -> Iterator[tuple[Any, Any, int]]:
    yield RULE, rule, began
    yield MATCH, rule, began
    yield match, "", decided
    if asked:
        when, met, why = asked
        yield PRECONDITIONS, rule, decided
        yield met, why, when
    yield outcome, detail, ended
