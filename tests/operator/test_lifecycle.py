"""Starting, stopping, restarting: no request is lost or let pass, nothing is left where it should not be."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from kymograph.localcluster import installation
from support.installed import NO_PRIVILEGES, ROOT, TRACING, eventually, pod


@pytest.fixture
def second(installed, usual_configuration):
    """Runs another replica of some controllers beside the one that there is, until it is stopped."""
    installed.put_in_force({"metrics": {"prometheus": {"enabled": False}}})  # processes of one host share its ports

    @contextlib.contextmanager
    def running(controllers: str) -> Iterator[installation.Operator]:
        log = installed.cluster.directory / f"second-{controllers}.log"
        operator = installation.Operator(installed.cluster, flags=[f"--controllers={controllers}"], log=log)
        with operator:
            yield operator

    yield running
    # No word is left of the others: one that had no second left for that is forgotten by the leader, in three minutes.
    eventually(lambda: len(installed.get(*TRACING)["status"].get("replicas", ())) == 1, 400.0)


def refused(installed, name: str) -> str:
    """Why a privileged Pod is refused, which it has to be whoever is there to say so."""
    verdict = installed.create(pod(name, privileged=True))
    assert verdict.returncode != 0
    return verdict.stderr


def probed(installed, path: str) -> tuple[int, bytes]:
    """What a probe is answered."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{installed.operator.health_port}/{path}", timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_requests_during_a_stop_are_answered(installed, enforce) -> None:
    """SIGTERM: what is in flight is decided; readiness fails first; the exit status is 0; a restart enforces again."""
    enforce(NO_PRIVILEGES)
    verdicts: list[str] = []
    stopping = threading.Event()

    def ask(number: int) -> None:
        while not stopping.is_set():
            verdicts.append(installed.create(pod(f"asked-{number}", privileged=True)).stderr)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(verdicts) >= 8)
    before = len(verdicts)
    status = installed.operator.stop()
    stopping.set()
    for thread in threads:
        thread.join()
    try:
        assert status == 0
        assert len(verdicts) > before
        # After the stop the failure policy decides: refused as well, by the API server itself.
        for verdict in verdicts:
            assert "Privileged containers are not allowed" in verdict or "failed calling webhook" in verdict
        assert all("Privileged" in verdict for verdict in verdicts[:before])
    finally:
        installed.operator.start()
    eventually(lambda: "Privileged" in refused(installed, "after"))


def test_a_killed_operator_fails_closed_and_comes_back(installed, enforce) -> None:
    """SIGKILL: a Fail policy stays a refusal; started again, the same certificate and configuration serve."""
    enforce(NO_PRIVILEGES)
    secret = installed.get("secret", "kymograph-tls", "-n", "kymograph")["metadata"]["resourceVersion"]
    installed.operator.kill()
    assert "failed calling webhook" in installed.create(pod("nobody-home")).stderr
    installed.operator.start()
    eventually(lambda: installed.create(pod("fine"), "--dry-run=server").returncode == 0)
    eventually(lambda: "Privileged" in refused(installed, "bad"))
    assert installed.get("secret", "kymograph-tls", "-n", "kymograph")["metadata"]["resourceVersion"] == secret


def test_probes_say_what_is_missing(installed) -> None:
    """/livez and /readyz answer the kubelet."""
    assert probed(installed, "livez") == (200, b"ok\n")
    eventually(lambda: probed(installed, "readyz") == (200, b"ok\n"))


@pytest.mark.timeout(700)  # see `second`
@pytest.mark.parametrize("controllers", ["cleanup", "cleanup,reports"])
def test_controllers_can_be_split(installed, second, enforce, controllers: str) -> None:
    """Other controllers run beside the admission controller without serving webhooks."""
    with second(controllers) as beside:
        eventually(beside.ready)
        enforce(NO_PRIVILEGES)
        assert "Privileged" in refused(installed, "bad")
        assert beside.process.poll() is None
    assert beside.process.returncode == 0


