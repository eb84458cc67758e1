"""Leaders are killed and the API server is restarted while work comes in: nothing is lost, nothing is done twice.

Objects are created that two generate rules, a mutate rule with targets and an audit rule are about, by clients that
send again what is not taken. Meanwhile whoever holds the Lease is killed (SIGKILL) again and again; in turn its process
comes back at once, as a container does, or not before another replica leads. One generate rule names what it makes at
random and the mutate rule counts, so that doing it twice would show.

    KYMOGRAPH_CHAOS=2000 pytest tests/operator/test_chaos.py

creates 2,000 objects at three replicas, kills every four seconds, restarts the API server twice, and waits for the
removal of every UpdateRequest. Without it there are 60, two replicas, three kills and one restart.
"""

import collections
import itertools
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import errors, installation
from kymograph.localcluster import options as settings
from support import installed as support
from support.chaos import Kubelet, Outcomes, Users, patiently
from support.installed import eventually
from support.replicas import Pair
from support.service import Service

WANTED = int(os.environ.get("KYMOGRAPH_CHAOS") or 0)

pytestmark = [pytest.mark.benchmark, pytest.mark.cluster, pytest.mark.timeout(max(1800, 2 * WANTED))]

TRIGGERS, MADE, TARGETS = "triggers", "made", "targets"
"""Namespaces."""

PATIENCE = 90.0
"""Seconds in which something has to happen."""


class Size(NamedTuple):
    """How much of it.

    Attributes:
        triggers: Objects that set off work.
        per_second: How many of them are created in a second.
        replicas: Of the operator.
        kills: How often the leader is killed at least; as long as triggers come it goes on.
        every: Seconds between two kills, unless nobody leads then.
        restarts: After so many kills the API server is restarted.
    """

    triggers: int = 60
    per_second: float = 4.0
    replicas: int = 2
    kills: int = 3
    every: float = 2.0
    restarts: tuple[int, ...] = (1,)


SIZE = Size(WANTED, 16.0, 3, 12, 4.0, (3, 8)) if WANTED else Size()


def rule(name: str, **what: Any) -> dict[str, Any]:
    """A policy with one rule for the triggers."""
    match = {"any": [{"resources": {"kinds": ["ConfigMap"], "namespaces": [TRIGGERS], "names": ["trigger-*"]}}]}
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": name},
        "spec": {"rules": [{"name": f"{name}-rule", "match": match, **what}]},
    }


def makes(name: str, *, synchronize: bool) -> dict[str, Any]:
    """A `generate` of a ConfigMap with the content of the trigger."""
    content = {"data": {"value": "{{ request.object.data.value }}"}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": MADE,
        "name": name,
        "synchronize": synchronize,
        "data": content,
    }


TRIGGER = "{{ request.object.metadata.name }}"
POLICIES = (
    rule("synced", generate=makes(f"synced-{TRIGGER}", synchronize=True)),
    rule("once", generate=makes(f"once-{TRIGGER}-{{{{ random('[a-z0-9]{{8}}') }}}}", synchronize=False)),
    rule(
        "counted",
        mutate={
            "targets": [{"apiVersion": "v1", "kind": "ConfigMap", "namespace": TARGETS, "name": TRIGGER}],
            "patchStrategicMerge": {"data": {"count": "{{ target.data.count }}x"}},
        },
    ),
    rule(
        "audited",
        validate={"failureAction": "Audit", "message": "odd", "pattern": {"data": {"parity": "even"}}},
    ),
)
WORK = {("synced", "synced-rule"), ("once", "once-rule"), ("counted", "counted-rule")}


