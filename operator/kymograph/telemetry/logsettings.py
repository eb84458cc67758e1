"""What the log is told to do: the `logs` part of a TracingConfiguration, parsed once."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from kymograph.model import tracinglogs as model
from kymograph.telemetry import destination, errors, fieldpaths

IDENTITY: frozenset[tuple[str | int | None, ...]] = frozenset(
    {
        ("apiVersion",),
        ("kind",),
        ("metadata",),
        ("metadata", None),
        ("metadata", "name"),
        ("metadata", "namespace"),
        ("metadata", "uid"),
    }
)
"""What says which object something is about; telemetry that may not say that says nothing."""

OURS = frozenset(
    {"time", "level", "logger", "message", "trace_id", "span_id", "trace_flags", "uid", "exception", "stack"}
)
"""The fields of a record that are not whoever logs it's to choose; see the schema in docs/telemetry.md."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExportedLogs(destination.ExporterSettings):
    """Where log records go besides standard error.

    Attributes:
        level: The least that is exported of what is logged; None for all of it.
    """

    level: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Redacted:
    """What nobody is told, beside what is in Secrets and tokens.

    Attributes:
        paths: Fields of objects, of whatever kind.
        fields: Fields of log records.
    """

    paths: tuple[fieldpaths.Path, ...] = ()
    fields: tuple[fieldpaths.Path, ...] = ()


NOTHING_MORE = Redacted()


@dataclasses.dataclass(frozen=True, slots=True)
class LogSettings:
    """How records are written.

    Attributes:
        level: The least that is logged, one of `model.LEVELS`; None for what the process was started with.
        format: One of `model.FORMATS`; None for what the process was started with.
        loggers: Levels of single loggers and of those below them, by name.
        otlp: Where records go over OTLP, too; None for nowhere.
        redacted: What nobody is told.
    """

    level: str | None = None
    format: str | None = None
    loggers: Mapping[str, str] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))
    otlp: ExportedLogs | None = None
    redacted: Redacted = NOTHING_MORE


def from_spec(spec: Mapping[str, Any], environ: Mapping[str, str] = types.MappingProxyType({})) -> LogSettings:
    """Read `spec.logs` of a TracingConfiguration.

    Args:
        spec: That part of the spec, as decoded from JSON.
        environ: Environment variables: OpenTelemetry's are the defaults of how to export what is exported.

    Raises:
        SettingsInvalid: A field has a value that cannot be used.
    """
    loggers = {
        str(name): _one_of(level, model.LEVELS, f"logs.loggers[{name}]")
        for name, level in (spec.get("loggers") or {}).items()
    }
    level, form, otlp = spec.get("level"), spec.get("format"), spec.get("otlp")
    return LogSettings(
        level=None if level is None else _one_of(level, model.LEVELS, "logs.level"),
        format=None if form is None else _one_of(form, model.FORMATS, "logs.format"),
        loggers=types.MappingProxyType(loggers),
        otlp=None if otlp is None else _exported(otlp, environ),
        redacted=_redacted(spec.get("redact") or {}),
    )


def _redacted(spec: Mapping[str, Any]) -> Redacted:
    field = "logs.redact.paths"
    paths = fieldpaths.parse_all(spec.get("paths") or (), field)
    for at, path in enumerate(paths):
        if path.steps in IDENTITY:
            raise errors.SettingsInvalid(f"{field}[{at}]", f"{path.text} says which object it is, and is told always")
    field = "logs.redact.fields"
    fields = fieldpaths.parse_all(spec.get("fields") or (), field)
    for at, path in enumerate(fields):
        if path.steps[0] in OURS:
            raise errors.SettingsInvalid(f"{field}[{at}]", f"{path.steps[0]} is a field of every record's own")
    return Redacted(paths, fields)


def _exported(spec: Mapping[str, Any], environ: Mapping[str, str]) -> ExportedLogs:
    level = spec.get("level")
    return ExportedLogs(
        **destination.from_spec(spec, "logs.otlp", destination.Signal.LOGS, environ),
        level=None if level is None else _one_of(level, model.LEVELS, "logs.otlp.level"),
    )


def _one_of(value: Any, allowed: tuple[str, ...], path: str) -> str:
    if value not in allowed:
        raise errors.SettingsInvalid(path, f"{value!r} is none of {', '.join(allowed)}")
    return str(value)
