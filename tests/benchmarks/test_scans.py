"""From the start of the process until every Pod that was there before has its report, and what that takes.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_scans.py
    KYMOGRAPH_BENCHMARKS=long KYMOGRAPH_BENCHMARK_OBJECTS=10000 pytest tests/benchmarks/test_scans.py

Pods of 3 kB that stay pending, seventeen policies. Measured are the time until the last report exists, CPU and peak
memory of the operator's process (all its controllers), CPU of the servers it asks, and requests to them. Then the
process starts again: its scan finds what it found before, and writes nothing. What the process takes to start at all,
without scans, is measured first and counts for no Pod. Where `KYMOGRAPH_KYVERNO_CONTROLLERS` names them, Kyverno's
reports controller does the same work in the end, in the same cluster and for the same Pods.
"""

import copy
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable

import pytest

from benchmarks import costs, load, peers
from kymograph.controllers.admission import webhooknames
from kymograph.localcluster import errors, installation
from support import installed as support
from support import pods, waiting

pytestmark = [pytest.mark.benchmark, pytest.mark.cluster, pytest.mark.timeout(5400)]

REPORTS = "/apis/wgpolicyk8s.io/v1alpha2/policyreports"
IN_NAMESPACE = "/apis/wgpolicyk8s.io/v1alpha2/namespaces/{}/policyreports"
IN_DEFAULT = IN_NAMESPACE.format("default")
PROGRESS = "/api/v1/namespaces/kymograph/configmaps?fieldSelector=metadata.name%3Dkymograph-scans"
ABOUT = ("pods", "policyreports", "ephemeralreports", "events")
ASK_EVERY = 0.2
PATIENCE = 600.0
OF_THE_PEER = 2400.0
"""Seconds: until the work is given up, ours and Kyverno's."""


@pytest.fixture(scope="module")
def count(sized) -> int:
    return sized(5_000, 200)


@pytest.fixture(scope="module")
def operator(measured, pod_security, count, tmp_path_factory):
    """The operator as its image runs it, not started; policies, and Pods that nobody has looked at."""
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("compiled")), "PYTHONDONTWRITEBYTECODE": ""}
    measured.operator = installation.Operator(measured.cluster, environ=compiled)
    measured.operator.start(120)  # modules are compiled, the certificate is made
    measured.operator.stop()
    measured.kubectl("delete", "validatingwebhookconfigurations", webhooknames.KYMOGRAPH.policies)
    api = measured.cluster.api
    for number in range(count):
        api.request("POST", "/api/v1/namespaces/default/pods", pending(f"web-{number}"))
    for policy in copy.deepcopy(pod_security):  # others enforce them
        for rule in policy["spec"]["rules"]:
            rule["validate"]["failureAction"] = "Audit"
        measured.apply(policy)
    return measured


def test_scan(operator, count, pod_security, figure, peer_controllers) -> None:
    """Every Pod gets its report; a scan that finds nothing new writes nothing."""
    rules = sum(len(policy["spec"]["rules"]) for policy in pod_security)
    start = started(operator)
    figure(f"start without scans   {start:6.2f} s CPU")
    first = run(operator, lambda meter: meter.count(REPORTS) >= count)
    _tell(figure, f"first scan of {count} Pods   ", first, count, start)
    look = costs.Meter(operator.cluster, ABOUT)
    assert first.requests["POST", "policyreports"] == look.count(REPORTS)
    assert fewest_results(look) == rules
    began = finished(operator)
    again = run(operator, lambda _: finished(operator) > began)
    _tell(figure, f"second scan of {count} Pods  ", again, count, start)
    assert not again.writes
    if peer_controllers is not None:
        theirs = kyverno(operator, peer_controllers, count, rules)
        _tell(figure, f"Kyverno's scan of {count} Pods", theirs, count)


def started(operator: support.Installed) -> float:
    """Seconds of CPU time that the process takes until it is ready, with all policies and no scan."""
    operator.operator.command.append("--background-scan=false")
    try:
        operator.operator.launch()
        process = load.Process(operator.operator.process.pid)
        operator.operator.wait_ready(120)
        return process.used().cpu
    finally:
        operator.operator.command.pop()
        operator.operator.stop()


def run(operator: support.Installed, done: Callable[[costs.Meter], bool]) -> costs.Costs:
    """Start the process and let it run until something is so, and its scan has ended."""
    ended = finished(operator)
    meter = costs.Meter(operator.cluster, ABOUT)
    operator.operator.launch()
    try:
        while not done(meter):
            assert operator.operator.process.poll() is None
            assert meter.seconds < PATIENCE
            time.sleep(ASK_EVERY)
        pid = operator.operator.process.pid
        took = meter.costs(pid)
        support.eventually(lambda: finished(operator) > ended, PATIENCE)
        took = dataclasses.replace(took, peak=costs.peak(pid))
    finally:
        operator.operator.stop()
    return dataclasses.replace(took, requests=meter.requests())  # nobody asks any more


def kyverno(operator: support.Installed, folder: pathlib.Path, count: int, rules: int) -> costs.Costs:
    """The same by Kyverno's reports controller, after our reports are gone."""
    waiting.until("no report is left", lambda: emptied(operator), 300)
    peers.install(operator, folder)
    meter = costs.Meter(operator.cluster, ABOUT)
    with peers.running(operator, folder, "reports-controller", "--omitEvents=PolicyApplied,PolicySkipped") as process:
        while meter.count(REPORTS) < count or fewest_results(meter) < rules:
            assert process.poll() is None
            assert meter.seconds < OF_THE_PEER
            time.sleep(1.0)
        return meter.costs(process.pid)


def emptied(operator: support.Installed) -> bool:
    """Whether there are no reports any more; they are deleted for as long as the API server takes one request."""
    api = operator.cluster.api
    try:
        some = api.request("GET", f"{REPORTS}?limit=500")["items"]
        for namespace in {each["metadata"]["namespace"] for each in some}:
            api.request("DELETE", IN_NAMESPACE.format(namespace))
    except (errors.RequestRefused, OSError):  # it gives up after a minute
        return False
    return not some


def fewest_results(meter: costs.Meter) -> int:
    """The number of results in the report that has the fewest."""
    return min(sum(each["summary"].values()) for each in meter.read(IN_DEFAULT))


def finished(operator: support.Installed) -> str:
    """When the latest scan ended; empty before the first did."""
    items = operator.cluster.api.request("GET", PROGRESS)["items"]
    return json.loads(items[0]["data"]["progress.json"])["finishedAt"] if items else ""


def _tell(figure: Callable[[str], None], what: str, took: costs.Costs, count: int, idle: float = 0.0) -> None:
    first, second = took.lines(count, idle)
    figure(f"{what}  {first}")
    figure(second)


def pending(name: str) -> dict:
    """A Pod that no scheduler takes."""
    (container,) = pods.create()["request"]["object"]["spec"]["containers"][:1]
    container = {key: value for key, value in container.items() if key not in ("volumeMounts", "lifecycle")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"schedulerName": "nobody", "automountServiceAccountToken": False, "containers": [container]},
    }
