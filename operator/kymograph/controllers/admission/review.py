"""One AdmissionReview, from the bytes of the request to the bytes of the answer: the hot path.

One decode, a look-up of the policies that may match, an evaluation that copies nothing, one encode. All of it happens
in the call that brought the bytes; only a policy that needs something from outside makes a task of the request.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import orjson

from kymograph.controllers import policies as stores
from kymograph.controllers.admission import server
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.admission.spans import server_span
from kymograph.engine import budget, evaluate, needs, verdict
from kymograph.engine.policy import CompiledPolicy
from kymograph.engine.rules import outcome
from kymograph.model import admission
from kymograph.telemetry import current
from kymograph.telemetry.providers import Telemetry
from kymograph.telemetry.sampling import Decision

logger = logging.getLogger(__name__)

STEPS = 2_000_000
"""Steps one review may take: about two seconds of work."""

Failure = Literal["Fail", "Ignore"]


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


class Reviews:
    """Answers reviews by the policies of the moment.

    Args:
        store: The policies.
        facts: Knows the cluster.
        telemetry: Where spans go.
        metrics: What is counted.
        clock: Monotonic nanoseconds, the clock of request deadlines and of telemetry.
        decided: Is told of reviews that were allowed; None for nobody.
    """

    def __init__(
        self,
        store: stores.PolicyStore,
        facts: Facts,
        telemetry: Telemetry,
        metrics: ReviewMetrics,
        clock: Callable[[], int],
        decided: Decided | None = None,
    ) -> None:
        self._store = store
        self._facts = facts
        self.telemetry = telemetry
        self.metrics = metrics
        self.clock = clock
        self.decided = decided

    def validate(self, http: server.Request, failure: Failure) -> server.Answer | Awaitable[server.Answer]:
        """Judge a review by the policies with one failure policy.

        Returns:
            The answer; an awaitable of it where a policy needs something from outside; 400 with the reason where the
            body is no AdmissionReview.
        """
        started = self.clock()
        try:
            request = admission.request_of(orjson.loads(http.body))
        except orjson.JSONDecodeError as error:
            return self._malformed(f"the body is not JSON: {error}")
        except admission.MalformedReview as error:
            return self._malformed(str(error))
        held = self._store.policies.lookup(request, failure)
        review = _Review(self, http, request, started)
        if not held:
            return review.answer(())
        facts = needs.Facts()
        while True:
            try:
                return review.answer(review.judge(held, facts), held)
            except needs.Needed as needed:
                if not self._facts.at_hand(needed.need, facts):
                    return self._with_needs(review, held, facts, needed.need)

    async def _with_needs(
        self, review: "_Review", held: tuple[CompiledPolicy, ...], facts: needs.Facts, need: needs.Need
    ) -> bytes:
        with current.serving(review.recorder):
            while True:
                await self._facts.fetch(need, facts)
                try:
                    return review.answer(review.judge(held, facts), held)
                except needs.Needed as needed:
                    need = needed.need

    def _malformed(self, reason: str) -> server.Response:
        self.metrics.refused("malformed_review")
        return server.Response(400, orjson.dumps({"error": f"malformed_review: {reason}"}))


class _Review:
    """What belongs to one review."""

    __slots__ = ("_http", "_owner", "_request", "_started", "recorder")

    def __init__(self, owner: Reviews, http: server.Request, request: dict[str, Any], started: int) -> None:
        self._owner = owner
        self._http = http
        self._request = request
        self._started = started
        self.recorder = owner.telemetry.begin(http.traceparent, http.tracestate, started)

    def judge(self, held: tuple[CompiledPolicy, ...], facts: needs.Facts) -> tuple[evaluate.PolicyResult, ...]:
        clock = self._owner.clock
        return evaluate.evaluate(
            held,
            self._request,
            facts,
            budget.Budget(steps=STEPS, deadline=self._http.deadline, clock=clock),
            clock,
            self.recorder if self.recorder.recording else None,
        )

    def answer(self, results: tuple[evaluate.PolicyResult, ...], evaluated: tuple[CompiledPolicy, ...] = ()) -> bytes:
        request, owner = self._request, self._owner
        judged = verdict.of(results, request)
        if self.recorder.recording:
            owner.telemetry.judge(
                self.recorder,
                owner.clock(),
                denied=judged.blocked,
                failed=lambda: _any_error(results),
                namespace=request.get("namespace") or "",
                policies=lambda: [result.policy.key for result in results],
            )
        document = admission.response(
            request["uid"],
            allowed=not judged.blocked,
            message=judged.message,
            warnings=judged.warnings,
            audit_annotations=self._annotations(),
        )
        answer = orjson.dumps(document)
        ended = owner.clock()
        kept = None
        if self.recorder.decision.recorded:
            name, attributes, events = server_span(
                request,
                judged.message if judged.blocked else None,
                judged.warnings,
                ended,
                user=owner.telemetry.tells_users,
            )
            self.recorder.finish(name, attributes, ended, events=events)
            kept = self.recorder if owner.telemetry.keep(self.recorder) else None
        owner.metrics.reviewed(request, not judged.blocked, results, ended - self._started, kept)
        if evaluated and not judged.blocked and owner.decided is not None:
            owner.decided(request, evaluated, results, self.recorder.decision)
        for result in results:
            for rule in result.rules:
                if rule.exception is not None:
                    _log_defect(result, rule)
        return answer

    def _annotations(self) -> dict[str, str]:
        """What the audit event of this request is to say: which object, which trace, which change."""
        request = self._request
        metadata = (request.get("object") or request.get("oldObject") or {}).get("metadata") or {}
        resource = request["resource"]
        name = metadata.get("name") or request.get("name") or ""
        annotations = {
            "object": f"{resource['group']}/{resource['resource']}/{request.get('namespace') or ''}/{name}"
            f"/{metadata.get('uid') or ''}",
            "digest": hashlib.sha256(self._http.body).hexdigest()[:32],  # processors help: half BLAKE2's time
        }
        if self.recorder.decision.recorded or self.recorder.decision.parent is not None:
            annotations["traceparent"] = self.recorder.traceparent
        return annotations


def _any_error(results: Sequence[evaluate.PolicyResult]) -> bool:
    return bool([rule for result in results for rule in result.rules if rule.status == outcome.ERROR])


def _log_defect(result: evaluate.PolicyResult, rule: evaluate.RuleResult) -> None:
    logger.error(
        "Rule %s of policy %s raised what it may not raise; this is a defect of Kymograph",
        rule.rule.name,
        result.policy.key,
        exc_info=rule.exception,
    )
