"""Tokens are taken out of all that is told to others."""

import datetime as dt
import logging

import pytest

from kymograph.controllers.events import notes, recorder
from kymograph.controllers.reports import findings
from kymograph.runtime import logs
from kymograph.telemetry import credentials, rendering
from support.reporting import FOUND_AT, compiled, result_of

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"Authorization: Bearer {JWT}, and so on", "Authorization: Bearer [redacted], and so on"),
        (f"the token {JWT} is wrong", "the token [redacted] is wrong"),
        ("authorization=basic dXNlcjpodW50ZXIy==", "authorization=basic [redacted]"),
        ("Bearer 0123456789abcdef", "Bearer [redacted]"),
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
    writer = recorder.Recorder(None, lambda: 0, lambda: dt.datetime(2026, 3, 1, tzinfo=dt.UTC), "host", lambda: None)
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
