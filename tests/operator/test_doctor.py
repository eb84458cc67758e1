"""`kymograph doctor` on real servers: all well, and each thing broken is named with its fix."""

import base64
import contextlib
import json
import subprocess
import sys

import pytest

from kymograph.localcluster import installation, pki
from support.installed import NO_PRIVILEGES, eventually


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
        assert document["healthy"] is (ran.returncode == 0)
        return ran.returncode, {each["check"]: each for each in document["findings"]}

    return run


@pytest.fixture
def usual(installed, otlp):
    """The configuration as all tests find it, in force and exporting before and after."""

    def configure():
        installed.configure({"traces": {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}})

    configure()
    yield
    configure()
    eventually(lambda: exporting(installed) == "True", 30)


def exporting(installed):
    return installed.conditions("tracingconfiguration", "default").get("Exporting", {}).get("status")


def in_force(installed):
    generation = installed.get("tracingconfiguration", "default")["metadata"]["generation"]
    accepted = installed.conditions("tracingconfiguration", "default").get("Accepted", {})
    return accepted.get("observedGeneration") == generation


def problems(found):
    return {check for check, each in found.items() if each["state"] == "problem"}


def test_of_a_good_installation_all_is_well(installed, enforce, usual, diagnose) -> None:
    """Every check is made, on the real servers, and nothing is found."""
    enforce(NO_PRIVILEGES)
    eventually(lambda: exporting(installed) == "True", 30)
    status, found = diagnose()
    assert (status, problems(found)) == (0, set()), found
    assert {check for check, each in found.items() if each["state"] == "not checked"} == set(), found
    assert "takes an empty export" in found["collector (traces)"]["message"]
    assert "fail.validate.kymograph.dev/traceparent" in found["audit annotations"]["message"]
    assert "with the API server's trace context, sampled" in found["api server tracing"]["message"]
    policies = installed.kubectl("get", "clusterpolicies", "-o", "name").stdout
    assert "kymograph-doctor" not in policies


def test_a_dead_collector_is_named(installed, enforce, usual, diagnose) -> None:
    """By the check that asks it, and once the operator has noticed by the one that reads its conditions."""
    enforce(NO_PRIVILEGES)
    dead = f"127.0.0.1:{installation.free_port()}"
    installed.configure({"traces": {"endpoint": dead, "samplingRatePerMillion": 1_000_000}})
    eventually(lambda: in_force(installed), 30)
    status, found = diagnose()
    assert status == 1
    assert problems(found) - {"exporting", "replicas"} == {"collector (traces)"}
    assert f"{dead} does not take an empty export" in found["collector (traces)"]["message"]
    assert f"listens at {dead}" in found["collector (traces)"]["fix"]


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


def test_a_wrong_authority_and_a_stopped_operator_are_named(installed, usual, diagnose) -> None:
    """Whom API servers trust, who leads, and that nobody answers; with what to do."""
    with wrong_authority(installed):
        status, found = diagnose()
    assert status == 1
    assert {"webhook ca", "webhook call", "leader"} <= problems(found)
    assert "policies.validate.kymograph.dev of kymograph-policy-validation" in found["webhook ca"]["message"]
    assert "policies.validate.kymograph.dev" in found["webhook call"]["message"]
    assert all(each["fix"] for each in found.values() if each["state"] == "problem")
    assert found["api server tracing"]["state"] == "not checked"
    status, found = diagnose()
    assert problems(found) - {"exporting", "replicas"} == set(), found


def test_a_cluster_that_does_not_answer_is_the_only_problem(tmp_path, diagnose) -> None:
    """Nothing else can be known, and nothing else is claimed."""
    config = tmp_path / "gone.kubeconfig"
    port = installation.free_port()
    config.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    status, found = diagnose(f"--kubeconfig={config}")
    assert (status, problems(found)) == (1, {"api server"})
    assert found["everything else"]["state"] == "not checked"
