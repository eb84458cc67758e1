"""`--telemetry-output`: what would be sent over OTLP is in files, whatever the TracingConfiguration says."""

import json

import pytest

from kymograph.localcluster import installation
from support.installed import eventually

pytestmark = pytest.mark.timeout(180)


def spans(path):
    """The names of the spans in a file, by their kind."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    assert len(span["traceId"]) == 32
                    found.setdefault(span["kind"], set()).add(span["name"])
    return found


def test_spans_are_written_into_a_file(installed, otlp, tmp_path) -> None:
    """Of a second replica in the same cluster: the watches of Kopf and our own among them."""
    usual = {"traces": {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}}
    installed.configure({**usual, "metrics": {"prometheus": {"enabled": False}}})  # two on one host share the port
    flags = [f"--telemetry-output={tmp_path}", "--enableTracing"]
    try:
        with installation.Operator(installed.cluster, flags=flags, log=tmp_path / "operator.log"):
            eventually(lambda: "KUBE watch clusterpolicies" in spans(tmp_path / "traces.jsonl").get(3, ()), 60)
            assert "KUBE watch policyexceptions" in spans(tmp_path / "traces.jsonl")[3]
    finally:
        installed.configure(usual)
