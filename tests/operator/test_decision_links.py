"""From a refusal to its trace, as kubectl shows it."""

import json
import re
import time

import pytest

from kymograph.objecttrace.sources import otlp as otlp_source
from support.installed import NO_PRIVILEGES, TRACING, eventually, pod, policy

LINK = "https://jaeger.example/trace/{trace_id}"
WARNING = re.compile(r"Warning: The trace of this decision: https://jaeger\.example/trace/([0-9a-f]{32})\n")


@pytest.fixture
def receiver(installed, usual_configuration):
    """A receiver of the test's own, to which nothing but denials go; afterwards all is as it was."""
    with otlp_source.Receiver() as made:
        installed.put_in_force({"traces": {"endpoint": made.endpoint, "decisionLink": LINK}})
        yield made


def test_a_denial_leads_to_its_trace(installed, enforce, receiver) -> None:
    """The warning that kubectl prints, the Event and the log name the trace that the receiver has."""
    enforce(NO_PRIVILEGES)
    name = f"refused-{time.time_ns():x}"
    ran = installed.create(pod(name, privileged=True))
    assert ran.returncode == 1
    trace_id = WARNING.search(ran.stderr)[1]
    spans = receiver.wait_for_trace(trace_id, lambda found: any(span.kind == "server" for span in found), 60)
    server = next(span for span in spans if span.kind == "server")
    assert server.attributes["admission.request.name"] == name
    assert server.attributes["admission.response.allowed"] is False

    url = LINK.format(trace_id=trace_id)
    event = eventually(lambda: next(iter(_events(installed, name)), None))
    assert event["metadata"]["annotations"] == {"kymograph.dev/trace": url}
    assert any(f"Denied: CREATE Pod default/{name}" in line for line in installed.operator.log.read_text().splitlines())


def test_a_policy_that_is_refused_leads_to_its_trace(installed, receiver) -> None:
    """Nothing denies it but the operator itself: it is told like a denial by a rule."""
    name = f"refused-{time.time_ns():x}"
    ran = installed.create(policy(name, {"message": "{{ ( }}", "pattern": {"metadata": {"name": "?*"}}}))
    assert ran.returncode == 1
    trace_id = WARNING.search(ran.stderr)[1]
    spans = receiver.wait_for_trace(trace_id, lambda found: any(span.kind == "server" for span in found), 60)
    server = next(span for span in spans if span.kind == "server")
    assert server.name == "admission validate CREATE kyverno.io/ClusterPolicy"
    assert server.attributes["admission.request.name"] == name
    assert server.attributes["admission.response.result.code"] == 422
    assert f"Denied: CREATE ClusterPolicy {name}" in installed.operator.log.read_text()


def test_what_is_allowed_warns_of_nothing(installed, enforce, receiver) -> None:
    """And so does a template that the API server refuses."""
    enforce(NO_PRIVILEGES)
    ran = installed.create(pod(f"fine-{time.time_ns():x}"), "--dry-run=server")
    assert ran.returncode == 0, ran.stderr
    assert "Warning:" not in ran.stderr
    for wrong in ("https://jaeger.example/trace/{id}", "ftp://jaeger.example/{trace_id}", "https://jaeger.example/"):
        patch = json.dumps({"spec": {"traces": {"decisionLink": wrong}}})
        refused = installed.kubectl("patch", *TRACING, "--type=merge", "-p", patch, check=False)
        assert refused.returncode == 1
        assert "spec.traces.decisionLink" in refused.stderr


def _events(installed, name: str) -> list[dict]:
    listed = installed.get("events.events.k8s.io", "-n", "default")["items"]
    return [each for each in listed if name in each.get("note", "")]
