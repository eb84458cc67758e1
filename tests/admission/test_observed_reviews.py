"""Reviews of what the operator itself reads are traced, counted and logged like those of resources."""

import json
import logging
import time

import pytest

from fakes import traced
from kymograph.controllers import policies
from kymograph.controllers.admission import decisions, observing, server, webhooks
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.telemetry import current, settings
from support import pods

REFUSED = {"uid": "u-1", "allowed": False, "status": {"message": "it is wrong", "code": 422}, "warnings": ["old form"]}
ALLOWED = {"uid": "u-1", "allowed": True, "warnings": ["goes soon"]}


class Entry:
    """Reviews whose answer is given; what goes on while it is made is what `during` does."""

    def __init__(self, kept):
        self.kept, self.response = kept, REFUSED
        metrics = ReviewMetrics(kept.telemetry.instruments, policies.PolicyStore())
        denials = decisions.Decisions(time.monotonic_ns, lambda: None)
        self.answer = observing.Observed(kept.telemetry, metrics, denials).handler(self.judge)

    async def judge(self, document):
        assert document["kind"] == "AdmissionReview"
        self.during()
        return {"response": self.response}

    def during(self):
        pass

    async def send(self, document):
        body = json.dumps(document).encode()
        http = server.Request(webhooks.POLICIES_PATH, body, time.monotonic_ns() + 10**10, b"application/json")
        return json.loads(await self.answer(http))["response"]


@pytest.fixture
async def entry():
    async with traced.kept() as kept:
        yield Entry(kept)


async def test_the_answer_is_the_judges(entry):
    """Whether it allows or denies."""
    for response in (REFUSED, ALLOWED):
        entry.response = response
        assert await entry.send(pods.create()) == response


async def test_a_denial_is_told_in_the_span_as_the_user_reads_it(entry):
    """With its own status, and what was warned of."""
    await entry.send(pods.create())
    (span,) = entry.kept.finished()
    said = {key.rpartition("admission.response.")[2]: value for key, value in span.attributes.items()}
    assert (said["allowed"], said["warnings"]) == (False, ("old form",))
    assert (said["result.status"], said["result.code"], said["result.message"]) == ("Failure", 422, "it is wrong")
    assert "result.reason" not in said
    assert [event.name for event in span.events] == ["kymograph.denied"]


async def test_a_denial_is_a_record_and_carries_the_link_to_its_trace(entry, caplog):
    """The same record, and the same warning, as where a rule denies."""
    link = "https://jaeger.example/trace/{trace_id}"
    wanted = {"traces": {"endpoint": "collector:4317", "samplingRatePerMillion": 1_000_000, "decisionLink": link}}
    await entry.kept.telemetry.apply(settings.from_spec(wanted))
    caplog.set_level(logging.INFO, decisions.__name__)
    response = await entry.send(pods.create())
    (span,) = entry.kept.finished()
    url = link.format(trace_id=f"{span.context.trace_id:032x}")
    assert response["warnings"] == ["old form", f"The trace of this decision: {url}"]
    (record,) = caplog.records
    assert record.decision["rules"] == []
    assert (record.decision["message"], record.decision["trace"]) == ("it is wrong", url)


async def test_what_is_allowed_is_no_record_and_carries_no_link(entry, caplog):
    """But it is a span, and counted."""
    caplog.set_level(logging.INFO, decisions.__name__)
    entry.response = ALLOWED
    await entry.send(pods.create())
    (span,) = entry.kept.finished()
    assert span.attributes["admission.response.warnings"] == ("goes soon",)
    assert not caplog.records
    (counted,) = [each for each in entry.kept.scrape() if each.startswith("admission_requests_total{")]
    assert 'request_allowed="true"' in counted


async def test_calls_and_records_of_the_judge_belong_to_the_review(entry):
    """Also where Kopf's dispatch, which knows nothing of them, stands between."""
    spans = current.ClientSpans(entry.kept.telemetry.tracer, time.monotonic_ns)
    seen = []

    def during():
        seen.append(current.context())
        with spans.start("KUBE create subjectaccessreviews", {}):
            pass

    entry.during = during
    await entry.send(pods.create())
    of_call, of_review = sorted(entry.kept.finished(), key=lambda span: span.parent is None)
    assert of_call.parent.span_id == of_review.context.span_id
    assert seen == [(of_review.context.trace_id, of_review.context.span_id)]
