"""What is in a Secret is in the answer to its author, where a policy quotes it, and nowhere else."""

import base64
import itertools
import json
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import traced
from kymograph.controllers import policies, redaction
from kymograph.controllers.admission import decisions, review, server, webhooks
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.events import notes, telling
from kymograph.controllers.reports import findings, intake
from kymograph.engine import exceptions
from kymograph.runtime import logs
from kymograph.telemetry import credentials
from support.writtenpolicies import policy, validating

SECRETS = {"any": [{"resources": {"kinds": ["Secret"]}}]}
PLANTED = "hunter2-and-more"
ENCODED = base64.b64encode(PLANTED.encode()).decode()
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nit's the second line\n"


class Events:
    """Works out at once what there is to say."""

    omitted = frozenset()

    def __init__(self):
        self.notes: list[notes.Note] = []

    def later(self, work, link=""):
        self.notes += work()


def secret(**fields):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop", "uid": "u"}, **fields}


def request_about(document, old=None):
    return {
        "uid": "review-1",
        "operation": "CREATE",
        "kind": {"group": "", "version": "v1", "kind": "Secret"},
        "resource": {"group": "", "version": "v1", "resource": "secrets"},
        "namespace": "shop",
        "name": "s",
        "userInfo": {"username": "jane"},
        "object": document,
        "oldObject": old,
    }


QUOTING = (
    "{{ request.object.data.password }}",
    "{{ base64_decode(request.object.data.password) }}",
    "{{ request.object.data }}",
    "{{ request.object.stringData.key || '' }}",
)


@pytest.mark.parametrize("quoted", QUOTING)
@pytest.mark.parametrize("action", ["Enforce", "Audit"])
async def test_a_planted_secret_is_in_the_denial_alone(quoted, action, caplog) -> None:
    """Not in spans, metrics, Events, the log, nor in what reports are made of."""
    caplog.set_level(logging.DEBUG)
    document = secret(data={"password": ENCODED}, stringData={"key": KEY, "pin": "471"})
    store, events, clock = policies.PolicyStore(), Events(), itertools.count(0, intake.GRACE)
    reports = intake.Intake(lambda: next(clock), lambda: 0, lambda: None)
    rule = {**validating(deny={}), "match": SECRETS}
    rule["validate"]["message"] = f"the value {quoted} with 471 and {{{{ request.object.stringData.pin }}}} is weak"
    made = policy(rule, validationFailureAction=action)
    made["metadata"] |= {"uid": "uid-p", "resourceVersion": "1", "generation": 1}
    async with traced.kept() as kept:
        reviews = review.Reviews(
            store,
            None,
            kept.telemetry,
            ReviewMetrics(kept.telemetry.instruments, store),
            time.monotonic_ns,
            reports.decided,
            told=telling.Telling(events, lambda: exceptions.NONE),
            denials=decisions.Decisions(time.monotonic_ns, lambda: None),
        )
        store.put(made)
        body = json.dumps(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request_about(document)}
        ).encode()
        http = server.Request(webhooks.FAIL_PATH, body, time.monotonic_ns() + 10**10, b"application/json")
        response = json.loads(reviews.validate(http, "Fail"))["response"]
        spans = "\n".join(span.to_json() for span in kept.finished())
        scraped = json.dumps(kept.scrape())
    assert response["allowed"] is (action == "Audit")
    logged = "\n".join(logs.JsonFormatter().format(record) for record in caplog.records)
    while reports.digest():
        pass
    rows = [findings.rows(each) for found in reports.mature() for each in found.latest.values()]
    told = {"spans": spans, "metrics": scraped, "events": repr(events.notes), "log": logged, "reports": repr(rows)}
    for value in (PLANTED, ENCODED, "MIIEvQIBADANBgkqhkiG", "the second line", "471 "):
        assert [where for where, text in told.items() if value in text] == []
    assert bool(rows) is (action == "Audit")
    if action == "Enforce":
        said = {"password": ENCODED, "decode": PLANTED}
        assert any(value in response["status"]["message"] for value in (*said.values(), "MIIEvQIBADANBgkqhkiG"))
        assert "471" in response["status"]["message"]
    assert credentials.REDACTED in spans
    assert credentials.REDACTED in told["events"]


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=3), st.text(), st.text())
def test_no_value_of_four_characters_and_more_is_left(data, before, after) -> None:
    hidden = redaction.Redaction([secret(stringData=data)])
    for value in data.values():
        if len(value) >= 4 and value not in credentials.REDACTED:
            left = hidden.text(f"{before} {value} {after}").replace(credentials.REDACTED, "")
            assert value not in left


def test_short_values_are_taken_out_as_words() -> None:
    """`no` is not taken out of `not`."""
    hidden = redaction.Redaction([secret(stringData={"a": "no", "b": "1"}), secret(stringData={"old": "was-it"})])
    assert hidden.text("no, r1 is not 1 but was-it") == "[redacted], r1 is not [redacted] but [redacted]"


def test_only_secrets_are_redacted() -> None:
    """Of the core group: what others call a Secret has no such fields."""
    other = request_about(secret(data={"a": ENCODED}))
    assert redaction.of({**other, "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}}) is None
    assert redaction.of({**other, "kind": {"group": "vault.example", "version": "v1", "kind": "Secret"}}) is None
    assert redaction.of(other) is not None


@pytest.mark.parametrize("data", [None, "text", [1], {"a": 1}, {"a": "%%%"}, {"a": "/w=="}])
def test_odd_secrets_are_no_trouble(data) -> None:
    """A review is untrusted input."""
    assert redaction.Redaction([secret(data=data), None, {}]).text("as it was") == "as it was"
