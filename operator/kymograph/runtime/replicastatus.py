"""What replicas say of their telemetry, each for itself, and what that comes to for all of them.

A replica knows only what it sends itself, and one whose way to the collector is blocked looks well from any other. So
each has an entry in `status.replicas` of the TracingConfiguration, and whoever leads adds them up. Whether a replica is
still there is told by its entry, which changes every now and then: that is watched by the reader's own clock, since
those of replicas may differ.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kymograph.model import tracingconfiguration as model
from kymograph.runtime import tracingstatus

MOST_MESSAGE = 256
"""Characters of a message and an error in a replica's entry, of which there may be many."""

MOST_MANAGER = 128
"""Characters that the API server takes of the name of a field manager."""

Entry = Mapping[str, Any]


def entry(name: str, status: Mapping[str, Any], reported_at: str) -> dict[str, Any]:
    """The entry of a replica.

    Args:
        name: The replica.
        status: What it would say if it were alone (`tracingstatus.render`).
        reported_at: When it says so, RFC 3339.
    """
    return {
        "name": name,
        "observedGeneration": status["observedGeneration"],
        "reportedAt": reported_at,
        "conditions": [{**each, "message": each["message"][:MOST_MESSAGE]} for each in status["conditions"]],
        "exporters": [_shortened(each) for each in status["exporters"]],
    }


def applied(name: str, entries: Sequence[Entry]) -> tuple[dict[str, Any], str]:
    """What a replica applies (server-side), and as which field manager: one entry, or none to take its own out."""
    document = {
        "apiVersion": f"{model.GROUP}/{model.VERSION}",
        "kind": model.KIND,
        "metadata": {"name": model.NAME},
        "status": {"replicas": list(entries)} if entries else {},
    }
    manager = f"kymograph-{name}"
    if len(manager) > MOST_MANAGER:
        manager = f"kymograph-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return document, manager


def entries(document: Mapping[str, Any]) -> list[Entry]:
    """The entries in a TracingConfiguration."""
    return list((document.get("status") or {}).get("replicas") or ())