def test_the_operator_has_the_rights_it_needs_and_no_others(installed, enforce) -> None:
    """The shipped role: no secrets but its own, no writing of users' objects, and nothing it does is refused."""
    subject = "--as=system:serviceaccount:kymograph:kymograph"
    listing = ("auth", "can-i", "--list", subject, "-n", "default")
    eventually(lambda: "secrets" not in installed.kubectl(*listing).stdout)  # which other tests may have granted
    for verb, what in (("delete", "pods"), ("create", "pods"), ("get", "secrets"), ("update", "clusterpolicies")):
        may = ("auth", "can-i", verb, what, subject)
        eventually(lambda may=may: installed.kubectl(*may, check=False).stdout.strip() == "no")
    earlier = len(installed.operator.log.read_text())  # other tests take rights away on purpose
    installed.operator.stop()
    installed.operator.start()
    enforce(NO_PRIVILEGES)
    said = installed.operator.log.read_text()[earlier:].lower().splitlines()
    terminating = "because it is being terminated"  # namespaces of earlier tests: nobody may create anything there
    assert [line for line in said if "forbidden" in line and terminating not in line] == []


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--kubeconfig=/nonexistent"], "kubeconfig /nonexistent: No such file or directory"),
        (["--controllers=admision"], "admision: choose from admission,background,cleanup,reports"),
        (["--health-port=0"], "a port is a number from 1 to 65535"),
    ],
)
def test_wrong_flags_end_the_process_with_a_reason(flags: list[str], complaint: str) -> None:
    """Whoever starts the operator reads what to change, not a traceback."""
    command = [sys.executable, "-m", "kymograph.cli.main", "run", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode in {1, 2}
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.timeout(300)
def test_the_demo_tells_its_story_and_leaves_nothing(tmp_path) -> None:
    """`kymograph demo --once`: the refusal as its user sees it, the trace from the API server on, the metrics' URL."""
    command = [sys.executable, "-m", "kymograph.cli.main", "demo", "--once"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    told = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT, env=environ)
    assert told.returncode == 0, told.stderr
    assert "pod/good created" in told.stdout
    assert "require-team-label" in told.stdout
    assert "disallow-privileged" in told.stdout
    assert "admission validate CREATE Pod" in told.stdout
    assert "RULE privileged-containers" in told.stdout
    assert "apiserver" in told.stdout
    assert "/metrics" in told.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(700)  # see `second`
def test_a_stop_by_interrupt_is_clean(second) -> None:
    """Ctrl-C ends `kymograph run` like SIGTERM."""
    with second("cleanup") as beside:
        beside.process.send_signal(signal.SIGINT)
        assert beside.process.wait(90) == 0
    assert "Traceback" not in beside.log.read_text()


def test_policies_are_told_their_rules(installed, enforce) -> None:
    """The status counts the rules as written, and shows those made for controllers of Pods."""
    enforce(NO_PRIVILEGES)
    status = installed.get("clusterpolicy", "no-privileges")["status"]
    assert status["ready"] is True
    assert status["rulecount"] == {"validate": 1, "mutate": 0, "generate": 0, "verifyimages": 0}
    assert [rule["name"] for rule in status["autogen"]["rules"]] == [
        "autogen-no-privileges-rule",
        "autogen-cronjob-no-privileges-rule",
    ]
    (condition,) = status["conditions"]
    assert (condition["type"], condition["message"]) == ("Ready", "Ready")
    assert status["validatingadmissionpolicy"]["generated"] is False


def test_users_tools_read_the_status_of_a_policy(installed, enforce) -> None:
    """`kubectl wait`, and the columns of `kubectl get`, also of what a policy leaves to defaults."""
    enforce(NO_PRIVILEGES)
    waited = installed.kubectl("wait", "--for=condition=Ready", "cpol/no-privileges", "--timeout=60s")
    assert "condition met" in waited.stdout
    heads, row = installed.kubectl("get", "cpol", "no-privileges", "-o", "wide").stdout.splitlines()
    assert heads.split()[:4] == ["NAME", "ADMISSION", "BACKGROUND", "READY"]
    assert "VALIDATE   MUTATE   GENERATE   VERIFY IMAGES" in heads
    assert row.split()[:4] == ["no-privileges", "true", "true", "True"]
