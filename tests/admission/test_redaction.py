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
from kymograph.controllers.admission import decisions, review, reviewing, server, webhooks
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.events import notes, telling
from kymograph.controllers.reports import findings, intake
from kymograph.engine import exceptions
from kymograph.runtime import logs
from kymograph.telemetry import credentials, fieldpaths
from kymograph.telemetry.recorder import CLIENT_BEGIN, CLIENT_END, ClientBegin, ClientEnd
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

    def later(self, work, *_):
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


def stored(rule, **spec):
    made = policy(rule, **spec)
    made["metadata"] |= {"uid": "uid-p", "resourceVersion": "1", "generation": 1}
    return made


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
    made = stored(rule, validationFailureAction=action)
    async with traced.kept() as kept:
        reviews = review.Reviews(
            store,
            None,
            reviewing.Owner(
                kept.telemetry,
                ReviewMetrics(kept.telemetry.instruments, store),
                time.monotonic_ns,
                decided=reports.decided,
                told=telling.Telling(events, lambda: exceptions.NONE),
                denials=decisions.Decisions(time.monotonic_ns, lambda: None),
            ),
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
    hidden = redaction.of(request_about(secret(stringData=data)))
    for value in data.values():
        if len(value) >= 4 and value not in credentials.REDACTED:
            left = hidden.text(f"{before} {value} {after}").replace(credentials.REDACTED, "")
            assert value not in left


def test_short_values_are_taken_out_as_words() -> None:
    """`no` is not taken out of `not`."""
    now, before = secret(stringData={"a": "no", "b": "1"}), secret(stringData={"old": "was-it"})
    hidden = redaction.of(request_about(now, before))
    assert hidden.text("no, r1 is not 1 but was-it") == "[redacted], r1 is not [redacted] but [redacted]"


def test_of_an_object_with_thousands_of_values_nothing_is_told() -> None:
    """To look for all of them, in all their forms, would take seconds."""
    hidden = redaction.of(request_about(secret(stringData={f"{number}": f"value-{number}" for number in range(1001)})))
    assert (hidden.text("whatever it is"), hidden.text("")) == (credentials.REDACTED, "")


def test_only_secrets_are_redacted() -> None:
    """Of the core group: what others call a Secret has no such fields."""
    other = request_about(secret(data={"a": ENCODED}))
    assert redaction.of({**other, "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}}) is None
    assert redaction.of({**other, "kind": {"group": "vault.example", "version": "v1", "kind": "Secret"}}) is None
    assert redaction.of(other) is not None


@pytest.mark.parametrize("data", [None, "text", [1], {"a": 1}, {"a": "%%%"}, {"a": "/w=="}])
def test_odd_secrets_are_no_trouble(data) -> None:
    """A review is untrusted input."""
    assert redaction.of(request_about(secret(data=data), {})).text("as it was") == "as it was"


ENVIRONMENT = fieldpaths.parse("spec.containers[*].env[*].value", "logs.redact.paths[0]")


def pod(*values):
    env = [{"name": f"v{number}", "value": value} for number, value in enumerate(values)]
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"env": env}]}}
    return {**request_about(document), "kind": {"group": "", "version": "v1", "kind": "Pod"}}


def test_named_fields_of_any_object_are_redacted() -> None:
    """As they are and were; where an object has none of them there is nothing to do."""
    asked = {**pod(PLANTED), "oldObject": pod("what-it-was")["object"]}
    hidden = redaction.of(asked, (ENVIRONMENT,))
    assert hidden.text(f"{PLANTED}, {ENCODED}, what-it-was, p") == "[redacted], [redacted], [redacted], p"
    assert redaction.of(asked) is None
    assert redaction.of(pod(), (ENVIRONMENT,)) is None
    secrets = redaction.of(request_about(secret(data={"password": ENCODED})), (ENVIRONMENT,))
    assert secrets.text(PLANTED) == "[redacted]"


def test_a_call_named_after_a_value_is_told_without_it() -> None:
    """A policy may ask for a namespace whose name is in a Secret."""
    begin = (CLIENT_BEGIN, ClientBegin(1, 0, "KUBE get", {"kube.client.namespace": PLANTED, "server.port": 443}), 1)
    end = (CLIENT_END, ClientEnd(1, {}, f"no namespace {PLANTED}"), 2)
    hidden = redaction.of(pod(PLANTED), (ENVIRONMENT,))
    (_, began, _), (_, ended, _) = hidden.steps([begin, end])
    assert began.attributes == {"kube.client.namespace": "[redacted]", "server.port": 443}
    assert ended.error == "no namespace [redacted]"


class Asked:
    """Finds out labels by a call that is named after the Secret, and says so in the log.

    Args:
        spans: Opens the span of the call.
    """

    def __init__(self, spans):
        self._spans = spans

    def at_hand(self, need, facts):
        return False

    async def fetch(self, need, facts):
        with self._spans.start("KUBE get namespaces", {"kube.client.namespace": PLANTED}) as span:
            logging.getLogger("some.library").warning("no namespace %s", PLANTED)
            span.fail(ValueError(f"no namespace {PLANTED}"))
        facts.add(need, {"strict": "yes"})


async def test_whoever_calls_and_logs_within_a_review_tells_nothing_of_its_secret() -> None:
    """They do not know what it is about; their records have its uid, and the trace."""
    handler, lines = logging.Handler(), []
    handler.emit = lambda record: lines.append(logs.JsonFormatter().format(record))
    store = policies.PolicyStore()
    match = {"any": [{"resources": {"kinds": ["Secret"], "namespaceSelector": {"matchLabels": {"strict": "yes"}}}}]}
    store.put(stored({**validating(deny={}), "match": match}))
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    body["request"] = request_about(secret(data={"password": ENCODED}))
    http = server.Request(
        webhooks.FAIL_PATH, json.dumps(body).encode(), time.monotonic_ns() + 10**10, b"application/json"
    )
    logging.getLogger("some.library").addHandler(handler)
    try:
        async with traced.kept() as kept:
            facts = Asked(kept.telemetry.client_spans)
            metrics = ReviewMetrics(kept.telemetry.instruments, store)
            reviews = review.Reviews(store, facts, reviewing.Owner(kept.telemetry, metrics, time.monotonic_ns))
            await reviews.validate(http, "Fail")
            (call,) = [span for span in kept.finished() if span.kind.name == "CLIENT"]
    finally:
        logging.getLogger("some.library").removeHandler(handler)
    assert call.attributes["kube.client.namespace"] == "[redacted]"
    assert call.status.description == "no namespace [redacted]"
    (record,) = map(json.loads, lines)
    assert record["message"] == "no namespace [redacted]"
    assert (record["uid"], record["trace_id"]) == ("review-1", f"{call.context.trace_id:032x}")
