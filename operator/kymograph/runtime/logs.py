"""Log records: one line each, as text for people or as JSON for machines, with the trace they belong to.

Whatever library a record is from, its JSON is as the schema in docs/telemetry.md says; warnings of Python are records,
too.
"""

import json
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson

from kymograph.telemetry import current, fieldpaths, logfields, logsettings, subject

_QUIET = ("kopf", "aiohttp", "asyncio", "opentelemetry", "urllib3")
_LEVELS = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)

ECS_VERSION = "8.11.0"
"""The version of the Elastic Common Schema whose names are used."""

_ECS_NAMES = {
    "time": "@timestamp",
    "level": "log.level",
    "logger": "log.logger",
    "message": "message",
    "trace_id": "trace.id",
    "span_id": "span.id",
    "uid": "http.request.id",
    "exception": "error.stack_trace",
}
"""What ECS calls our fields; the others stand under `kymograph`, as it wants of fields that are not its own."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, what it belongs to, and extra fields.

    A level without a name of its own is told by that of the next lower one.

    Args:
        hidden: Fields whose values are not told.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self, hidden: Sequence[fieldpaths.Path] = ()) -> None:
        super().__init__()
        self._hidden = hidden

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        document = self.document(record)
        try:
            return orjson.dumps(document, default=str).decode()
        except TypeError:  # what orjson takes is less: no lone surrogates, no integers over 64 bits
            return json.dumps(document, default=str)

    def document(self, record: logging.LogRecord) -> dict[str, Any]:
        """The record as docs/telemetry.md has it."""
        fields, told = logfields.told(record, self._hidden)
        document: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": next((name for level, name in _LEVELS if record.levelno >= level), "debug"),
            "logger": record.name,
            "message": told(record.getMessage()),
            **_context(),
        }
        if record.exc_info:
            document["exception"] = told(self.formatException(record.exc_info))
        if record.stack_info:
            document["stack"] = told(record.stack_info)
        document |= {key: value for key, value in fields.items() if key not in logsettings.OURS}
        return document


class EcsFormatter(JsonFormatter):
    """The same by the names of the Elastic Common Schema."""

    def document(self, record: logging.LogRecord) -> dict[str, Any]:
        """The record as the Elastic Common Schema has it."""
        ours = super().document(record)
        document = {ecs: ours.pop(name) for name, ecs in _ECS_NAMES.items() if name in ours}
        raised = record.exc_info[0] if record.exc_info else None
        if raised is not None:
            document["error.type"] = raised.__qualname__
        document["ecs.version"] = ECS_VERSION
        return {**document, "kymograph": ours} if ours else document


class TextFormatter(logging.Formatter):
    """Time (UTC), level, logger and message, and the trace where there is one.

    Args:
        hidden: Fields whose values are not told.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self, hidden: Sequence[fieldpaths.Path] = ()) -> None:
        super().__init__()
        self._hidden = hidden

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        _, told = logfields.told(record, self._hidden)
        context = _context()
        belongs = [f"{name} {context[key]}" for name, key in (("trace", "trace_id"), ("uid", "uid")) if key in context]
        line = f"{self.formatTime(record, '%H:%M:%S')}.{int(record.msecs):03d} {record.levelname:<7} {record.name}: "
        line += told(record.getMessage()) + (f" [{', '.join(belongs)}]" if belongs else "")
        return f"{line}\n{told(self.formatException(record.exc_info))}" if record.exc_info else line


class Log:
    """The log of the process: the records of all loggers, on standard error. Libraries only say what is wrong.

    Args:
        log_format: How records are written, `text`, `json` or `ecs`.
        level: The least that is logged, a level of the standard library's logging in lower case.
    """

    def __init__(self, log_format: str, level: str) -> None:
        self._started = logsettings.LogSettings(level, log_format)
        self._named: frozenset[str] = frozenset()
        self._handler = logging.StreamHandler(sys.stderr)
        self._handler.setFormatter(_formatter(log_format))
        logging.basicConfig(level=level.upper(), handlers=[self._handler], force=True)
        logging.captureWarnings(capture=True)
        self.apply(self._started)

    def apply(self, wanted: logsettings.LogSettings) -> None:
        """Write records so from now on; what is left open is as the process was started with. No record is lost."""
        self._handler.setFormatter(_formatter(wanted.format or self._started.format, wanted.redacted.fields))
        level = _number(wanted.level or self._started.level)
        logging.getLogger().setLevel(level)
        for name in self._named.difference(wanted.loggers):
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name in _QUIET:
            logging.getLogger(name).setLevel(max(logging.WARNING, level))
        for name, own in wanted.loggers.items():
            logging.getLogger(name).setLevel(_number(own))
        self._named = frozenset(wanted.loggers)


def _formatter(log_format: str | None, hidden: Sequence[fieldpaths.Path] = ()) -> logging.Formatter:
    kinds = {"json": JsonFormatter, "ecs": EcsFormatter}
    return kinds.get(log_format or "", TextFormatter)(hidden)


def _number(level: str | None) -> int:
    return logging.getLevelNamesMapping()[(level or "info").upper()]


def _context() -> dict[str, str]:
    """What a record belongs to, by the names of OpenTelemetry (Trace Context in non-OTLP Log Formats)."""
    place, uid = current.place(), subject.current().uid
    context = {"uid": uid} if uid else {}
    if place is None:
        return context
    trace_id, span_id, sampled = place
    return {
        "trace_id": f"{trace_id:032x}",
        "span_id": f"{span_id:016x}",
        "trace_flags": "01" if sampled else "00",
        **context,
    }
