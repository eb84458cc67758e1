"""The watches' bad days: the operator is cut off, and when it is back the API server has forgotten what happened.

No process is restarted: a relay between the operator and the API server is cut, the history of the API server is
compacted, and what the operator's watches ask for when the relay is back is answered with 410 Expired.
"""

import json
import pathlib
import re
import time
from collections.abc import Iterator

import grpc
import pytest
from opentelemetry.trace import NoOpTracer

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, errors, resources
from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from kymograph.localcluster import options as settings
from kymograph.telemetry import current
from support import installed as support
from support import relay, waiting
from support.installed import Installed, eventually, pod, policy

COMPACT = "/etcdserverpb.KV/Compact"
POLICIES = "/apis/kyverno.io/v1/clusterpolicies"
ROUNDS = 3
FEW = 3
"""Connections that come and go."""


def demanding(label: str, message: str) -> dict:
    """A policy that demands a label, named after it."""
    return policy(label, {"message": message, "pattern": {"metadata": {"labels": {label: "?*"}}}})


@pytest.fixture(scope="module")
def cluster() -> Iterator[localcluster.LocalCluster]:
    """A control plane whose watches begin in etcd, and not in a memory of what was there before."""
    with localcluster.LocalCluster(settings.Options(apiserver_flags=("--watch-cache=false",))) as running:
        support.install(running)
        yield running


@pytest.fixture(scope="module")
def line(cluster) -> Iterator[relay.Line]:
    """All that the operator hears of the API server."""
    with relay.line(int(cluster.url.rpartition(":")[2])) as made:
        yield made


@pytest.fixture(scope="module")
def cut_off(cluster, line) -> Iterator[Installed]:
    """The operator, behind the relay; the API server reaches it directly."""
    through = cluster.directory / "through-the-relay.kubeconfig"
    token = cluster.create_token(installation.NAMESPACE, installation.SERVICE_ACCOUNT)
    kubeconfig = json.loads(cluster.kubeconfig_for_token(token).read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{line.port}"
    through.write_text(json.dumps(kubeconfig))
    made = Installed(cluster, installation.Operator(cluster, flags=[f"--kubeconfig={through}"]))
    made.configure({})
    with made.operator:
        yield made


def compact(cluster: localcluster.LocalCluster) -> None:
    """Have etcd forget everything but what there is now (`CompactionRequest`: field 1, the revision)."""
    revision = int(cluster.api.request("GET", POLICIES)["metadata"]["resourceVersion"])
    message = bytearray(b"\x08")
    while revision > 0x7F:
        message.append(revision & 0x7F | 0x80)
        revision >>= 7
    message.append(revision)
    with grpc.insecure_channel(f"unix:{cluster.etcd_socket}") as channel:
        channel.unary_unary(COMPACT)(bytes(message), timeout=30)


def denial(installed: Installed) -> str:
    """What a Pod without labels is told."""
    return installed.create(pod("unlabelled"), "--dry-run=server").stderr


def gaps(installed: Installed) -> int:
    """How often the operator says that a watch has a gap."""
    return installed.operator.log.read_text().count("has a gap")


def descriptors(installed: Installed) -> int:
    """How many files and connections the operator has open."""
    return len(list(pathlib.Path(f"/proc/{installed.operator.process.pid}/fd").iterdir()))


@pytest.mark.timeout(600)
def test_what_happened_before_a_410_is_made_up_for(cluster, line, cut_off) -> None:
    """A policy that was deleted, one that was changed and one that was made meanwhile: again and again, for no more."""
    for label in ("deleted", "changed"):
        cut_off.enforce(demanding(label, f"{label}: before the gap"))
    assert "deleted: before the gap" in denial(cut_off)
    opened = [_settled(cut_off)]
    for round_ in range(ROUNDS):
        told = gaps(cut_off)
        line.cut()
        assert "changed: " in denial(cut_off), "who is cut off goes on judging by what it knows"
        cut_off.kubectl("delete", "clusterpolicy", "deleted")
        cut_off.apply(demanding("changed", f"changed: in gap {round_}"))
        cut_off.apply(demanding(f"made-{round_}", f"made: in gap {round_}"))
        compact(cluster)
        line.restore()
        eventually(lambda now=round_: _is_made_up_for(cut_off, now))
        eventually(lambda before=told: gaps(cut_off) > before)
        cut_off.kubectl("delete", "clusterpolicy", f"made-{round_}")
        cut_off.enforce(demanding("deleted", "deleted: once more"))
        opened.append(_settled(cut_off))
    waiting.until_nothing_is_left(lambda: _left_open(cut_off, opened), timeout=120)
    assert cut_off.operator.process.poll() is None
    assert not re.search(r"Traceback|Task exception", cut_off.operator.log.read_text())


async def test_a_long_list_goes_on_after_its_snapshot_is_forgotten(cluster, monkeypatch) -> None:
    """What was there all the time is in it once; what was made behind its back may be, and the list does end."""
    monkeypatch.setattr(clients, "PAGE_SIZE", 2)
    client = clients.KubernetesClient(
        connection.from_kubeconfig(cluster.admin_kubeconfig),
        current.ClientSpans(NoOpTracer(), time.monotonic_ns),
    )
    namespaces = "/api/v1/namespaces"
    names = [f"long-{letter}" for letter in "abcde"]
    for name in names:
        cluster.api.request("POST", namespaces, {"metadata": {"name": name}})
    try:
        pages = client.pages(resources.NAMESPACES)
        listed = [each["metadata"]["name"] for each in (await anext(pages))["items"]]
        cluster.api.request("POST", namespaces, {"metadata": {"name": "long-z"}})
        compact(cluster)
        listed += [each["metadata"]["name"] async for page in pages for each in page["items"]]
        strict = client.pages(resources.NAMESPACES, snapshot=True)
        await anext(strict)
        cluster.api.request("POST", namespaces, {"metadata": {"name": "long-y"}})
        compact(cluster)
        with pytest.raises(errors.Expired):
            await anext(strict)
    finally:
        await client.close()
    assert set(names) <= set(listed)
    assert len(listed) == len(set(listed))


def _is_made_up_for(installed: Installed, round_: int) -> bool:
    """Whether a Pod is judged by the policies as they are after a gap."""
    answer = denial(installed)
    return all(f"{each}: in gap {round_}" in answer for each in ("made", "changed")) and "deleted:" not in answer


def _left_open(installed: Installed, opened: list[int]) -> str:
    """What is left of watches that ended, as text, if more is open than was after all rounds but the last."""
    now = descriptors(installed)
    return f"{now} open files after {opened}" if now > max(opened[:-1]) + FEW else ""


def _settled(installed: Installed) -> int:
    """How many descriptors are open once their number has not changed for a while."""
    seen: list[int] = []

    def steady() -> bool:
        seen.append(descriptors(installed))
        return len(seen) >= 20 and len(set(seen[-20:])) == 1

    eventually(steady)
    return seen[-1]
