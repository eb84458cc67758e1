"""`kymograph doctor` on real servers: all well, and each thing broken is named with its fix."""

import base64
import contextlib
import json
import subprocess
import sys

import pytest

from kymograph.localcluster import pki
from support import metricreceivers, ports
from support.installed import NO_PRIVILEGES, TRACING, eventually, pod

pytestmark = pytest.mark.usefixtures("usual_configuration")


@pytest.fixture
def diagnose(installed):
    """Run the doctor; gives the exit status and the findings by check."""

    def run(*flags):
        command = [sys.executable, "-m", "kymograph.cli.main", "doctor", "-o", "json"]
        command += [f"--kubeconfig={installed.cluster.admin_kubeconfig}", f"--audit-log={installed.cluster.audit_log}"]
        command += [f"--metrics-url=http://127.0.0.1:{installed.metrics_port}/metrics", *flags]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert ran.returncode in (0, 1), ran.stderr
        document = json.loads(ran.stdout)
        found = {each["check"]: each for each in document["findings"]}
        assert document["healthy"] is (ran.returncode == 0) is (not problems(found))
        return ran.returncode, found

    return run


def exporting(installed):
    """Whether traces get through; one to be sent is made, since nobody can tell before."""
    installed.create(pod("exported"), "--dry-run=server")
    return installed.conditions(*TRACING).get("Exporting", {}).get("status") == "True"


def problems(found):
    return {check for check, each in found.items() if each["state"] == "problem"}


def finding(diagnose, wanted):
    """What the doctor finds once it finds what is wanted; it also finds that somebody just stood still for seconds."""
    found = {}

    def asked():
        nonlocal found
        _, found = diagnose()
        return wanted(found)

    try:
        eventually(asked, 180)
    except AssertionError as error:
        raise AssertionError(json.dumps(found, indent=2)) from error
    return found


@pytest.mark.timeout(400)
def test_of_a_good_installation_all_is_well(installed, enforce, diagnose) -> None:
    """Every check is made, on the real servers, and nothing is found."""
    enforce(NO_PRIVILEGES)
    eventually(lambda: exporting(installed))
    found = finding(diagnose, lambda found: {each["state"] for each in found.values()} == {"ok"})
    assert "is reachable from this machine and accepts traces" in found["collector (traces)"]["message"]
    assert "fail.validate.kymograph.dev/traceparent" in found["audit annotations"]["message"]
    assert "with the API server's trace context, sampled" in found["api server tracing"]["message"]
    policies = installed.kubectl("get", "clusterpolicies", "-o", "name").stdout
    assert "kymograph-doctor" not in policies


@pytest.fixture
def elsewhere():
    """Destinations besides: nobody's (at a port that a socket holds without listening), and one that takes metrics."""
    metrics = metricreceivers.Receiver()
    with ports.held() as unserved:
        yield f"127.0.0.1:{unserved}", metrics.endpoint
    metrics.stop()


@pytest.mark.timeout(400)
def test_each_destination_of_each_signal_is_judged_by_itself(installed, enforce, elsewhere, otlp, diagnose) -> None:
    """One is dead, one takes traces and no log records, and two are well: with the reason and the fix of each."""
    enforce(NO_PRIVILEGES)
    dead, takes_metrics = elsewhere
    second = {"name": "second", "endpoint": otlp.endpoint}
    traces = {"endpoint": dead, "samplingRatePerMillion": 1_000_000, "additional": [second]}
    pushed = {"otlp": {"endpoint": takes_metrics}, "prometheus": {"enabled": True, "port": installed.metrics_port}}
    logs = {"otlp": {"endpoint": otlp.endpoint}}
    installed.put_in_force({"traces": traces, "metrics": pushed, "logs": logs})
    ill = {"collector (traces)", "collector (logs.otlp)"}
    found = finding(diagnose, lambda found: problems(found) - {"exporting", "replicas"} == ill)
    unreachable, refusing = found["collector (traces)"], found["collector (logs.otlp)"]
    assert f"{dead} cannot be reached from this machine: Connection refused" in unreachable["message"]
    assert f"listens at {dead}" in unreachable["fix"]
    asked = {"signal": "traces", "endpoint": dead, "protocol": "grpc", "reachable": False, "accepting": False}
    assert unreachable["details"] == asked
    assert f"{otlp.endpoint} is reachable from this machine, but does not accept logs: " in refusing["message"]
    assert "UNIMPLEMENTED" in refusing["message"]
    assert "service.pipelines.logs.receivers" in refusing["fix"]
    assert (refusing["details"]["reachable"], refusing["details"]["accepting"]) == (True, False)
    for check in ("collector (traces.additional[second])", "collector (metrics.otlp)"):
        assert found[check]["details"]["accepting"] is True, found[check]
        assert found[check]["details"]["latencySeconds"] > 0


@contextlib.contextmanager
def wrong_authority(installed):
    """Another authority in the configuration of the policies' webhook, kept there against the leader that mends it."""
    name = "validatingwebhookconfiguration/kymograph-policy-validation"
    bundle = base64.b64encode(pki.Authority("somebody else").pair.certificate).decode()
    patch = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]
    good = installed.get(name)["webhooks"][0]["clientConfig"]["caBundle"]
    installed.operator.stop()
    try:
        installed.kubectl("patch", name, "--type=json", "-p", json.dumps(patch))
        yield
    finally:
        patch[0]["value"] = good
        installed.kubectl("patch", name, "--type=json", "-p", json.dumps(patch))
        installed.operator.start()


@pytest.mark.timeout(400)
def test_a_wrong_authority_and_a_stopped_operator_are_named(installed, diagnose) -> None:
    """Whom API servers trust, who leads, and that nobody answers; with what to do."""
    with wrong_authority(installed):
        status, found = diagnose()
    assert status == 1
    assert {"webhook ca", "webhook call", "leader"} <= problems(found)
    assert "policies.validate.kymograph.dev of kymograph-policy-validation" in found["webhook ca"]["message"]
    assert "policies.validate.kymograph.dev" in found["webhook call"]["message"]
    assert all(each["fix"] for each in found.values() if each["state"] == "problem")
    assert found["api server tracing"]["state"] == "not checked"
    eventually(lambda: problems(diagnose()[1]) <= {"exporting", "replicas"}, 150)


@pytest.fixture
def gone():
    """A port of an API server that is not there."""
    with ports.held() as port:
        yield port


def test_a_cluster_that_does_not_answer_is_the_only_problem(tmp_path, gone, diagnose) -> None:
    """Nothing else can be known, and nothing else is claimed."""
    config = tmp_path / "gone.kubeconfig"
    config.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{gone}"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    status, found = diagnose(f"--kubeconfig={config}")
    assert (status, problems(found)) == (1, {"api server"})
    assert found["everything else"]["state"] == "not checked"
