"""`--telemetry-output`: what would be sent over OTLP is in files, whatever the TracingConfiguration says."""

import json

import pytest

from kymograph.localcluster import installation
from support.installed import eventually

WATCHES = {"KUBE watch clusterpolicies", "KUBE watch policyexceptions"}
"""One of Kopf's and one of ours."""


def spans(path):
    """The names of the spans in a file, by their kind; its last line may be half written."""
    found = {}
    for line in path.read_text().rpartition("\n")[0].splitlines() if path.exists() else ():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    assert len(span["traceId"]) == 32
                    found.setdefault(span["kind"], set()).add(span["name"])
    return found


@pytest.mark.usefixtures("usual_configuration")
def test_spans_are_written_into_a_file(installed, otlp, tmp_path) -> None:
    """Of a second replica in the same cluster: the watches of Kopf and our own among them."""
    installed.put_in_force(
        {
            "traces": {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000},
            "metrics": {"prometheus": {"enabled": False}},  # two on one host would share the port
        }
    )
    flags = [f"--telemetry-output={tmp_path}", "--enableTracing"]
    with installation.Operator(installed.cluster, flags=flags, log=tmp_path / "operator.log"):
        eventually(lambda: spans(tmp_path / "traces.jsonl").get(3, set()) >= WATCHES)