class Presence:
    """Who of those that have an entry is still there, by what this process saw of their entries.

    Attributes:
        gone: Names of those whose entries have not changed for too long.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Entry, float]] = {}
        self.gone: list[str] = []

    def present(self, found: Iterable[Entry], now: float, patience: float) -> list[Entry]:
        """The entries of those that are there.

        Args:
            found: All entries.
            now: Monotonic seconds.
            patience: Seconds in which an entry changes at least once.
        """
        seen: dict[str, tuple[Entry, float]] = {}
        for each in found:
            before = self._seen.get(each["name"])
            seen[each["name"]] = before if before is not None and before[0] == each else (each, now)
        self._seen = seen
        self.gone = [name for name, (_, at) in seen.items() if now - at > patience]
        return [each for each, at in seen.values() if now - at <= patience]


def combined(own: Mapping[str, Any], others: Sequence[Entry], before: Mapping[str, Any], moment: str) -> dict[str, Any]:
    """The status of a TracingConfiguration, without the entries of replicas.

    It is what the leader says of itself, unless another replica has more to tell: that it does not accept what the
    leader does, that an exporter fails there, or that it has sent what the leader had no occasion to.

    Args:
        own: What the leader says of itself (`tracingstatus.render`).
        others: The entries of the other replicas that are there.
        before: The status as it was.
        moment: The time of a condition's transition, RFC 3339.
    """
    generation = own["observedGeneration"]
    agreeing = [each for each in others if each.get("observedGeneration") == generation]
    exporters = list(_summed([own, *agreeing]))
    accepted, exporting = own["conditions"]
    wrong = next((each for each in agreeing if _condition(each, "Accepted").get("status") == "False"), None)
    if accepted["status"] == "True" and wrong is not None:
        theirs = _condition(wrong, "Accepted")
        message = f"{wrong['name']}: {theirs.get('message')}"[: tracingstatus.MOST_MESSAGE]
        accepted = {**accepted, "status": "False", "reason": theirs.get("reason"), "message": message}
    if exporters and agreeing:
        outcome, reason = _outcome(exporters)
        failing_first = sorted(exporters, key=lambda each: not each.failing)
        message = "; ".join(each.sentence(1 + len(agreeing)) for each in failing_first)
        exporting = {**exporting, "status": outcome, "reason": reason, "message": message[: tracingstatus.MOST_MESSAGE]}
    in_force = sum(_condition(each, "Accepted").get("status") == "True" for each in (own, *agreeing))
    status = {
        **own,
        "conditions": [accepted, exporting],
        "exporters": [each.document() for each in exporters],
        "signals": ", ".join(each.told for each in exporters) or "none",
        "inForce": f"{in_force}/{1 + len(others)}",
    }
    return dated(status, before, moment)


@dataclasses.dataclass(slots=True)
class _Exporter:
    """An exporter, of all replicas."""

    signal: str
    name: str
    endpoint: str
    sent: int = 0
    dropped: int = 0
    last_success: str = ""
    last_error: str = ""
    failing: int = 0

    def add(self, told: Mapping[str, Any]) -> None:
        self.sent += told.get("sent") or 0
        self.dropped += told.get("dropped") or 0
        self.last_success = max(self.last_success, told.get("lastSuccess") or "")
        if "lastError" in told:
            self.failing += 1
            self.last_error = self.last_error or told["lastError"]

    @property
    def told(self) -> str:
        what = f"{self.signal} to {self.name}" if self.name else self.signal
        return f"{what} (failing)" if self.failing else what if self.last_success else f"{what} (nothing sent)"

    def sentence(self, replicas: int) -> str:
        if self.failing:
            of = f" (on {self.failing} of {replicas} replicas)"
            return f"{self.endpoint} does not take {self.signal}: {self.last_error}{of}"
        if self.last_success:
            return f"{self.endpoint} takes {self.signal}"
        return f"no {self.signal} were sent to {self.endpoint} yet"

    def document(self) -> dict[str, Any]:
        said = {
            "signal": self.signal,
            "name": self.name,
            "endpoint": self.endpoint,
            "sent": self.sent,
            "dropped": self.dropped,
            "lastSuccess": self.last_success,
            "lastError": self.last_error,
            "failing": self.failing,
        }
        optional = ("name", "lastSuccess", "lastError")
        return {key: value for key, value in said.items() if value or key not in optional}


def _summed(told: Iterable[Mapping[str, Any]]) -> Iterator[_Exporter]:
    found: dict[tuple[str, str], _Exporter] = {}
    for status in told:
        for each in status.get("exporters") or ():
            key = each["signal"], each.get("name") or ""
            found.setdefault(key, _Exporter(*key, each["endpoint"])).add(each)
    return iter(found.values())


def _outcome(exporters: Sequence[_Exporter]) -> tuple[str, str]:
    if any(each.failing for each in exporters):
        return "False", "ExportFailed"
    return ("True", "Delivered") if all(each.last_success for each in exporters) else ("Unknown", "NothingSent")


def _condition(told: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((each for each in told.get("conditions") or () if each.get("type") == kind), {})


def dated(status: Mapping[str, Any], before: Mapping[str, Any], moment: str) -> dict[str, Any]:
    """A status whose conditions have the times of their transitions.

    Args:
        status: What is to be said.
        before: What was said before.
        moment: The time of a transition, RFC 3339.
    """
    conditions = [_dated(each, _condition(before, each["type"]), moment) for each in status["conditions"]]
    return {**status, "conditions": conditions}


def _dated(condition: Mapping[str, Any], before: Mapping[str, Any], moment: str) -> dict[str, Any]:
    same = before.get("status") == condition["status"]
    return {**condition, "lastTransitionTime": (same and before.get("lastTransitionTime")) or moment}


def _shortened(exporter: Mapping[str, Any]) -> dict[str, Any]:
    if "lastError" not in exporter:
        return dict(exporter)
    return {**exporter, "lastError": exporter["lastError"][:MOST_MESSAGE]}
