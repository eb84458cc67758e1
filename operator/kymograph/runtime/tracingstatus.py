"""What the author of a TracingConfiguration is told: whether it is in force, and whether each signal gets through."""

import dataclasses
import datetime as dt
import types
from collections.abc import Mapping, Sequence
from typing import Any

from kymograph.telemetry import destination, export, partial, push, settings

MOST_MESSAGE = 1024
"""Characters of a condition's message and of an exporter's last error."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exporting:
    """What became of one signal.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        endpoint: Where it goes.
        since: Since when it goes there, in nanoseconds since the epoch: what was before says nothing about it.
        sent: How many spans, data points or records were delivered.
        dropped: How many were not, and never will be.
        last_success: When something was delivered last, in nanoseconds since the epoch.
        last_error: Why something was not delivered last.
        last_error_at: When that was.
        name: What an additional destination of traces is called; empty for the first.
    """

    signal: str
    endpoint: str
    since: int
    sent: int
    dropped: int
    last_success: int | None
    last_error: str | None
    last_error_at: int | None
    name: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether anything was delivered to this endpoint."""
        return (self.last_success or 0) > self.since

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed."""
        return (self.last_error_at or 0) > max(self.last_success or 0, self.since)

    @property
    def sentence(self) -> str:
        """The state in words."""
        if self.failed:
            return f"{self.endpoint} does not take {self.signal}: {self.last_error}"
        if self.succeeded:
            return f"{self.endpoint} takes {self.signal}"
        return f"no {self.signal} were sent to {self.endpoint} yet"

    def document(self) -> dict[str, Any]:
        """The entry of `status.exporters`."""
        entry: dict[str, Any] = {
            "signal": self.signal,
            "endpoint": self.endpoint,
            "sent": self.sent,
            "dropped": self.dropped,
        }
        if self.name:
            entry["name"] = self.name
        if self.succeeded:
            entry["lastSuccess"] = rfc3339(dt.datetime.fromtimestamp((self.last_success or 0) / 1e9, dt.UTC))
        if self.failed:
            entry["lastError"] = (self.last_error or "")[:MOST_MESSAGE]
        return entry


def exporting(
    applied: settings.TelemetrySettings,
    since: Mapping[str, int],
    traces: export.ExportStatus,
    metrics: push.PushStatus,
    logs: export.ExportStatus | None = None,
    additional: Mapping[str, export.ExportStatus] = types.MappingProxyType({}),
    left_out: frozenset[str] = frozenset(),
) -> list[Exporting]:
    """The state of the signals that are exported.

    Args:
        applied: The settings in force.
        since: Since when each exporter sends where it does, by its path (`paths`).
        traces: What became of spans.
        metrics: What became of data points.
        logs: What became of log records.
        additional: What became of spans for additional destinations, by their names.
        left_out: The exporters, by their paths, that are not in force.
    """
    found = []
    for path, to in paths(applied, left_out).items():
        began = since.get(path, 0)
        if path == "metrics.otlp":
            times = (metrics.last_success, metrics.last_error, metrics.last_error_at)
            found.append(Exporting("metrics", to.endpoint, began, metrics.sent, metrics.dropped, *times))
        elif path == "logs.otlp":
            if logs is not None:
                found.append(_queued("logs", to.endpoint, began, logs))
        elif isinstance(to, settings.AdditionalDestination):
            found.append(_queued("traces", to.endpoint, began, additional[to.name], to.name))
        else:
            found.append(_queued("traces", to.endpoint, began, traces))
    return found


def paths(
    applied: settings.TelemetrySettings, left_out: frozenset[str] = frozenset()
) -> dict[str, destination.ExporterSettings]:
    """The exporters that settings ask for, without those left out, by their paths in the spec."""
    first, more = (None, ()) if applied.traces is None else (applied.traces.first, applied.traces.additional)
    found: dict[str, destination.ExporterSettings | None] = {
        "traces": first,
        **{f"traces.additional[{each.name}]": each for each in more},
        "metrics.otlp": applied.metrics.otlp,
        "logs.otlp": applied.logs.otlp,
    }
    return {path: each for path, each in found.items() if each is not None and path not in left_out}


def not_in_force(error: Exception, *, redacting: bool = False) -> tuple[str, str]:
    """The reason and the message of a condition: a change cannot be used.

    Args:
        error: Why.
        redacting: What it adds to what nobody is told holds already.
    """
    also = ", and logs.redact of this one holds beside its own" if redacting else ""
    goes_on = f"; the last good configuration goes on{also}."
    return type(error).__name__, str(error)[: MOST_MESSAGE - len(goes_on)] + goes_on


def in_force_without(left_out: Sequence[partial.LeftOut]) -> tuple[str, str]:
    """The reason and the message of a condition: there is no last good configuration, and parts cannot be used."""
    names = ", ".join(each.part for each in left_out)
    reasons = "; ".join(sorted((each.sentence for each in left_out), key=len))  # one may list all metrics there are
    return type(left_out[0].error).__name__, f"In force without {names}. {reasons}."


def render(
    document: Mapping[str, Any],
    problem: tuple[str, str] | None,
    signals: Sequence[Exporting],
    now: dt.datetime,
    *,
    disabled: bool = False,
) -> dict[str, Any]:
    """The status of a TracingConfiguration: `Accepted` and `Exporting`, and the state of each exporter.

    `Exporting` is True when every signal that is configured gets through, False with a reason when none is configured
    or the last attempt of one failed, and Unknown while nothing of one was sent; its message speaks of each.

    Args:
        document: The resource, with the status before.
        problem: What of it is not in force, as a reason and a message; None where all is.
        signals: What is exported.
        now: The time of a condition's transition.
        disabled: Whoever started us wants nothing exported.
    """
    generation = int(document["metadata"].get("generation") or 0)
    before = {c.get("type"): c for c in (document.get("status") or {}).get("conditions") or []}

    def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
        old = before.get(kind) or {}
        since = (old.get("status") == status and old.get("lastTransitionTime")) or rfc3339(now)
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message[:MOST_MESSAGE],
            "lastTransitionTime": since,
            "observedGeneration": generation,
        }

    if problem is None:
        accepted = condition("Accepted", "True", "Applied", "The configuration is in force.")
    else:
        accepted = condition("Accepted", "False", *problem)
    failing_first = sorted(signals, key=lambda each: not each.failed)
    message = "; ".join(each.sentence for each in failing_first)
    if disabled:
        message = "OTEL_SDK_DISABLED is true: nothing is exported, whatever the spec says."
        exported = condition("Exporting", "False", "Disabled", message)
    elif not signals:
        message = "nothing is exported: neither spec.traces nor spec.metrics.otlp nor spec.logs.otlp is in force."
        exported = condition("Exporting", "False", "NotConfigured", message)
    elif any(each.failed for each in signals):
        exported = condition("Exporting", "False", "ExportFailed", message)
    elif all(each.succeeded for each in signals):
        exported = condition("Exporting", "True", "Delivered", message)
    else:
        exported = condition("Exporting", "Unknown", "NothingSent", message)
    return {
        "observedGeneration": generation,
        "conditions": [accepted, exported],
        "exporters": [each.document() for each in signals],
    }


def judgement(status: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What of a status is worth writing at once: all of its conditions but their times."""
    fields = ("type", "status", "reason", "message", "observedGeneration")
    return [tuple(c[field] for field in fields) for c in status.get("conditions") or []]


def failing(status: Mapping[str, Any]) -> str:
    """What a status says of exports that fail; an empty string where none does."""
    conditions = status.get("conditions") or []
    return next((str(each["message"]) for each in conditions if each["reason"] == "ExportFailed"), "")


def _queued(signal: str, endpoint: str, since: int, status: export.ExportStatus, name: str = "") -> Exporting:
    times = (status.last_success, status.last_error, status.last_error_at)
    return Exporting(signal, endpoint, since, status.sent, sum(status.dropped.values()), *times, name)


def rfc3339(moment: dt.datetime) -> str:
    """A time as status fields have it, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
