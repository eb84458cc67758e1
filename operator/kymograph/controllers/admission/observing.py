"""Reviews of what the operator itself reads: traced, counted and logged like those of resources, judged elsewhere.

Policies and what goes with them are judged by Kopf's handlers, labels that say when an object goes by who follows them.
Here nothing is decided: the answer is the judge's, with the link to its trace where a denial is to carry one.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from kymograph.controllers import redaction
from kymograph.controllers.admission import decisions, server
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.admission.spans import server_span
from kymograph.model import admission
from kymograph.telemetry import current, subject
from kymograph.telemetry.providers import Telemetry

Judge = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Takes an AdmissionReview, its shape checked, and gives the one that answers it."""

_UNSAID = 400
"""What API servers make of a denial without a status."""


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
        """What answers as a judge does; 400 with the reason where the body is no AdmissionReview."""

        async def handle(http: server.Request) -> server.Answer:
            started = self._clock()
            try:
                document = orjson.loads(http.body)
                request = admission.request_of(document)
            except ValueError as error:
                self._metrics.refused("malformed_review")
                return server.Response(400, orjson.dumps({"error": f"malformed_review: {error}"}))
            return orjson.dumps(await self._answer(http, document, request, started, judge))

        return handle

    async def _answer(
        self, http: server.Request, document: Mapping[str, Any], request: dict[str, Any], started: int, judge: Judge
    ) -> Mapping[str, Any]:
        telemetry, namespace = self._telemetry, request.get("namespace") or ""
        recorder = telemetry.begin(http.traceparent, http.tracestate, started, namespace, http.fields)
        hidden = redaction.of(request, telemetry.redacted_paths)
        about = subject.Subject(request["uid"], None if hidden is None else hidden.text)
        with current.serving(recorder, about):
            answer = await judge(document)
        response = answer["response"]
        denied = not response["allowed"]
        warnings: list[str] = response.get("warnings") or []
        status = response.get("status") or {}
        ended = self._clock()
        telemetry.judge(recorder, ended, denied=denied, namespace=namespace)
        link = telemetry.decision_link(recorder.decision) if denied else ""
        if link:
            answer = {**answer, "response": {**response, "warnings": [*warnings, decisions.WARNING + link]}}
        message, kept = about.told(status.get("message") or ""), None
        if recorder.decision.recorded:
            name, attributes, events = server_span(
                request,
                message if denied else None,
                [about.told(each) for each in warnings],
                ended,
                http.path,
                user=telemetry.tells_users,
                code=status.get("code") or _UNSAID,
            )
            recorder.finish(name, attributes, ended, events=events)
            kept = recorder if telemetry.keep(recorder) else None
        self._metrics.reviewed(request, not denied, (), ended - started, kept)
        if denied and self._denials is not None:
            user = telemetry.tells_users
            self._denials.denied(request, (), message, recorder, about, link=link, user=user)
        return answer
