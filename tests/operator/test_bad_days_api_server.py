"""The API server's bad days: it is restarted, its history is gone, the kinds of policies come late and go again."""

import json
import signal

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from support import installed as support
from support.installed import NO_PRIVILEGES, ROOT, Installed, eventually, pod, policy
from support.replicas import Load, Pair
from support.service import Service

DEFINITIONS = ("clusterpolicies.kyverno.io", "policies.kyverno.io")


def labelled(name: str, message: str):
    """A policy that demands a label."""
    return policy(name, {"message": message, "pattern": {"metadata": {"labels": {name: "?*"}}}})


@pytest.fixture(scope="module")
def pair():
    """A control plane of its own with two replicas."""
    with localcluster.LocalCluster() as cluster, Service().serving() as service:
        support.install(cluster)
        with Pair(cluster, service).running() as made:
            made.enforce(NO_PRIVILEGES)
            yield made


@pytest.fixture(scope="module")
def bare():
    """A control plane of its own with one replica, started before the kinds of policies were installed."""
    with localcluster.LocalCluster() as cluster:
        support.install(cluster)
        made = Installed(cluster, installation.Operator(cluster))
        made.configure({})
        made.kubectl("delete", "customresourcedefinition", *DEFINITIONS)
        with made.operator:
            yield made


def restart(pair: Pair) -> None:
    pair.cluster.stop_api_server()
    pair.cluster.start_api_server()


@pytest.mark.timeout(180)
def test_a_restarted_api_server_finds_everything_as_it_was(pair) -> None:
    """The same processes answer its first request; a policy that is made afterwards is registered and enforced."""
    processes = [replica.process.pid for replica in pair.replicas]
    restart(pair)
    with Load(pair.cluster) as load:
        pair.enforce(labelled("made-after", "made after the restart"))
        eventually(lambda: _says(pair, "made after the restart"))
        pair.kubectl("delete", "clusterpolicy", "made-after")
        eventually(lambda: pair.create(pod("unlabelled"), "--dry-run=server").returncode == 0)
    assert not [verdict for verdict in load.wrong if "made after the restart" not in verdict]
    assert [replica.process.pid for replica in pair.replicas] == processes
    assert all(replica.process.poll() is None for replica in pair.replicas)
    eventually(lambda: all(replica.ready() for replica in pair.replicas))


@pytest.mark.timeout(240)
def test_what_happened_in_a_gap_of_the_watches_is_made_up_for(pair) -> None:
    """A replica sleeps while a policy is deleted, one changed and one made, and that history is gone when it wakes."""
    pair.enforce(labelled("deleted", "deleted in the gap"))
    pair.enforce(labelled("changed", "before the gap"))
    pair.kubectl("label", "namespace", "kube-public", "team=gap")
    sleeper = pair.follower()
    sleeper.process.send_signal(signal.SIGSTOP)
    try:
        restart(pair)  # its watches end, and so do connections that lead to the sleeper
        eventually(lambda: pair.create(pod("x", privileged=True), "--dry-run=server").stderr.count("Privileged"))
        pair.kubectl("delete", "clusterpolicy", "deleted")
        pair.enforce(labelled("changed", "after the gap"))
        pair.enforce(labelled("made", "made in the gap"))
        restart(pair)
    finally:
        sleeper.process.send_signal(signal.SIGCONT)
    eventually(sleeper.ready)
    assert next(each for each in pair.replicas if each is not sleeper).stop() == 0
    try:
        eventually(
            lambda: _says(pair, "after the gap", "made in the gap", never=("before the gap", "deleted in the gap"))
        )
        assert "has a gap" in sleeper.log.read_text(), "the history was indeed gone"
    finally:
        for replica in pair.replicas:
            if replica is not sleeper:
                replica.start()
        pair.kubectl("delete", "clusterpolicy", "changed", "made")


def _says(pair: Pair, *words: str, never: tuple[str, ...] = ()) -> bool:
    """Whether a Pod without labels is told all of some words, and none of others."""
    answer = pair.create(pod("unlabelled"), "--dry-run=server").stderr
    return all(each in answer for each in words) and not any(each in answer for each in never)


def test_the_operator_is_ready_before_there_are_kinds_of_policies(bare) -> None:
    """It has nothing to enforce then, and says so by being ready."""
    eventually(bare.operator.ready)
    assert bare.create(pod("anything", privileged=True), "--dry-run=server").returncode == 0


@pytest.mark.timeout(240)
def test_policies_are_enforced_whenever_their_kinds_come_and_go(bare) -> None:
    """Installed late, deleted while watched (with all policies), installed again: enforced, not, enforced."""
    for _ in range(2):
        bare.kubectl("apply", "-k", str(ROOT / "crds"))
        bare.kubectl("wait", "--for=condition=Established", *(f"crd/{name}" for name in DEFINITIONS), "--timeout=60s")
        eventually(lambda: bare.create(NO_PRIVILEGES).returncode == 0 or _exists(bare))
        bare.kubectl("wait", "--for=condition=Ready", "clusterpolicy", "no-privileges", "--timeout=60s")
        assert "Privileged" in bare.create(pod("bad", privileged=True), "--dry-run=server").stderr
        bare.kubectl("delete", "customresourcedefinition", *DEFINITIONS)
        eventually(lambda: "kymograph-resource-validation" not in bare.webhook_configurations())
        assert bare.create(pod("bad", privileged=True), "--dry-run=server").returncode == 0
    assert bare.operator.process.poll() is None
    assert json.loads(bare.kubectl("get", "lease", "kymograph", "-n", "kymograph", "-o", "json").stdout)["spec"]


def _exists(bare: Installed) -> bool:
    return bare.kubectl("get", "clusterpolicy", "no-privileges", check=False).returncode == 0
