"""In which forms the trace of a request is read from its header fields and told to those we call.

Sources: https://www.w3.org/TR/baggage/, https://github.com/openzipkin/b3-propagation, and for which fields are read and
written https://opentelemetry.io/docs/specs/otel/context/api-propagators/. Like `propagation`, this believes nothing
that is malformed and fails no request. Whom anything may be told is for clients to say: they send what is written here
to hosts that are ours, and to no other.
"""

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kymograph.telemetry import environment, errors, propagation

MOST_BAGGAGE = 8_192
MOST_MEMBERS = 64
"""Bytes and members of baggage that the specification has everybody pass on; what is more is not passed on at all."""

_BAGGAGE = re.compile(r"[\x20-\x7e\t]+")
_B3 = re.compile(r"([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?")
_TRACE = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_SPAN = re.compile(r"[0-9a-f]{16}")

Fields = Mapping[bytes, bytes]
"""Header fields of a request, names in lower case."""

FIELDS = frozenset(
    {b"baggage", b"b3", b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled", b"x-b3-flags", b"x-b3-parentspanid"}
)
"""The fields that are read, beside `traceparent` and `tracestate`."""


class Propagator(enum.StrEnum):
    """A form, by the name that `OTEL_PROPAGATORS` has for it."""

    TRACECONTEXT = "tracecontext"
    BAGGAGE = "baggage"
    B3 = "b3"
    B3_MULTI = "b3multi"


DEFAULT = (Propagator.TRACECONTEXT, Propagator.BAGGAGE)


class Told(NamedTuple):
    """What a caller told.

    Attributes:
        parent: Its span; None if it told none.
        baggage: Its baggage, to be passed on; empty if it has none.
    """

    parent: propagation.RemoteParent | None
    baggage: str = ""


NOTHING = Told(None)


class Propagators:
    """Reads and writes some forms.

    Args:
        forms: Those, in the order in which a caller's span is looked for; the first that is well formed counts.
    """

    def __init__(self, forms: Iterable[Propagator] = DEFAULT) -> None:
        self.forms = tuple(forms)
        self._baggage = Propagator.BAGGAGE in self.forms
        self._parents = tuple(each for each in self.forms if each is not Propagator.BAGGAGE)

    def read(
        self, traceparent: str | bytes | None, tracestate: str | bytes | None, fields: Fields | None = None
    ) -> Told:
        """Read the header fields of a request.

        Args:
            traceparent: That field, if the request has it.
            tracestate: The same.
            fields: Those of `FIELDS` that the request has, and perhaps others.
        """
        parent = None
        for form in self._parents:
            if form is Propagator.TRACECONTEXT:
                parent = propagation.parse(traceparent, tracestate) if traceparent else None
            elif fields:
                parent = _b3(fields)
            if parent is not None:
                break
        return Told(parent, _bounded(fields.get(b"baggage")) if fields and self._baggage else "")

    def write(
        self, trace_id: int, span_id: int, *, sampled: bool, tracestate: str = "", baggage: str = ""
    ) -> dict[str, str]:
        """Write the header fields of a request we make; `baggage` is what a caller told."""
        written: dict[str, str] = {}
        for form in self.forms:
            if form is Propagator.TRACECONTEXT:
                written |= propagation.headers(trace_id, span_id, sampled=sampled, tracestate=tracestate)
            elif form is Propagator.B3:
                written["b3"] = f"{trace_id:032x}-{span_id:016x}-{int(sampled)}"
            elif form is Propagator.B3_MULTI:
                written["X-B3-TraceId"] = f"{trace_id:032x}"
                written["X-B3-SpanId"] = f"{span_id:016x}"
                written["X-B3-Sampled"] = str(int(sampled))
            elif baggage:
                written["baggage"] = baggage
        return written


W3C = Propagators()


def from_spec(listed: Any, environ: Mapping[str, str]) -> tuple[Propagator, ...]:
    """Read `spec.propagators` of a TracingConfiguration.

    Args:
        listed: That field, as decoded from JSON; None where there is none.
        environ: Environment variables; `OTEL_PROPAGATORS` is the default.

    Raises:
        SettingsInvalid: There is no form of that name, in the field or in the variable.
    """
    path, names = "propagators", listed
    if listed is None:
        path, names = "OTEL_PROPAGATORS", environment.propagators(environ)
        if names is None:
            return DEFAULT
        if names == ("none",):
            return ()
    for name in names:
        if name not in tuple(Propagator):
            raise errors.SettingsInvalid(path, f"{name!r} is none of {', '.join(Propagator)}")
    return tuple(dict.fromkeys(map(Propagator, names)))


def _b3(fields: Fields) -> propagation.RemoteParent | None:
    """The caller's span by B3, in one field or, where that is not there, in several."""
    single = fields.get(b"b3")
    if single is not None:
        found = _B3.fullmatch(single.decode("latin-1"))
        return None if found is None else _parent(found[1], found[2], sampled=found[3] in {"1", "d"})
    trace, span = (fields.get(name, b"").decode("latin-1") for name in (b"x-b3-traceid", b"x-b3-spanid"))
    if not _TRACE.fullmatch(trace) or not _SPAN.fullmatch(span):
        return None
    sampled = fields.get(b"x-b3-sampled") in {b"1", b"true"} or fields.get(b"x-b3-flags") == b"1"
    return _parent(trace, span, sampled=sampled)


def _parent(trace: str, span: str, *, sampled: bool) -> propagation.RemoteParent | None:
    trace_id, span_id = int(trace, 16), int(span, 16)
    return propagation.RemoteParent(trace_id, span_id, sampled) if trace_id and span_id else None


def _bounded(baggage: bytes | None) -> str:
    if not baggage or len(baggage) > MOST_BAGGAGE or baggage.count(b",") >= MOST_MEMBERS:
        return ""
    text = baggage.decode("latin-1")
    return text if _BAGGAGE.fullmatch(text) else ""
