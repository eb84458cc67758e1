"""From what controllers hand over to what there is to say: worked out later, off the hot path."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.trace import SpanContext

from kymograph.controllers.events import notes
from kymograph.controllers.events.recorder import Recorder
from kymograph.engine import exceptions, results
from kymograph.engine.rules import outcome
from kymograph.telemetry import roots

_NOTHING: Mapping[str, Any] = {}
_OF_EVENTS = ("", "events.k8s.io")


class Telling:
    """Tells a recorder of reviews and scans.

    Args:
        recorder: Writes Events.
        excepted: Gives the PolicyExceptions of the moment.
    """

    def __init__(self, recorder: Recorder, excepted: Callable[[], exceptions.Exceptions]) -> None:
        self._recorder = recorder
        self._excepted = excepted
        self.look_again()

    def look_again(self) -> None:
        """What the recorder wants has changed."""
        omitted = self._recorder.omitted
        self._says_applied = notes.Reason.POLICY_APPLIED not in omitted
        self._says_skipped = notes.Reason.POLICY_SKIPPED not in omitted
        self._wanted = frozenset(
            [
                *((outcome.FAIL, outcome.ERROR) if notes.Reason.POLICY_VIOLATION not in omitted else ()),
                *((outcome.PASS,) if self._says_applied else ()),
                *((outcome.SKIP,) if self._says_skipped else ()),
            ]
        )

    def reviewed(
        self,
        request: Mapping[str, Any],
        found: Sequence[results.PolicyResult],
        *,
        blocked: bool,
        link: str = "",
        cause: SpanContext | None = None,
    ) -> None:
        """A review was answered. For the hot path: microseconds where there is nothing to say, nothing raised.

        Args:
            request: The AdmissionRequest; it is not held.
            found: What policies found.
            blocked: It was denied.
            link: Where its trace can be looked at; empty for nowhere.
            cause: Its span; None where that is not kept.
        """
        wanted = self._wanted
        for result in found:
            for rule in result.rules:
                if rule.status in wanted:
                    if not request.get("dryRun"):
                        self._remember(request, found, blocked=blocked, link=link, cause=cause)
                    return

    def scanned(self, subject: notes.Reference, found: Sequence[results.PolicyResult]) -> None:
        """An object was scanned, and what was found is news."""
        wanted = self._wanted
        if any(rule.status in wanted or rule.status == outcome.WARN for result in found for rule in result.rules):
            excepted, omitted = self._excepted(), self._recorder.omitted
            self._recorder.later(
                lambda: notes.of_scan(subject, found, excepted=excepted, omitted=omitted), cause=roots.cause()
            )

    def _remember(
        self,
        request: Mapping[str, Any],
        found: Sequence[results.PolicyResult],
        *,
        blocked: bool,
        link: str,
        cause: SpanContext | None,
    ) -> None:
        kind = request["kind"]
        if kind["kind"] == "Event" and kind["group"] in _OF_EVENTS:
            return  # an Event about an Event would be followed by an Event about that one
        metadata = (request.get("object") or request.get("oldObject") or _NOTHING).get("metadata") or _NOTHING
        name = metadata.get("name") or request.get("name")
        if not isinstance(name, str) or not name:
            return
        uid = metadata.get("uid")
        subject = notes.Reference(
            f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"],
            kind["kind"],
            "" if kind["kind"] == "Namespace" else request.get("namespace") or "",
            name,
            uid if isinstance(uid, str) else "",
        )
        excepted, omitted = self._excepted(), self._recorder.omitted
        self._recorder.later(
            lambda: notes.of_review(subject, found, blocked=blocked, excepted=excepted, omitted=omitted), link, cause
        )
