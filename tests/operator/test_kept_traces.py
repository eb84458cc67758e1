"""Requests that nobody sampled, and requests that somebody falsely says were."""

import itertools
import time
import urllib.request

import pytest
from prometheus_client import parser

from kymograph.objecttrace.sources import otlp as otlp_source
from support import reviewing
from support.installed import NO_PRIVILEGES, pod, policy

TRACES = itertools.count(time.time_ns())
PATIENCE = 60
CAPPED = "telemetry_traces_capped_total"
ASKED = "admission_trace_context_total"
"""Reviews whose callers' decision was not followed, and all reviews."""


@pytest.fixture
def collector(installed, usual_configuration, enforce):
    """Configure what goes to a receiver of the test's own, with a policy in force."""
    with otlp_source.Receiver() as receiver:

        def configure(**traces):
            installed.put_in_force({"traces": {"endpoint": receiver.endpoint, **traces}})
            return receiver

        enforce(NO_PRIVILEGES)
        yield configure


def context(*, sampled: bool) -> tuple[str, str]:
    """A trace id, and a traceparent in that trace."""
    trace_id = f"{next(TRACES):032x}"
    return trace_id, f"00-{trace_id}-00000000000000ab-{'01' if sampled else '00'}"


def scraped(installed, name: str) -> float:
    """The sum of a metric's samples."""
    with urllib.request.urlopen(f"http://127.0.0.1:{installed.metrics_port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name)


@pytest.mark.parametrize(
    ("keep", "subject", "rule"),
    [
        ({"denied": True}, pod("kept", privileged=True), "denied"),
        ({"slowerThan": "1ns"}, pod("kept"), "slow"),
        ({"policies": ["no-privileges"]}, pod("kept"), "policy"),
        ({"namespaces": ["payments"]}, pod("kept", namespace="payments"), "namespace"),
    ],
)
def test_a_rule_keeps_an_unsampled_request_in_its_callers_trace(installed, collector, keep, subject, rule) -> None:
    """Same trace id, the caller's span as parent, marked; the audit event is told that our spans exist."""
    receiver = collector(keep=keep)
    trace_id, traceparent = context(sampled=False)
    response = reviewing.review(installed, subject, traceparent)
    wanted = {"admission validate CREATE Pod", "POLICY /no-privileges", "RULE no-privileges-rule"}
    spans = receiver.wait_for_trace(trace_id, lambda found: wanted <= {span.name for span in found}, PATIENCE)
    server = next(span for span in spans if span.kind == "server")
    assert server.parent_id == "00000000000000ab"
    assert server.attributes["kymograph.kept_by"] == rule
    assert server.attributes["kymograph.parent.sampled"] is False
    assert response["auditAnnotations"]["traceparent"] == f"00-{trace_id}-{server.span_id}-01"


def test_what_no_rule_keeps_leaves_nothing(installed, collector) -> None:
    """An allowed request, and every request under `keep: {}`, where the parent alone decides."""
    unsampled = []
    for keep, subject in (({"denied": True}, pod("fine")), ({}, pod("denied", privileged=True))):
        receiver = collector(keep=keep)
        trace_id, traceparent = context(sampled=False)
        response = reviewing.review(installed, subject, traceparent)
        assert response["auditAnnotations"]["traceparent"].endswith("-00")
        unsampled.append(trace_id)
    trace_id, traceparent = context(sampled=True)
    reviewing.review(installed, pod("last"), traceparent)
    receiver.wait_for_trace(trace_id, bool, PATIENCE)
    assert [receiver.trace(each) for each in unsampled] == [(), ()]


def test_a_forged_context_cannot_flood(installed, collector) -> None:
    """Past the cap reviews are answered as ever, untraced, and counted.

    Whatever else the API server asks about meanwhile, such as Pods that somebody deletes, takes part in that.
    """
    receiver = collector(parentTracesPerSecond=2)
    asked = scraped(installed, ASKED)
    before = scraped(installed, CAPPED)
    contexts = [context(sampled=True) for _ in range(12)]
    began = time.monotonic()
    answers = [reviewing.review(installed, pod("forged", privileged=True), each) for _, each in contexts]
    most = 2 + 2 * (time.monotonic() - began) + 1
    assert not any(answer["allowed"] for answer in answers)
    followed = [each for each, answer in zip(contexts, answers, strict=True) if _flag(answer) == "01"]
    capped = scraped(installed, CAPPED) - before
    others = scraped(installed, ASKED) - asked - len(contexts)
    assert 2 - others <= len(followed) <= most
    assert 0 <= capped - (len(contexts) - len(followed)) <= others
    receiver.wait_for_trace(followed[-1][0], bool, PATIENCE)
    forged = [span for span in receiver.received() if span.attributes.get("admission.request.name") == "forged"]
    assert {span.trace_id for span in forged} <= {each for each, _ in followed}


def _flag(response: dict) -> str:
    return response["auditAnnotations"]["traceparent"][-2:]


@pytest.mark.parametrize("told", [True, False])
def test_users_are_named_only_where_that_is_asked_for(installed, collector, told) -> None:
    """Identity leaves the cluster only if somebody configured that."""
    receiver = collector(attributes={"user": told})
    trace_id, traceparent = context(sampled=True)
    reviewing.review(installed, pod("whose"), traceparent)
    spans = receiver.wait_for_trace(trace_id, lambda found: any(span.kind == "server" for span in found), PATIENCE)
    server = next(span for span in spans if span.kind == "server")
    assert ("admission.request.user.name" in server.attributes) is told
    if told:
        assert server.attributes["admission.request.user.name"].endswith(":replicaset-controller")
        assert "system:authenticated" in server.attributes["admission.request.user.groups"]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_controller_can_be_silenced(installed, collector, enforce, enabled) -> None:
    """Reviews are traced, and what the background controller does only if it is enabled."""
    receiver = collector(samplingRatePerMillion=1_000_000, controllers={"background": {"enabled": enabled}})
    name = f"later-{enabled}".lower()
    enforce(policy(name, {"message": "no", "pattern": {"metadata": {"name": "*"}}}))

    def is_of_its_status(span) -> bool:
        return span.name == "BACKGROUND policy status" and span.attributes["kyverno.policy.name"] == name

    if enabled:
        receiver.wait_for(is_of_its_status, PATIENCE)
    trace_id, traceparent = context(sampled=True)
    reviewing.review(installed, pod("after"), traceparent)
    receiver.wait_for_trace(trace_id, bool, PATIENCE)
    done = [span for span in receiver.received() if span.name.startswith("BACKGROUND")]
    assert any(span.attributes.get("kyverno.policy.name") == name for span in done) is enabled
