"""What is in a Secret or a named field is told to whoever sent it, and is in nothing that we leave behind."""

import base64
import json
import secrets
import urllib.request

import pytest

from kymograph.objecttrace.sources import otlp as otlp_source
from support.installed import eventually, policy

PLANTED = {"any": [{"resources": {"kinds": ["Secret", "ConfigMap"], "names": ["planted*"]}}]}
QUOTE = "{{ request.object.data.password }} is {{ base64_decode(request.object.data.password) }}"


@pytest.fixture
def receiver(installed, usual_configuration):
    """A receiver of the test's own for every trace, with records as JSON at the least level; then all is as it was."""
    with otlp_source.Receiver() as made:
        logs = {"level": "debug", "format": "json", "redact": {"paths": ["data.password"]}}
        installed.put_in_force(
            {"traces": {"endpoint": made.endpoint, "samplingRatePerMillion": 1_000_000}, "logs": logs}
        )
        yield made


def planted(kind, name, value):
    data = {"password": base64.b64encode(value.encode()).decode()}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "data": data}


@pytest.mark.parametrize(("kind", "action"), [("Secret", "Enforce"), ("Secret", "Audit"), ("ConfigMap", "Enforce")])
def test_nothing_tells_of_it(installed, enforce, receiver, kind, action) -> None:
    """Neither the log nor spans, metrics, reports and Events."""
    value, name = secrets.token_urlsafe(24), f"planted-{secrets.token_hex(4)}"
    enforce(policy(name, {"message": QUOTE, "deny": {}, "failureAction": action}, match=PLANTED))
    ran = installed.create(planted(kind, name, value))
    assert (ran.returncode == 1) is (action == "Enforce")
    if action == "Enforce":
        assert value in ran.stderr, "its author reads the message as it is"

    def told():
        found = installed.get("events.events.k8s.io", "--all-namespaces")["items"]
        about = [each for each in found if name in each.get("note", "") and "fail" in each["note"]]
        spans = [span for span in receiver.received() if span.attributes.get("admission.request.name") == name]
        return (about, spans) if about and spans else None

    about, _ = eventually(told)
    assert "[redacted] is [redacted]" in about[0]["note"]
    with urllib.request.urlopen(f"http://127.0.0.1:{installed.metrics_port}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    reports = [installed.get(kind, "--all-namespaces") for kind in ("policyreports", "clusterpolicyreports")]
    left = {
        "log": installed.operator.log.read_text(errors="replace"),
        "spans": repr(receiver.received()),
        "metrics": metrics,
        "reports": json.dumps(reports),
        "Events": json.dumps(installed.get("events.events.k8s.io", "--all-namespaces")),
    }
    assert name in left["log"] or action == "Audit"
    for form in (value, base64.b64encode(value.encode()).decode()):
        assert [where for where, text in left.items() if form in text] == []
    installed.kubectl("delete", kind.lower(), name, "-n", "default", "--ignore-not-found")