def config_map(name: str, namespace: str, **content: str) -> dict[str, Any]:
    """A ConfigMap."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content}


def parity(number: int) -> str:
    """`even` or `odd`."""
    return ("even", "odd")[number % 2]


@pytest.fixture(scope="module")
def replicas():
    """A control plane of its own; its audit log without bodies."""
    with localcluster.LocalCluster(settings.Options(audit_level="Metadata")) as cluster, Service().serving() as service:
        support.install(cluster)
        with Pair(cluster, service, SIZE.replicas).running() as made:
            made.apply(
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": "chaos", "labels": {"rbac.kymograph.dev/aggregate-to-background": "true"}},
                    "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}],
                }
            )
            for name in (TRIGGERS, MADE, TARGETS):
                made.kubectl("create", "namespace", name)
            yield made


class Chaos:
    """Kills leaders and restarts the API server.

    Attributes:
        kills: How often the first.
        restarts: How often the second.
    """

    def __init__(self, pair: Pair, kubelet: Kubelet) -> None:
        self.kills = 0
        self.restarts = 0
        self._kubelet = kubelet
        self._pair = pair
        self._cluster = pair.cluster
        self._away = itertools.cycle((False, True))

    def run(self, users: Users) -> None:
        """Do so as often as is wanted, and as long as there is something to create."""
        restarts = list(SIZE.restarts)
        while users.busy or self.kills < SIZE.kills or restarts:
            began = time.monotonic()
            self._kill()
            if restarts and self.kills >= restarts[0]:
                del restarts[0]
                self._cluster.stop_api_server()
                self._cluster.start_api_server()
                self.restarts += 1
            time.sleep(max(began + SIZE.every - time.monotonic(), 0))
        eventually(lambda: all(replica.ready() for replica in self._pair.replicas), timeout=180)

    def _kill(self) -> None:
        """Kill who leads, and have its process back: in a second, or once another leads."""
        leader = eventually(self._leading, timeout=180)
        stays_away = next(self._away)
        if stays_away:
            self._kubelet.held.add(leader)
        leader.kill()
        self.kills += 1
        if stays_away:
            eventually(lambda: self._leading() not in (None, leader), timeout=180)
            self._kubelet.held.clear()

    def _leading(self) -> installation.Operator | None:
        """The replica that has renewed the Lease while we looked."""
        try:
            before = self._pair.lease()
            time.sleep(0.1)
            deadline = time.monotonic() + 10.0  # it is renewed every two seconds
            while time.monotonic() < deadline:
                now = self._pair.lease()
                if now["renewTime"] != before["renewTime"]:
                    return next(filter(self._pair.is_leader, self._pair.replicas), None)
                time.sleep(0.1)
        except (errors.RequestRefused, OSError, KeyError):
            return None
        return None


def listed(pair: Pair, path: str) -> list[dict[str, Any]]:
    """All objects of a collection."""
    items: list[dict[str, Any]] = patiently(lambda: pair.cluster.api.request("GET", path))["items"]
    return items


def as_long_as_it_gets_less(left: Callable[[], int]) -> None:
    """Wait until nothing is left; no longer once nothing has happened for a while, however slow the machine is."""
    least, patience = left(), time.monotonic() + PATIENCE
    while least and time.monotonic() < patience:
        time.sleep(0.5)
        now = left()
        if now < least:
            least, patience = now, time.monotonic() + PATIENCE


def test_what_was_asked_for_is_done_once(replicas, record_property) -> None:
    """Every object once with its content, every count at one, one outcome each, every report complete."""
    cluster, numbers = replicas.cluster, range(SIZE.triggers)
    path = "/api/v1/namespaces/{}/configmaps".format
    with Users(cluster, path(TARGETS), (config_map(f"trigger-{each}", TARGETS, count="x") for each in numbers)):
        pass
    for each in POLICIES:
        replicas.enforce(each)
    triggers = (config_map(f"trigger-{each}", TRIGGERS, value=f"v{each}", parity=parity(each)) for each in numbers)
    began = time.monotonic()
    with Outcomes(cluster) as outcomes, Kubelet(replicas.replicas) as kubelet:
        chaos = Chaos(replicas, kubelet)
        with Users(cluster, path(TRIGGERS), triggers, SIZE.per_second) as users:
            chaos.run(users)
        created = time.monotonic() - began
        as_long_as_it_gets_less(lambda: len(outcomes.unfinished))
        as_long_as_it_gets_less(lambda: len(_unreported(replicas)))
        done = time.monotonic() - began
        if WANTED:
            as_long_as_it_gets_less(lambda: len(outcomes.stored))
            assert outcomes.stored == []

    record_property(
        "figure",
        f"{SIZE.triggers} triggers, {SIZE.replicas} replicas: created in {created:.0f} s, all done after {done:.0f} s;"
        f" {chaos.kills} leaders killed, {chaos.restarts} API server restarts, {kubelet.started} processes started",
    )
    record_property("figure", f"requests sent again: {users.retries} {dict(users.refusals)}")
    record_property(
        "figure",
        f"UpdateRequests: {len(outcomes.followed)}, ended {outcomes.counts}, the longest after {outcomes.oldest:.1f} s;"
        f" gaps of the watch: {outcomes.gaps}",
    )
    assert users.created == SIZE.triggers
    assert chaos.kills >= SIZE.kills
    assert outcomes.unfinished == []
    assert outcomes.early == []
    assert outcomes.doubled == []

    stored = [each for each in listed(replicas, path(TRIGGERS)) if each["metadata"]["name"].startswith("trigger-")]
    uids = {each["metadata"]["uid"] for each in stored}
    failed = [each for each in outcomes.followed.values() if each.state == "Failed"]
    assert [each for each in failed if each.about[2] in uids] == [], "an object that was sent again has another uid"
    completed = {each.about for each in outcomes.followed.values() if each.state == "Completed"}
    assert {(*work, uid) for work in WORK for uid in uids} <= completed

    made = collections.Counter(_made(each) for each in listed(replicas, path(MADE)))
    del made["kube-root-ca.crt", ""]
    expected = {(f"{kind}-trigger-{each}", f"v{each}") for kind in ("synced", "once") for each in numbers}
    assert made == dict.fromkeys(expected, 1)
    counts = {
        each["metadata"]["name"]: each["data"]["count"]
        for each in listed(replicas, path(TARGETS))
        if each["metadata"]["name"].startswith("trigger-")
    }
    assert counts == {f"trigger-{each}": "xx" for each in numbers}
    assert _unreported(replicas) == []


def _made(document: dict[str, Any]) -> tuple[str, str]:
    """What something was made for, and its content."""
    name = document["metadata"]["name"]
    return name.rpartition("-")[0] if name.startswith("once-") else name, document["data"].get("value", "")


def _unreported(pair: Pair) -> list[str]:
    """The triggers whose report is missing, incomplete, or has a wrong summary."""
    reports = {
        each["metadata"]["name"]: each
        for each in listed(pair, f"/apis/wgpolicyk8s.io/v1alpha2/namespaces/{TRIGGERS}/policyreports")
    }
    wrong = []
    for each in listed(pair, f"/api/v1/namespaces/{TRIGGERS}/configmaps"):
        name = each["metadata"]["name"]
        if name.startswith("trigger-"):
            verdict = "pass" if each["data"]["parity"] == "even" else "fail"
            expected = {**dict.fromkeys(WORK, "pass"), ("audited", "audited-rule"): verdict}
            report = reports.pop(each["metadata"]["uid"], {})
            found = {(row["policy"], row["rule"]): row["result"] for row in report.get("results", ())}
            summary = {key: count for key, count in (report.get("summary") or {}).items() if count}
            if found != expected or summary != collections.Counter(expected.values()):
                wrong.append(f"{name}: {found} {summary}")
    return wrong + [f"a report on nothing: {name}" for name in reports]
