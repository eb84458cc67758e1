"""What the log is told to do: the `logs` part of a TracingConfiguration, parsed once."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from kymograph.model import tracingconfiguration as model
from kymograph.telemetry import destination, errors


@dataclasses.dataclass(frozen=True, slots=True)
class ExportedLogs(destination.ExporterSettings):
    """Where log records go besides standard error.

    Attributes:
        level: The least that is exported of what is logged; None for all of it.
    """

    level: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class LogSettings:
    """How records are written.

    Attributes:
        level: The least that is logged, one of `model.LOG_LEVELS`; None for what the process was started with.
        format: One of `model.LOG_FORMATS`; None for what the process was started with.
        loggers: Levels of single loggers and of those below them, by name.
        otlp: Where records go over OTLP, too; None for nowhere.
    """

    level: str | None = None
    format: str | None = None
    loggers: Mapping[str, str] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))
    otlp: ExportedLogs | None = None


def from_spec(spec: Mapping[str, Any], environ: Mapping[str, str] = types.MappingProxyType({})) -> LogSettings:
    """Read `spec.logs` of a TracingConfiguration.

    Args:
        spec: That part of the spec, as decoded from JSON.
        environ: Environment variables: OpenTelemetry's are the defaults of how to export what is exported.

    Raises:
        SettingsInvalid: A field has a value that cannot be used.
    """
    loggers = {
        str(name): _one_of(level, model.LOG_LEVELS, f"logs.loggers[{name}]")
        for name, level in (spec.get("loggers") or {}).items()
    }
    level, form, otlp = spec.get("level"), spec.get("format"), spec.get("otlp")
    return LogSettings(
        level=None if level is None else _one_of(level, model.LOG_LEVELS, "logs.level"),
        format=None if form is None else _one_of(form, model.LOG_FORMATS, "logs.format"),
        loggers=types.MappingProxyType(loggers),
        otlp=None if otlp is None else _exported(otlp, environ),
    )


def _exported(spec: Mapping[str, Any], environ: Mapping[str, str]) -> ExportedLogs:
    level = spec.get("level")
    return ExportedLogs(
        **destination.from_spec(spec, "logs.otlp", destination.Signal.LOGS, environ),
        level=None if level is None else _one_of(level, model.LOG_LEVELS, "logs.otlp.level"),
    )


def _one_of(value: Any, allowed: tuple[str, ...], path: str) -> str:
    if value not in allowed:
        raise errors.SettingsInvalid(path, f"{value!r} is none of {', '.join(allowed)}")
    return str(value)
