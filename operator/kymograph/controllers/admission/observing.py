"""Reviews of what the operator itself reads: traced, counted and logged like those of resources, judged elsewhere.

Policies and what goes with them are judged by Kopf's handlers, labels that say when an object goes by who follows them.
Here nothing is decided: the answer is the judge's, with the link to its trace where a denial is to carry one. A judge
that raises is a defect, and the trace of its review says which; the answer is the one that the server has for that.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from kymograph.controllers import redaction
from kymograph.controllers.admission import decisions, deprecations, server, spans
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.model import admission
from kymograph.telemetry import current, subject
from kymograph.telemetry.providers import Telemetry
from kymograph.telemetry.recorder import Event, Recorder

logger = logging.getLogger(__name__)

Judge = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Takes an AdmissionReview, its shape checked, and gives the one that answers it."""

_UNSAID = 400
"""What API servers make of a denial without a status."""

_defects: contextvars.ContextVar[list[Exception] | None] = contextvars.ContextVar("kymograph.defects", default=None)


@contextlib.contextmanager
def noting(refusal: type[Exception]) -> Iterator[None]:
    """Note an exception that leaves the block, other than a refusal, as what a judge of this review raised.

    Kopf makes a denial of every exception of its handlers; which one it was would be lost.
    """
    try:
        yield
    except refusal:
        raise
    except Exception as error:
        noted = _defects.get()
        if noted is not None:
            noted.append(error)
        raise


class _Review(NamedTuple):
    """One review: how it came, what it asks, its record, and what of it nobody is told."""

    http: server.Request
    request: dict[str, Any]
    recorder: Recorder
    hidden: redaction.Redaction | None

    @property
    def namespace(self) -> str:
        return self.request.get("namespace") or ""

    @property
    def about(self) -> subject.Subject:
        return subject.Subject(self.request["uid"], None if self.hidden is None else self.hidden.text)


class Observed:
    """Observes reviews.

    Args:
        telemetry: Where spans go.
        metrics: What is counted.
        denials: Logs what was denied; None for nobody.
        clock: Monotonic nanoseconds, the clock of telemetry.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        metrics: ReviewMetrics,
        denials: decisions.Decisions | None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._telemetry = telemetry
        self._metrics = metrics
        self._denials = denials
        self._clock = clock

    def handler(self, judge: Judge) -> server.Handler:
        """What answers as a judge does; 400 with the reason where the body is no AdmissionReview, 500 if it raises."""

        async def handle(http: server.Request) -> server.Answer:
            started = self._clock()
            try:
                document = orjson.loads(http.body)
                request = admission.request_of(document)
            except ValueError as error:
                self._metrics.refused("malformed_review")
                return server.Response(400, orjson.dumps({"error": f"malformed_review: {error}"}))
            recorder = self._telemetry.begin(
                http.traceparent, http.tracestate, started, request.get("namespace") or "", http.fields
            )
            hidden = redaction.of(request, self._telemetry.redacted_paths)
            return await self._answer(_Review(http, request, recorder, hidden), document, judge)

        return handle

    async def _answer(self, review: _Review, document: Mapping[str, Any], judge: Judge) -> server.Answer:
        defects: list[Exception] = []
        try:
            with current.serving(review.recorder, review.about):
                answer = await _judged(judge, document, defects)
        except asyncio.CancelledError:
            late = self._clock() >= review.http.deadline
            said = "there was no answer in time" if late else "nobody waits for the answer any more"
            self._unanswered(review, "CancelledError", said, server.DEADLINE.response.status if late else 0)
            raise
        except Exception as error:  # noqa: BLE001 - it is logged where it is raised, and is never an allowed
            failed = server.FAILED
            self._unanswered(review, type(error).__qualname__, str(error), failed.response.status)
            self._metrics.refused(failed.reason)
            return failed.response
        return orjson.dumps(self._answered(review, answer, defects))

    def _answered(self, review: _Review, answer: Mapping[str, Any], defects: list[Exception]) -> Mapping[str, Any]:
        """The answer, with the link to its trace; what came of the review is told."""
        telemetry, (http, request, recorder, _), about = self._telemetry, review, review.about
        response = answer["response"]
        denied = not response["allowed"]
        warnings: list[str] = response.get("warnings") or []
        status = response.get("status") or {}
        ended = self._clock()
        telemetry.judge(recorder, ended, denied=denied, failed=lambda: bool(defects), namespace=review.namespace)
        link = telemetry.decision_link(recorder.decision) if denied else ""
        if link:
            answer = {**answer, "response": {**response, "warnings": [*warnings, decisions.WARNING + link]}}
        message, kept = about.told(status.get("message") or ""), None
        if recorder.decision.recorded:
            name, attributes, events = spans.server_span(
                request,
                message if denied else None,
                [about.told(each) for each in warnings],
                ended,
                http.path,
                user=telemetry.tells_users,
                code=status.get("code") or _UNSAID,
            )
            error = ""
            if defects:
                error = about.told(str(defects[-1])) or type(defects[-1]).__qualname__
                more, event = spans.failure(type(defects[-1]).__qualname__, error, ended)
                attributes, events = {**attributes, **more}, (*events, event)
            kept = self._kept(review, name, attributes, ended, error, events)
        self._metrics.deprecated(deprecations.requested(request, allowed=not denied))
        self._metrics.reviewed(request, not denied, (), ended - recorder.started_ns, kept)
        if denied and self._denials is not None:
            user = telemetry.tells_users
            self._denials.denied(request, (), message, recorder, about, link=link, user=user)
        return answer

    def _unanswered(self, review: _Review, kind: str, message: str, status: int) -> None:
        """There is no verdict: the trace says why, and with which HTTP status it was refused, 0 for none."""
        telemetry, (http, request, recorder, _), ended = self._telemetry, review, self._clock()
        telemetry.judge(recorder, ended, denied=False, failed=lambda: True, namespace=review.namespace)
        if not recorder.decision.recorded:
            return
        message = review.about.told(message)
        name, attributes, _ = spans.server_span(request, None, (), ended, http.path, user=telemetry.tells_users)
        more, event = spans.failure(kind, message, ended)
        attributes = {**spans.unanswered(attributes, status), **more}
        self._kept(review, name, attributes, ended, message or kind, (event,))

    def _kept(
        self,
        review: _Review,
        name: str,
        attributes: Mapping[str, Any],
        ended: int,
        error: str,
        events: Sequence[Event],
    ) -> Recorder | None:
        """The record of a review that is traced; None where there was no room for it."""
        recorder = review.recorder
        if review.hidden is not None:
            recorder.log = review.hidden.steps(recorder.log)
        recorder.finish(name, attributes, ended, error=error, events=events)
        return recorder if self._telemetry.keep(recorder) else None


async def _judged(judge: Judge, document: Mapping[str, Any], defects: list[Exception]) -> Mapping[str, Any]:
    """The answer of a judge; what its checks raised is noted, and logged where nothing else tells of it."""
    token = _defects.set(defects)
    try:
        return await judge(document)
    except Exception:
        logger.exception("A review was not judged; this is a defect of Kymograph")
        raise
    finally:
        _defects.reset(token)
