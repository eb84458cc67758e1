"""From the start of the process until every Pod that was there before has its report, and what that takes.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_scans.py

Pods of 3 kB that stay pending, seventeen policies. Measured are the time until the last report exists, CPU and peak
memory of the operator's process (all its controllers), and requests to the API server. Then the process starts again:
its scan finds what it found before, and writes nothing. What the process takes to start at all, without scans, is
measured first and counts for no Pod.
"""

import collections
import copy
import dataclasses
import json
import pathlib
import re
import time
from collections.abc import Callable

import pytest

from benchmarks import load
from kymograph.controllers.admission import webhooknames
from kymograph.localcluster import installation
from support import installed as support
from support import pods

pytestmark = [pytest.mark.benchmark, pytest.mark.cluster, pytest.mark.timeout(1800)]

REPORTS = "/apis/wgpolicyk8s.io/v1alpha2/policyreports?limit=1"
PROGRESS = "/api/v1/namespaces/kymograph/configmaps?fieldSelector=metadata.name%3Dkymograph-scans"
ABOUT = ("pods", "policyreports")
WRITES = ("POST", "PATCH", "APPLY", "PUT", "DELETE")
ASK_EVERY = 0.2
PATIENCE = 600.0


@dataclasses.dataclass(frozen=True)
class Scan:
    """One start of the process, until what was asked for was so.

    Attributes:
        seconds: Since the start.
        cpu: Seconds of CPU time.
        peak: Bytes of resident memory, at most.
        requests: Requests to the API server, by verb and resource.
    """

    seconds: float
    cpu: float
    peak: int
    requests: collections.Counter

    def line(self, count: int, start: float) -> str:
        """The figures; `start` is the CPU time that no scan takes."""
        told = ", ".join(f"{number} {verb} {resource}" for (verb, resource), number in sorted(self.requests.items()))
        return (
            f"{self.seconds:6.1f} s   {self.cpu:6.2f} s CPU, {(self.cpu - start) / count * 1e3:5.2f} ms a Pod   "
            f"peak {self.peak / 2**20:4.0f} MiB   {told}"
        )


@pytest.fixture(scope="module")
def count(is_long) -> int:
    return 5_000 if is_long else 200


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


def test_scan(operator, count, figure) -> None:
    """Every Pod gets its report; a scan that finds nothing new writes nothing."""
    start = started(operator)
    figure(f"start without scans   {start:6.2f} s CPU")
    first = run(operator, lambda: reports(operator) >= count)
    figure(f"first scan of {count} Pods    {first.line(count, start)}")
    assert first.requests["POST", "policyreports"] == reports(operator)
    began = finished(operator)
    again = run(operator, lambda: finished(operator) > began)
    figure(f"second scan of {count} Pods   {again.line(count, start)}")
    assert not {key: number for key, number in again.requests.items() if key[0] in WRITES}


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


def run(operator: support.Installed, done: Callable[[], bool]) -> Scan:
    """Start the process and let it run until something is so, and its scan has ended."""
    before = requests(operator)
    ended = finished(operator)
    began = time.monotonic()
    operator.operator.launch()
    try:
        process = load.Process(operator.operator.process.pid)
        while not done():
            assert operator.operator.process.poll() is None
            assert time.monotonic() - began < PATIENCE
            time.sleep(ASK_EVERY)
        seconds = time.monotonic() - began
        cpu = process.used().cpu
        support.eventually(lambda: finished(operator) > ended, 60)
        status = pathlib.Path("/proc", str(operator.operator.process.pid), "status").read_text()
        peak = int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024
        return Scan(seconds, cpu, peak, requests(operator) - before)
    finally:
        operator.operator.stop()


def reports(operator: support.Installed) -> int:
    """How many reports there are, without reading them."""
    page = operator.cluster.api.request("GET", REPORTS)
    return len(page["items"]) + page["metadata"].get("remainingItemCount", 0)


def finished(operator: support.Installed) -> str:
    """When the latest scan ended; empty before the first did."""
    items = operator.cluster.api.request("GET", PROGRESS)["items"]
    return json.loads(items[0]["data"]["progress.json"])["finishedAt"] if items else ""


def requests(operator: support.Installed) -> collections.Counter:
    """Requests that the API server has answered, but for our own asking how many reports there are."""
    counted: collections.Counter = collections.Counter()
    text = operator.kubectl("get", "--raw", "/metrics").stdout
    for labels, number in re.findall(r"^apiserver_request_total\{(.*)\} (\S+)$", text, re.MULTILINE):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if told["resource"] in ABOUT and not (told["verb"] == "LIST" and told["resource"] == "policyreports"):
            counted[told["verb"], told["resource"]] += int(float(number))
    return counted


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
