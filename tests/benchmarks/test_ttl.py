"""Thousands of objects whose time is up at the same moment: how long until all are gone, and what that takes.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_ttl.py

ConfigMaps with the label `cleanup.kyverno.io/ttl` and one moment, while the operator runs. Measured are the time from
that moment until the last one is gone, CPU and peak memory of the operator's process (all its controllers), CPU of the
servers it asks, and requests to them.
"""

import datetime as dt
import time

import pytest

from benchmarks import costs, load
from kymograph.controllers.cleanup import pace, ttl
from kymograph.localcluster import installation
from support import installed as support
from support import waiting

pytestmark = [pytest.mark.benchmark, pytest.mark.cluster, pytest.mark.timeout(1800)]

NAMESPACE = "expiring"
OBJECTS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
ASK_EVERY = 0.2
PATIENCE = 900.0

CREATED_PER_SECOND = 100
"""The least that is counted on: the moment is to come when all are there."""

GRANT = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "expiring", "labels": {"rbac.kymograph.dev/aggregate-to-cleanup": "true"}},
    "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch", "delete"]}],
}


@pytest.fixture
def operator(measured):
    """The operator as its image runs it, which follows the labels of ConfigMaps."""
    measured.kubectl("create", "namespace", NAMESPACE)
    waiting.until("it has the cluster's own ConfigMap", lambda: own(measured))  # which is to be counted beforehand
    measured.apply(GRANT)
    may = ("auth", "can-i", "delete", "configmaps", "--as=system:serviceaccount:kymograph:kymograph")
    waiting.until("the operator may delete", lambda: measured.kubectl(*may, check=False).returncode == 0)
    measured.operator = installation.Operator(measured.cluster)
    with measured.operator:
        waiting.until("it follows labels", lambda: "of configmaps" in measured.operator.log.read_text(), 120)
        yield measured


def own(cluster: support.Installed) -> bool:
    """Whether the ConfigMap is there that every namespace gets."""
    shown = cluster.kubectl("get", "configmap", "kube-root-ca.crt", "-n", NAMESPACE, check=False)
    return shown.returncode == 0


def test_all_go_at_once(operator, sized, figure) -> None:
    """Each is deleted once, none before its time, and none is forgotten."""
    count = sized(10_000, 50)
    moment = int(time.time() + 2 + count / CREATED_PER_SECOND)
    label = dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%dT%H%M%SZ")
    whole = costs.Meter(operator.cluster, ("configmaps",))
    others = whole.count(OBJECTS)
    for number in range(count):
        metadata = {"name": f"old-{number}", "labels": {ttl.LABEL: label}}
        operator.cluster.api.request("POST", OBJECTS, {"metadata": metadata})
    meter = costs.Meter(operator.cluster, ("configmaps",))
    idle = load.Process(operator.operator.process.pid).used().cpu
    began = max(moment, time.time())
    time.sleep(max(0.0, moment - time.time()))
    while meter.count(OBJECTS) > others:
        assert operator.operator.process.poll() is None
        assert time.time() - began < PATIENCE
        time.sleep(ASK_EVERY)
    seconds = time.time() - began
    took = meter.costs(operator.operator.process.pid)
    first, second = took.lines(count, idle)
    slowest, fastest = pace.DELETES_PER_SECOND, pace.MOST_PER_SECOND
    figure(f"{count} objects gone {seconds:6.1f} s after their moment: {count / seconds:5.0f} a second")
    figure(f"{first}   at {slowest:.0f} to {fastest:.0f} deletions a second")
    figure(second)
    waiting.until("all are counted", lambda: whole.requests()["DELETE", "configmaps"] >= count)
    assert whole.requests()["DELETE", "configmaps"] == count
