"""Log records over OTLP: from the standard library's logging into a bounded queue, as the bytes that leave.

A record is written when it is made, where its trace is known and its arguments are what they were, and put into a
queue like that of spans (`export.Queue`): whoever logs waits for nobody, and what finds no room is counted. What is
said while exporting, and by what exports, is not exported: a collector that is gone would be told of it for ever.

Field numbers: opentelemetry/proto/logs/v1/logs.proto and collector/logs/v1/logs_service.proto.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kymograph.telemetry import current, export, fieldpaths, logfields, logsettings, rendering, semconv, subject, wire

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.util.types import AnyValue

CAPACITY = 4_096
"""Records that wait at most: 2 MB at 500 bytes each."""

MOST_BODY = 8_192
"""Bytes of UTF-8 of a message; a longer one is cut."""

MOST_STACK = 16_384
"""Bytes of UTF-8 of an exception's stack."""

MOST_ATTRIBUTES = 64

OVERHEAD = 256
"""Bytes that a record holds beside what is written of it."""

_EXPORTERS = ("grpc", "opentelemetry", "kymograph.telemetry")
_STACKS = logging.Formatter()

# SeverityNumber by level: the least of each range, as OpenTelemetry's bridge for Python has it.
_SEVERITIES = ((logging.CRITICAL, 21), (logging.ERROR, 17), (logging.WARNING, 13), (logging.INFO, 9), (0, 5))


class Written(NamedTuple):
    """A record as a `log_records` field of a ScopeLogs message, tag and length included, and whose it is."""

    logger: str
    data: bytes


def write(record: logging.LogRecord, hidden: Sequence[fieldpaths.Path] = ()) -> Written:
    """Write a record, with the trace and span of what is going on; it is observed when it is made.

    Args:
        record: The record.
        hidden: Fields whose values are not told.
    """
    moment = wire.fixed64(round(record.created * 1e6) * 1_000)
    fields, told = logfields.told(record, hidden)
    attributes: dict[str, AnyValue] = {key: _value(value) for key, value in list(fields.items())[:MOST_ATTRIBUTES]}
    if uid := subject.current().uid:
        attributes[semconv.REQUEST_UID] = rendering.bounded(uid)
    if record.exc_info and (raised := record.exc_info[1]) is not None:
        attributes["exception.type"] = type(raised).__qualname__
        attributes["exception.message"] = rendering.bounded(told(str(raised)))
        stack = told(_STACKS.formatException(record.exc_info))
        attributes["exception.stacktrace"] = rendering.bounded(stack, MOST_STACK)
    severity = next(number for level, number in _SEVERITIES if record.levelno >= level)
    body = rendering.bounded(told(record.getMessage()), MOST_BODY)
    parts = [
        b"\x09" + moment,
        b"\x10" + wire.SHORT[severity],
        wire.text(b"\x1a", record.levelname),
        wire.field(b"\x2a", wire.any_value(body)),
        wire.attributes(b"\x32", attributes),
        b"\x59" + moment,
    ]
    place = current.place()
    if place is not None:
        trace_id, span_id, sampled = place
        parts.append(b"\x45" + wire.fixed32(1) if sampled else b"")
        parts.append(b"\x4a\x10" + trace_id.to_bytes(16, "big") + b"\x52\x08" + span_id.to_bytes(8, "big"))
    return Written(record.name, wire.field(b"\x12", b"".join(parts)))


def request(resource: "Resource", version: str | None, records: Iterable[Written]) -> bytes:
    """Write an ExportLogsServiceRequest: every logger is a scope, as OpenTelemetry's bridges have it.

    Args:
        resource: Who we are.
        version: The version of the scopes of our own loggers.
        records: The records.
    """
    loggers: dict[str, list[bytes]] = {}
    for record in records:
        loggers.setdefault(record.logger, []).append(record.data)
    scopes = b"".join(
        wire.field(b"\x12", wire.field(b"\x0a", _scope(logger, version)) + b"".join(written))
        for logger, written in loggers.items()
    )
    described = wire.field(b"\x0a", wire.resource(resource)) + scopes + wire.text(b"\x1a", resource.schema_url)
    return wire.field(b"\x0a", described)


class Handler(logging.Handler):
    """Puts the records of all loggers into the queue, while they are to be exported; made once per process.

    Args:
        queue: The way out.
    """

    def __init__(self, queue: export.Queue[Written]) -> None:
        super().__init__()
        self._queue = queue
        self._hidden: tuple[fieldpaths.Path, ...] = ()

    def follow(self, wanted: logsettings.LogSettings) -> None:
        """Take records from the root logger as these settings say."""
        root, exported = logging.getLogger(), wanted.otlp
        self.hide(wanted.redacted.fields)
        if exported is None:
            root.removeHandler(self)
            return
        self.setLevel(logging.NOTSET if exported.level is None else exported.level.upper())
        root.addHandler(self)

    def hide(self, fields: tuple[fieldpaths.Path, ...]) -> None:
        """Tell the values of these fields to nobody from now on."""
        self._hidden = fields

    def emit(self, record: logging.LogRecord) -> None:
        """Accept a record; see `logging.Handler`."""
        if export.is_shipping() or _is_of(record.name, _EXPORTERS) or not self._queue.enabled:
            return
        try:
            written = write(record, self._hidden)
            self._queue.put(written, len(written.data) + OVERHEAD)
        except Exception:  # noqa: BLE001 - a value whose text cannot be had must not fail whoever logs it
            self.handleError(record)


def _is_of(name: str, loggers: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in loggers)


def _scope(logger: str, version: str | None) -> bytes:
    ours = version if _is_of(logger, ("kymograph",)) else None
    return wire.text(b"\x0a", logger) + wire.text(b"\x12", ours)


def _value(value: Any, depth: int = 0) -> "AnyValue":
    """A field's value as OTLP has it: what is no text, number, mapping or list is told by its text."""
    if isinstance(value, str):
        return rendering.bounded(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < 4 and isinstance(value, Mapping):
        return {str(key): _value(each, depth + 1) for key, each in list(value.items())[:MOST_ATTRIBUTES]}
    if depth < 4 and isinstance(value, list | tuple):
        return [_value(each, depth + 1) for each in value[: rendering.MAX_ATTRIBUTE_ITEMS]]
    return rendering.bounded(str(value))
