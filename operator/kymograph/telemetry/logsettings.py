"""What the log is told to do: the `logs` part of a TracingConfiguration, parsed once."""

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any

from kymograph.model import tracinglogs as model
from kymograph.telemetry import destination, errors, fieldpaths, partial

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

    def joined(self, other: "Redacted") -> "Redacted":
        """What is told by neither."""
        return Redacted(
            tuple(dict.fromkeys((*self.paths, *other.paths))), tuple(dict.fromkeys((*self.fields, *other.fields)))
        )


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


def from_spec(
    spec: Mapping[str, Any],
    environ: Mapping[str, str] = types.MappingProxyType({}),
    parts: partial.Whole = partial.WHOLE,
) -> LogSettings:
    """Read `spec.logs` of a TracingConfiguration.

    Args:
        spec: That part of the spec, as decoded from JSON.
        environ: Environment variables: OpenTelemetry's are the defaults of how to export what is exported.
        parts: What becomes of a part that cannot be used.

    Raises:
        SettingsInvalid: A field has a value that cannot be used.
    """
    level = form = otlp = None
    with parts.part("logs.level"):
        level = _given(spec.get("level"), model.LEVELS, "logs.level")
    with parts.part("logs.format"):
        form = _given(spec.get("format"), model.FORMATS, "logs.format")
    with parts.part("logs.otlp"):
        otlp = None if spec.get("otlp") is None else _exported(spec["otlp"], environ)
    return LogSettings(
        level=level,
        format=form,
        loggers=types.MappingProxyType(_loggers(spec.get("loggers") or {}, parts)),
        otlp=otlp,
        redacted=redacted(spec.get("redact") or {}, parts),
    )


def redacted(spec: Mapping[str, Any], parts: partial.Whole = partial.WHOLE) -> Redacted:
    """Read `spec.logs.redact` of a TracingConfiguration; each path is a part.

    Raises:
        SettingsInvalid: A path is none, or names what cannot be left unsaid.
    """
    return Redacted(_paths(spec, "paths", parts, _identity), _paths(spec, "fields", parts, _of_every_record))


def _paths(
    spec: Mapping[str, Any], key: str, parts: partial.Whole, objection: Callable[[fieldpaths.Path], str]
) -> tuple[fieldpaths.Path, ...]:
    field, texts = f"logs.redact.{key}", spec.get(key) or ()
    with parts.part(f"{field}[{model.MOST_PATHS}:]"):
        if len(texts) > model.MOST_PATHS:
            raise errors.SettingsInvalid(field, f"has more than {model.MOST_PATHS} paths")
    found = []
    for at, text in enumerate(texts[: model.MOST_PATHS]):
        place = f"{field}[{at}]"
        with parts.part(place):
            path = fieldpaths.parse(text, place)
            if against := objection(path):
                raise errors.SettingsInvalid(place, against)
            found.append(path)
    return tuple(found)


def _identity(path: fieldpaths.Path) -> str:
    return f"{path.text} says which object it is, and is told always" if path.steps in IDENTITY else ""


def _of_every_record(path: fieldpaths.Path) -> str:
    return f"{path.steps[0]} is a field of every record's own" if path.steps[0] in OURS else ""


def _loggers(spec: Mapping[str, Any], parts: partial.Whole) -> dict[str, str]:
    read = {}
    for name, level in spec.items():
        field = f"logs.loggers[{name}]"
        with parts.part(field):
            if name in model.ROOT_NAMES:
                raise errors.SettingsInvalid(field, "this is the root logger, whose level is logs.level")
            read[str(name)] = _one_of(level, model.LEVELS, field)
    return read


def _exported(spec: Mapping[str, Any], environ: Mapping[str, str]) -> ExportedLogs:
    return ExportedLogs(
        **destination.from_spec(spec, "logs.otlp", destination.Signal.LOGS, environ),
        level=_given(spec.get("level"), model.LEVELS, "logs.otlp.level"),
    )


def _given(value: Any, allowed: tuple[str, ...], path: str) -> str | None:
    return None if value is None else _one_of(value, allowed, path)


def _one_of(value: Any, allowed: tuple[str, ...], path: str) -> str:
    if value not in allowed:
        raise errors.SettingsInvalid(path, f"{value!r} is none of {', '.join(allowed)}")
    return str(value)
