"""The API server has no time for the operator (429), or answers slowly: what is to be done is done all the same.

Once it has a single seat for the operator's account, rejects everything beyond it, the Lease included, and queues
nothing; once each packet between the two takes its time. The work is the same: what rules generate, reports, and the
deletion of what has a TTL.
"""

import contextlib
import json
import re
from collections.abc import Iterator

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from kymograph.localcluster import options as settings
from support import installed as support
from support import relay, waiting
from support.chaos import Users
from support.installed import Installed, eventually

COUNT = 30
SPACE = "throttled"
LATENCY = 0.1
"""Seconds that a packet takes, in each direction."""

MATCH = {"any": [{"resources": {"kinds": ["ConfigMap"], "namespaces": [SPACE], "names": ["trigger-*"]}}]}
MADE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "namespace": SPACE,
    "name": "made-{{ request.object.metadata.name }}",
    "synchronize": True,
    "data": {"data": {"value": "{{ request.object.data.value }}"}},
}
POLICY = {
    "apiVersion": "kyverno.io/v1",
    "kind": "ClusterPolicy",
    "metadata": {"name": "throttled"},
    "spec": {
        "rules": [
            {"name": "makes", "match": MATCH, "generate": MADE},
            {
                "name": "audits",
                "match": MATCH,
                "validate": {"failureAction": "Audit", "message": "a value", "pattern": {"data": {"value": "?*"}}},
            },
        ]
    },
}
GRANT = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {
        "name": "throttled",
        "labels": {
            "rbac.kymograph.dev/aggregate-to-background": "true",
            "rbac.kymograph.dev/aggregate-to-cleanup": "true",
        },
    },
    "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}],
}
FLOW = "flowcontrol.apiserver.k8s.io/v1"
ONE_SEAT = {
    "apiVersion": FLOW,
    "kind": "PriorityLevelConfiguration",
    "metadata": {"name": "one-seat"},
    "spec": {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 1,
            "lendablePercent": 0,
            "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        },
    },
}
ACCOUNT = {"kind": "ServiceAccount", "serviceAccount": {"name": "kymograph", "namespace": "kymograph"}}
EVERYTHING = {
    "subjects": [ACCOUNT],
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    ],
}
TO_ONE_SEAT = {
    "apiVersion": FLOW,
    "kind": "FlowSchema",
    "metadata": {"name": "one-seat"},
    "spec": {
        "matchingPrecedence": 2,
        "priorityLevelConfiguration": {"name": "one-seat"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [EVERYTHING],
    },
}


@contextlib.contextmanager
def operated(cluster: localcluster.LocalCluster, port: int | None = None) -> Iterator[Installed]:
    """The operator, reaching the API server by a port of its own."""
    flags = []
    if port is not None:
        token = cluster.create_token(installation.NAMESPACE, installation.SERVICE_ACCOUNT)
        kubeconfig = json.loads(cluster.kubeconfig_for_token(token).read_text())
        kubeconfig["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        through = cluster.directory / "slow.kubeconfig"
        through.write_text(json.dumps(kubeconfig))
        flags = [f"--kubeconfig={through}"]
    made = Installed(cluster, installation.Operator(cluster, flags=flags))
    made.configure({})
    made.make_namespace(SPACE)
    made.apply(GRANT)
    with made.operator:
        yield made
        made.forget_policies()
        made.kubectl("delete", "namespace", SPACE)


@pytest.fixture(scope="module")
def cluster() -> Iterator[localcluster.LocalCluster]:
    """A control plane that has few seats altogether, so that the smallest share of them is one."""
    few = ("--max-requests-inflight=120", "--max-mutating-requests-inflight=60")
    with localcluster.LocalCluster(settings.Options(apiserver_flags=few)) as made:
        support.install(made)
        yield made


def left(installed: Installed) -> list[str]:
    """What is not as it should be yet."""
    missing = []
    stored = installed.get("configmaps", "-n", SPACE)["items"]
    content = {each["metadata"]["name"]: each.get("data", {}).get("value") for each in stored}
    for number in range(COUNT):
        if content.get(f"made-trigger-{number}") != f"v{number}":
            missing.append(f"trigger-{number} has nothing made")
        if f"old-{number}" in content:
            missing.append(f"old-{number} is there")
    reports = {each["scope"]["name"]: each for each in installed.get("policyreports", "-n", SPACE)["items"]}
    for number in range(COUNT):
        report = reports.get(f"trigger-{number}", {})
        found = {each["rule"]: each["result"] for each in report.get("results", ())}
        if found != {"makes": "pass", "audits": "pass"} or report["summary"]["pass"] != 2:
            missing.append(f"trigger-{number} is reported as {found}")
    for each in installed.get("updaterequests", "-n", "kymograph")["items"]:
        state = each.get("status", {}).get("state")
        if state not in {"Completed", "Skip"}:
            missing.append(f"{each['metadata']['name']} is {state}")
    return missing


def work(installed: Installed) -> None:
    """Have everything done that is to be done; nobody who asks for it is refused."""
    path = f"/api/v1/namespaces/{SPACE}/configmaps"
    old = {"cleanup.kyverno.io/ttl": "1s"}
    documents = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": labels},
            "data": {"value": value},
        }
        for number in range(COUNT)
        for name, labels, value in ((f"trigger-{number}", {}, f"v{number}"), (f"old-{number}", old, "x"))
    ]
    with Users(installed.cluster, path, documents) as users:
        pass
    assert users.refusals == {}
    waiting.as_long_as_it_gets_less(lambda: left(installed))


def counted(cluster: localcluster.LocalCluster, what: str) -> int:
    """How many requests of the operator the API server has `dispatched` or `rejected` for want of a seat."""
    rows = re.findall(
        rf'^apiserver_flowcontrol_{what}_requests_total\{{[^}}]*flow_schema="one-seat"[^}}]*\}} (\S+)',
        cluster.api.request("GET", "/metrics"),
        re.MULTILINE,
    )
    return sum(int(float(each)) for each in rows)


@contextlib.contextmanager
def throttled(installed: Installed) -> Iterator[None]:
    """Leave the operator a single seat; in force from the beginning: its Lease is written all the time."""
    installed.apply(ONE_SEAT)
    installed.apply(TO_ONE_SEAT)
    try:
        eventually(lambda: counted(installed.cluster, "dispatched"))
        yield
    finally:
        installed.kubectl("delete", "flowschema,prioritylevelconfiguration", "one-seat")


@pytest.mark.timeout(900)
def test_a_throttled_operator_loses_nothing(cluster) -> None:
    """Generated, reported, deleted; no UpdateRequest is given up, and users are not refused for it."""
    with operated(cluster) as installed:
        installed.enforce(POLICY)
        with throttled(installed):
            work(installed)
            assert counted(cluster, "rejected") > COUNT


@pytest.mark.timeout(900)
def test_a_slow_api_server_is_waited_for(cluster) -> None:
    with relay.line(int(cluster.url.rpartition(":")[2]), LATENCY) as slow, operated(cluster, slow.port) as installed:
        installed.enforce(POLICY)
        work(installed)
