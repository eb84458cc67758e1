"""Reviews of what the operator itself reads are traced, counted and logged like those of resources."""

import asyncio
import base64
import contextlib
import json
import logging
import time

import pytest

from fakes import traced
from kymograph.controllers import policies
from kymograph.controllers.admission import decisions, observing, server, webhooks
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.runtime import logs
from kymograph.telemetry import credentials, current, settings
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

    async def ask(self, document, within=10**10):
        body = json.dumps(document).encode()
        return await self.answer(
            server.Request(webhooks.POLICIES_PATH, body, time.monotonic_ns() + within, b"application/json")
        )

    async def send(self, document):
        return json.loads(await self.ask(document))["response"]


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


def denied(caplog):
    """The records of denials: whatever else runs in this process may log, too."""
    return [record for record in caplog.records if record.name == decisions.__name__]


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
    (record,) = denied(caplog)
    assert record.decision["rules"] == []
    assert (record.decision["message"], record.decision["trace"]) == ("it is wrong", url)


async def test_what_is_allowed_is_no_record_and_carries_no_link(entry, caplog):
    """But it is a span, and counted."""
    caplog.set_level(logging.INFO, decisions.__name__)
    entry.response = ALLOWED
    await entry.send(pods.create())
    (span,) = entry.kept.finished()
    assert span.attributes["admission.response.warnings"] == ("goes soon",)
    assert not denied(caplog)
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


PLANTED = "hunter2-and-more"


def of_a_secret():
    """The review of a Secret with a value that nobody is told."""
    document = pods.create("keys")
    metadata = document["request"]["object"]["metadata"]
    kind = {"group": "", "version": "v1", "kind": "Secret"}
    data = {"password": base64.b64encode(PLANTED.encode()).decode()}
    document["request"] |= {"kind": kind, "object": {"kind": "Secret", "metadata": metadata, "data": data}}
    return document


async def test_a_judge_that_raises_is_an_error_of_its_trace_and_a_record(entry, caplog, monkeypatch):
    """Answered as by the server, where nobody catches it: with 500, counted as refused, never as allowed."""

    def during():
        raise KeyError(f"no {PLANTED}")

    told = []
    monkeypatch.setattr(
        caplog.handler, "emit", lambda record: told.append(json.loads(logs.JsonFormatter().format(record)))
    )
    entry.during = during
    assert await entry.ask(of_a_secret()) == server.FAILED.response
    (span,) = entry.kept.finished()
    assert (span.kind.name, span.status.status_code.name) == ("SERVER", "ERROR")
    assert span.attributes["error.type"] == "KeyError"
    assert span.attributes["http.response.status_code"] == 500
    assert "admission.response.allowed" not in span.attributes
    (event,) = span.events
    assert (event.name, event.attributes["exception.type"]) == ("exception", "KeyError")
    assert credentials.REDACTED in event.attributes["exception.message"]
    assert PLANTED not in span.to_json()
    (record,) = (each for each in told if each.get("trace_id"))  # what others may log is of no trace
    assert (record["level"], record["trace_id"]) == ("error", f"{span.context.trace_id:032x}")
    assert "KeyError" in record["exception"]
    assert PLANTED not in json.dumps(record)
    assert entry.kept.scrape()['admission_refused_total{reason="failed"}'] == 1


async def test_a_review_that_a_check_made_kopf_deny_says_what_it_raised(entry):
    """Kopf answers for a check that raises: a denial, as before, and an error besides."""

    class Refusal(Exception):
        pass

    def during():
        for error in (Refusal("as it should be"), LookupError("nobody knows")):
            with contextlib.suppress(Refusal, LookupError), observing.noting(Refusal):
                raise error

    entry.during, entry.response = during, REFUSED | {"status": {"message": "nobody knows", "code": 500}}
    assert await entry.send(pods.create()) == entry.response
    (span,) = entry.kept.finished()
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "nobody knows")
    assert span.attributes["admission.response.allowed"] is False
    assert [event.name for event in span.events] == ["kymograph.denied", "exception"]
    assert span.attributes["error.type"] == span.events[1].attributes["exception.type"] == "LookupError"


async def test_a_review_that_nobody_answers_in_time_is_an_error(entry):
    """The server has answered by then; the task that judges is cancelled, and tells what it was about."""
    forever = asyncio.Event()

    async def judge(_document):
        await forever.wait()

    metrics = ReviewMetrics(entry.kept.telemetry.instruments, policies.PolicyStore())
    entry.answer = observing.Observed(entry.kept.telemetry, metrics, None).handler(judge)
    waiting = asyncio.create_task(entry.ask(pods.create(), within=0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (span,) = entry.kept.finished()
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "there was no answer in time")
    assert span.attributes["http.response.status_code"] == 504


def of_kind(kind, version, document, **asked):
    """The review of an object of the group `kyverno.io`."""
    review = pods.create("p")
    named = {"group": "kyverno.io", "version": version, "kind": kind}
    review["request"] |= {"kind": named, "requestKind": named, "object": document, **asked}
    return review


OLD = {
    "spec": {
        "validationFailureAction": "enforce",
        "rules": [
            {"name": "a", "validate": {"failureAction": "audit"}},
            {"name": "b", "validate": {"failureAction": "Audit", "failureActionOverrides": [{"action": "enforce"}]}},
        ],
    }
}


async def test_what_kyverno_has_deprecated_is_counted_as_by_it(entry):
    """Each kind and each field, by the version that was written; of cleanup policies only what is allowed."""
    written = {"group": "kyverno.io", "version": "v2beta1", "kind": "ClusterPolicy"}
    await entry.send(of_kind("ClusterPolicy", "v1", OLD, requestKind=written))
    await entry.send(of_kind("CleanupPolicy", "v2", {}))
    entry.response = ALLOWED
    for kind, version in (("ClusterCleanupPolicy", "v2"), ("PolicyException", "v2"), ("GlobalContextEntry", "v2")):
        await entry.send(of_kind(kind, version, {"spec": None}))
    await entry.send(pods.create())
    name = "deprecated_api_requests_total"
    fields = (
        *("", "spec.validationFailureAction", "spec.rules[].validate.failureAction"),
        "spec.rules[].validate.failureActionOverrides[].action",
    )
    wanted = {("v2beta1", "ClusterPolicy", field) for field in fields}
    wanted |= {("v2", "ClusterCleanupPolicy", ""), ("v2", "PolicyException", "")}
    assert {series: value for series, value in entry.kept.scrape().items() if series.startswith(name)} == {
        f'{name}{{group="kyverno.io",version="{version}",kind="{kind}",field="{field}"}}': 1
        for version, kind, field in wanted
    }
