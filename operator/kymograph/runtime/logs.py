"""Log records: one line each, as text for people or as JSON for machines, with the trace they belong to.

Whatever library a record is from, its JSON is as the schema in docs/telemetry.md says; warnings of Python are records,
too.
"""

import json
import logging
import sys
import time
from typing import Any

import orjson

from kymograph.telemetry import credentials, current, logexport, logsettings

_QUIET = ("kopf", "aiohttp", "asyncio", "opentelemetry", "urllib3")
_OURS = frozenset({"time", "level", "logger", "message", "trace_id", "span_id", "exception", "stack"})
_LEVELS = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, trace_id and span_id, and extra fields.

    A level without a name of its own is told by that of the next lower one.
    """

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        document: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": next((name for level, name in _LEVELS if record.levelno >= level), "debug"),
            "logger": record.name,
            "message": credentials.redacted(record.getMessage()),
            **_context(),
        }
        if record.exc_info:
            document["exception"] = credentials.redacted(self.formatException(record.exc_info))
        if record.stack_info:
            document["stack"] = record.stack_info
        document |= {key: value for key, value in logexport.extra_fields(record).items() if key not in _OURS}
        try:
            return orjson.dumps(document, default=str).decode()
        except TypeError:  # what orjson takes is less: no lone surrogates, no integers over 64 bits
            return json.dumps(document, default=str)


class TextFormatter(logging.Formatter):
    """Time (UTC), level, logger and message, and the trace where there is one."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        line = f"{self.formatTime(record, '%H:%M:%S')}.{int(record.msecs):03d} {record.levelname:<7} {record.name}: "
        context = _context()
        line += credentials.redacted(record.getMessage()) + (f" [trace {context['trace_id']}]" if context else "")
        return f"{line}\n{credentials.redacted(self.formatException(record.exc_info))}" if record.exc_info else line


class Log:
    """The log of the process: the records of all loggers, on standard error. Libraries only say what is wrong.

    Args:
        log_format: How records are written, `text` or `json`.
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
        self._handler.setFormatter(_formatter(wanted.format or self._started.format))
        level = _number(wanted.level or self._started.level)
        logging.getLogger().setLevel(level)
        for name in self._named.difference(wanted.loggers):
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name in _QUIET:
            logging.getLogger(name).setLevel(max(logging.WARNING, level))
        for name, own in wanted.loggers.items():
            logging.getLogger(name).setLevel(_number(own))
        self._named = frozenset(wanted.loggers)


def _formatter(log_format: str | None) -> logging.Formatter:
    return JsonFormatter() if log_format == "json" else TextFormatter()


def _number(level: str | None) -> int:
    return logging.getLevelNamesMapping()[(level or "info").upper()]


def _context() -> dict[str, str]:
    context = current.context()
    return {} if context is None else {"trace_id": f"{context[0]:032x}", "span_id": f"{context[1]:016x}"}
