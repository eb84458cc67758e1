"""The API server's bad days: it is restarted, its history is gone, the kinds of policies come late and go again."""

import json
import signal
from collections.abc import Iterator

import pytest

from support import webhookorder
from support.installed import NO_PRIVILEGES, ROOT, Installed, eventually, pod, policy
from support.replicas import Load, Pair

DEFINITIONS = ("clusterpolicies.kyverno.io", "policies.kyverno.io")


def labelled(name: str, message: str):
    """A policy that demands a label."""
    return policy(name, {"message": message, "pattern": {"metadata": {"labels": {name: "?*"}}}})


@pytest.fixture
def bare(pair) -> Iterator[Pair]:
    """A replica alone, started when there were no kinds of policies."""
    pair.kubectl("delete", "customresourcedefinition", *DEFINITIONS)
    for replica in pair.replicas:
        assert replica.stop() == 0
    pair.operator.start()
    yield pair
    _install_kinds(pair)
    for replica in pair.replicas:
        if replica.process.poll() is not None:
            replica.start()
    pair.protect()


def restart(pair: Pair) -> None:
    pair.cluster.stop_api_server()
    pair.cluster.start_api_server()


@pytest.mark.timeout(600)
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


@pytest.mark.timeout(600)
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


@pytest.mark.timeout(600)
def test_policies_are_enforced_whenever_their_kinds_come_and_go(bare) -> None:
    """Ready without, for there is nothing to enforce; installed late, deleted while watched, and installed again."""
    eventually(bare.operator.ready)
    _is_unprotected(bare)
    for _ in range(2):
        _install_kinds(bare)
        eventually(lambda: bare.create(NO_PRIVILEGES).returncode == 0 or _exists(bare))
        bare.kubectl("wait", "--for=condition=Ready", "clusterpolicy", "no-privileges", "--timeout=180s")
        webhookorder.until_in_force(bare.cluster.api)
        assert "Privileged" in bare.create(pod("bad", privileged=True), "--dry-run=server").stderr
        bare.kubectl("delete", "customresourcedefinition", *DEFINITIONS)
        _is_unprotected(bare)
    assert bare.operator.process.poll() is None
    assert json.loads(bare.kubectl("get", "lease", "kymograph", "-n", "kymograph", "-o", "json").stdout)["spec"]


def _install_kinds(installed: Installed) -> None:
    """Install the kinds of policies, and wait until they are served."""
    installed.kubectl("apply", "-k", str(ROOT / "crds"))
    established = ("--for=condition=Established", *(f"crd/{name}" for name in DEFINITIONS))
    installed.kubectl("wait", *established, "--timeout=180s")


def _is_unprotected(installed: Installed) -> None:
    """No webhook is left that asks about Pods, and none is refused."""
    eventually(lambda: "kymograph-resource-validation" not in installed.webhook_configurations())
    webhookorder.until_in_force(installed.cluster.api)
    assert installed.create(pod("bad", privileged=True), "--dry-run=server").returncode == 0


def _exists(bare: Installed) -> bool:
    return bare.kubectl("get", "clusterpolicy", "no-privileges", check=False).returncode == 0
