"""The record of each denial in the log: what was refused, to whose object, by which rules, and where its trace is.

A flood of denials is as cheap to cause as a flood of requests, so only so many are written in a second; the others are
counted. Nothing of the object itself is written, and nothing that a policy said about a Secret: a message may quote
what it judges.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kymograph.apimachinery import objectkey
from kymograph.engine.results import PolicyResult
from kymograph.engine.rules import outcome
from kymograph.telemetry import capping, credentials, current, subject
from kymograph.telemetry.recorder import Recorder

logger = logging.getLogger(__name__)

PER_SECOND = 50
"""Records a second, and as many at once: of about a kilobyte each."""

MOST_RULES = 16
"""Rules named in one record."""

MOST_TEXT = 256
"""Characters of a message, and of each name: those in a review were not checked by anybody yet."""

WARNING = "The trace of this decision: "
"""What stands before the link in the warning that the author of a denied request sees."""

_DENYING = (outcome.FAIL, outcome.ERROR)


class Decisions:
    """Logs denials.

    Args:
        clock: Monotonic nanoseconds.
        dropped: Counts a denial that is not logged.
    """

    def __init__(self, clock: Callable[[], int], dropped: Callable[[], None]) -> None:
        self._clock = clock
        self._dropped = dropped
        self._cap = capping.Cap(PER_SECOND)

    def denied(
        self,
        request: Mapping[str, Any],
        results: Sequence[PolicyResult],
        message: str,
        recorder: Recorder,
        what: subject.Subject,
        *,
        link: str = "",
        user: bool = False,
    ) -> None:
        """A request was denied.

        Args:
            request: The AdmissionRequest, its shape checked.
            results: What policies found.
            message: What its author is told; logged where no rule stands behind the denial.
            recorder: Its record: the log's line is part of its trace.
            what: What the request is about, and nobody is to be told.
            link: Where its trace can be looked at; empty for nowhere.
            user: Whether to say who made the request.
        """
        if not logger.isEnabledFor(logging.INFO):
            return
        if not self._cap.admits(self._clock()):
            self._dropped()
            return
        decision = _described(request)
        secret = decision["kind"] == "Secret" and not decision["group"]
        decision["rules"] = rules = list(_rules(results, secret=secret))
        if not rules and not secret:
            decision["message"] = _cut(message.strip())
        if user:
            decision["user"] = _cut(str((request.get("userInfo") or {}).get("username") or ""))
        if link:
            decision["trace"] = link
        place = objectkey.of(decision["namespace"], decision["name"])
        by = ", ".join(f"{rule['policy']}/{rule['rule']}" for rule in rules if rule["action"] != "Audit")
        with current.serving(recorder, what):
            logger.info(
                "Denied: %s %s %s%s",
                decision["operation"],
                _printable(decision["kind"]),
                _printable(place),
                f" by {by}" if by else "",
                extra={"decision": decision},
            )


def _described(request: Mapping[str, Any]) -> dict[str, Any]:
    metadata = (request.get("object") or request.get("oldObject") or {}).get("metadata") or {}
    kind = request["kind"]
    return {
        "uid": _cut(request["uid"]),
        "operation": request["operation"],
        "group": _cut(kind["group"]),
        "kind": _cut(kind["kind"]),
        "namespace": _cut(request.get("namespace") or ""),
        "name": _cut(request.get("name") or metadata.get("name") or metadata.get("generateName") or ""),
        "dryRun": bool(request.get("dryRun")),
    }


def _rules(results: Sequence[PolicyResult], *, secret: bool) -> Iterator[dict[str, str]]:
    found = [(result, rule) for result in results for rule in result.rules if rule.status in _DENYING]
    found.sort(key=lambda each: each[1].action == "Audit")  # what denies comes before what only failed, too
    for (result, rule), _ in zip(found, range(MOST_RULES), strict=False):
        said = {"policy": result.policy.key, "rule": rule.rule.name, "action": rule.action, "result": rule.status}
        yield said if secret else {**said, "message": _cut(rule.message)}


def _cut(text: str) -> str:
    text = credentials.redacted(text)
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _printable(text: str) -> str:
    """The text where a line of a log can hold it, else its escaped form: no name may forge a line."""
    return text if text.isprintable() else ascii(text)
