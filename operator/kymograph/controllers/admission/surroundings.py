"""Whom a review asks and tells, and what is said of a rule that did what it may not."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kymograph.engine import evaluate, needs
from kymograph.engine.policy import CompiledPolicy
from kymograph.engine.rules import outcome
from kymograph.telemetry import current, subject
from kymograph.telemetry.recorder import Recorder
from kymograph.telemetry.sampling import Decision

logger = logging.getLogger(__name__)


class Facts(Protocol):
    """Knows the cluster: what policies need to know beyond the request."""

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Add what a need turns out to be where that is known without asking anybody; whether it is."""

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Find out what a need turns out to be and add it, or the reason why it cannot be known."""


class Decided(Protocol):
    """Is told of reviews that were allowed, on the hot path: it returns at once, raises nothing, keeps no object."""

    def __call__(
        self,
        request: Mapping[str, Any],
        evaluated: Sequence[CompiledPolicy],
        results: Sequence[evaluate.PolicyResult],
        decision: Decision,
    ) -> None:
        """The policies evaluated found this in the request's object, in a request of that trace."""


class Mutated(Protocol):
    """Is told of objects that policies changed, or might have; on the hot path, like `Decided`."""

    def __call__(
        self,
        request: Mapping[str, Any],
        made: Mapping[str, Any],
        evaluated: Sequence[CompiledPolicy],
        results: Sequence[evaluate.PolicyResult],
        decision: Decision,
    ) -> None:
        """The policies evaluated made this of the request's object, in a request of that trace."""


def annotations(request: Mapping[str, Any], body: bytes | bytearray, recorder: Recorder) -> dict[str, str]:
    """What the audit event of a request is to say: which object, which trace, which change."""
    metadata = (request.get("object") or request.get("oldObject") or {}).get("metadata") or {}
    resource = request["resource"]
    name = metadata.get("name") or request.get("name") or ""
    said = {
        "object": f"{resource['group']}/{resource['resource']}/{request.get('namespace') or ''}/{name}"
        f"/{metadata.get('uid') or ''}",
        "digest": hashlib.sha256(body).hexdigest()[:32],  # processors help: half BLAKE2's time
    }
    if recorder.decision.recorded or recorder.decision.parent is not None:
        said["traceparent"] = recorder.traceparent
    return said


def any_error(results: Sequence[evaluate.PolicyResult]) -> bool:
    """Whether some rule could not be evaluated."""
    return bool([rule for result in results for rule in result.rules if rule.status == outcome.ERROR])


def log_defects(results: Sequence[evaluate.PolicyResult], recorder: Recorder, uid: str) -> None:
    """Log which rules raised what they may not raise, in the trace of their review.

    Args:
        results: What was found, as it may be told.
        recorder: The record of the review.
        uid: Its uid.
    """
    for result in results:
        for rule in result.rules:
            if rule.exception is not None:
                with current.serving(recorder, subject.Subject(uid)):
                    logger.error(
                        "Rule %s of policy %s raised what it may not raise; this is a defect of Kymograph",
                        rule.rule.name,
                        result.policy.key,
                        exc_info=rule.exception,
                    )
