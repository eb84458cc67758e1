"""Which changes of objects are worth another look."""

import asyncio
import copy

import pytest

from fakes.collection import Collection
from kymograph.clients.kubernetes import resources
from kymograph.controllers.reports.scans import watch

PODS = resources.Resource("", "v1", "pods", "Pod", namespaced=True)
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "namespace": "ns",
        "uid": "u",
        "resourceVersion": "101",
        "generation": 1,
        "labels": {"app": "web"},
    },
    "spec": {"containers": []},
    "status": {"phase": "Pending"},
}


def changed(document, **metadata):
    made = copy.deepcopy(document)
    made["metadata"] |= metadata
    return made


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"resourceVersion": "102"}, False),
        ({"managedFields": [{}]}, False),
        ({"generation": 2}, True),
        ({"labels": {}}, True),
        ({"annotations": {"a": "b"}}, True),
        ({"uid": "another"}, True),
    ],
)
def test_a_marker_differs_where_the_content_may(change, expected) -> None:
    """A new status raises no generation."""
    assert (watch.marker(changed(POD, **change)) != watch.marker(POD)) is expected


def test_kinds_without_generations_are_told_by_their_version() -> None:
    """ConfigMaps, for example."""
    before = changed(POD, generation=None)
    assert watch.marker(changed(before, resourceVersion="102")) != watch.marker(before)


@pytest.fixture
def cluster():
    return Collection()


@pytest.fixture
def follower(cluster):
    return watch.Watch(cluster, PODS, lambda: 7.0, asyncio.Event())


def test_the_same_content_is_seen_once(follower) -> None:
    """Neither a new version nor the node that the scheduler chose makes another content."""
    assert follower.saw(POD)
    bound = changed(POD, resourceVersion="102", generation=2)
    bound["spec"]["nodeName"] = "n1"
    assert not follower.saw(bound)
    assert follower.saw({**bound, "spec": {"containers": [{}]}})


async def test_what_was_not_seen_as_it_is_now_is_pending(cluster, follower) -> None:
    """Objects that a scan has seen are not, until they change; what is deleted is none any more."""
    for name in ("seen", "other"):
        await cluster.put(name)
        cluster.objects["ns", name]["metadata"]["uid"] = name
    follower.saw(cluster.objects["ns", "seen"])
    running = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(60):
            while not follower.pending:  # noqa: ASYNC110  # the informer has no event for this
                await asyncio.sleep(0.001)
            assert follower.pending == {("ns", "other"): 7.0}
            follower.saw(cluster.objects["ns", "other"])
            assert not follower.pending
            stored = cluster._store("seen", {"spec": 1})
            stored["metadata"]["uid"] = "seen"
            await cluster._tell("MODIFIED", stored, silently=False)
            while not follower.pending:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.001)
            assert set(follower.pending) == {("ns", "seen")}
            await cluster.remove("seen")
            while follower.pending:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.001)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
