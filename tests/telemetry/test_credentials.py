"""Tokens are taken out of all that is told to others."""

import contextlib
import datetime as dt
import logging

import pytest
from opentelemetry.trace import NoOpTracer

from fakes import traced
from kymograph.controllers.events import notes, recorder
from kymograph.controllers.reports import findings
from kymograph.runtime import logs
from kymograph.telemetry import credentials, rendering, subject
from support.reporting import FOUND_AT, compiled, result_of

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"Authorization: Bearer {JWT}, and so on", "Authorization: Bearer [redacted], and so on"),
        (f"the token {JWT} is wrong", "the token [redacted] is wrong"),
        ("authorization=basic dXNlcjpodW50ZXIy==", "authorization=basic [redacted]"),
        ("Bearer 0123456789abcdef", "Bearer [redacted]"),
        ("BEARER 0123456789abcdef", "BEARER [redacted]"),
        ("bEaReR 0123456789abcdef", "bEaReR [redacted]"),
        ("AUTHORIZATION: BASIC dXNlcjpodW50ZXIy", "AUTHORIZATION: BASIC [redacted]"),
        ("the bearer certificate", "the bearer certificate"),
        ("a basic requirement of everybody", "a basic requirement of everybody"),
        ("eyJ is how they begin", "eyJ is how they begin"),
        ("registry.example/app:v1.2.3", "registry.example/app:v1.2.3"),
        ("", ""),
    ],
)
def test_a_token_is_known_by_its_form(text, left):
    """The credentials of a header, and JSON Web Tokens; words that only look like one stay."""
    assert credentials.redacted(text) == left


def ways_out():
    """A text as each of the ways out tells it."""
    said = f"the header is Bearer {JWT}"
    record = logging.LogRecord("kymograph", logging.INFO, "", 0, "%s", (said,), None)
    error = ValueError(said)
    failed = logging.LogRecord("kymograph", logging.ERROR, "", 0, "no", (), (ValueError, error, None))
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    writer = recorder.Recorder(None, lambda: 0, lambda: now, "host", lambda: None, lambda _: NoOpTracer())
    about = notes.Reference("v1", "Pod", "shop", "web")
    reason, action = notes.Reason.POLICY_VIOLATION, notes.Action.BLOCKED
    note = notes.Note(about, None, reason, action, notes.Source.ADMISSION, said)
    yield "span", rendering.bounded(said)
    for formatter in (logs.JsonFormatter(), logs.TextFormatter()):
        yield type(formatter).__name__, formatter.format(record)
        yield f"{type(formatter).__name__} of an exception", formatter.format(failed)
    yield "report", findings.rows(findings.Found(result_of(compiled(), "fail", said), FOUND_AT))[0]["message"]
    yield "Event", writer._document(note, "")["note"]


@pytest.mark.parametrize("told", [pytest.param(text, id=way) for way, text in ways_out()])
def test_no_way_out_tells_of_a_token(told):
    assert JWT not in told
    assert "Bearer [redacted]" in told


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no https://jane:hunter2@host/x", "no https://[redacted]@host/x"),
        ("no https://ghp_0123456789@host/x", "no https://[redacted]@host/x"),
        ("GET https://host/x?page=1&access_token=abc#top", "GET https://host/x?page=1&access_token=[redacted]#top"),
        ("GET /x?X-Amz-Signature=0a1b&a=b", "GET /x?X-Amz-Signature=[redacted]&a=b"),
        ('"https://host/x?api_key=abc"', '"https://host/x?api_key=[redacted]"'),
        ("oci://image@sha256:0a1b", "oci://image@sha256:0a1b"),
        ("https://host/@jane", "https://host/@jane"),
        ("is the token=abc? no", "is the token=abc? no"),
        ("see https://wiki/x?page=3", "see https://wiki/x?page=3"),
    ],
)
def test_credentials_in_urls_are_known_by_where_they_stand(text, left):
    """The user, and parameters named like a secret; digests and pages are none."""
    assert credentials.redacted(text) == left


async def test_an_exception_that_leaves_background_work_is_told_without_tokens_and_queries():
    """OpenTelemetry writes it into an event; what is there besides stays, and so does a span that has nothing of it."""
    said = f"GET https://jane:pw@host/path?a=secret failed: Bearer {JWT}"
    async with traced.kept() as kept:
        with (
            contextlib.suppress(ValueError),
            kept.telemetry.tracer.start_as_current_span("WORK odd", attributes={"url": said, "left": ("as", "is")}),
        ):
            raise ValueError(said)
        with kept.telemetry.tracer.start_as_current_span("WORK plain", attributes={"left": "as is"}):
            pass
        odd, plain = kept.finished()
    (event,) = odd.events
    assert event.attributes["exception.message"] == "GET https://[redacted]@host/path failed: Bearer [redacted]"
    assert "Traceback" in event.attributes["exception.stacktrace"]
    assert odd.attributes["left"] == ("as", "is")
    assert plain.attributes["left"] == "as is"
    for hidden in (JWT, "jane", "secret"):
        assert hidden not in odd.to_json()


async def test_a_call_that_fails_is_told_without_the_query_and_what_its_subject_hides():
    """Whatever the library says that makes the call; outside of reviews, too."""
    hides = subject.Subject(hide=lambda text: text.replace("hunter2", "[redacted]"))
    async with traced.kept() as kept:
        with (
            contextlib.suppress(OSError),
            subject.concerning(hides),
            kept.telemetry.client_spans.start("HTTP GET", {"url.full": "https://host/hunter2"}),
        ):
            raise OSError("https://host/hunter2?a=b refused")
        (span,) = kept.finished()
    assert span.status.description == "https://host/[redacted] refused"
    assert span.attributes["url.full"] == "https://host/[redacted]"
