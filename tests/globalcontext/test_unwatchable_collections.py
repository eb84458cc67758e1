"""Collections that can be listed but not followed, and objects that cannot be kept: who asks is told so."""

import asyncio

import pytest

from fakes.collection import Collection
from fakes.globalcontext import DEPLOYMENTS, Catalogues, until
from kymograph.clients.kubernetes import discovery, informer

USAGE = {"kubernetesResource": {"group": "metrics.k8s.io", "version": "v1beta1", "resource": "pods"}}


class Usage(Collection):
    """What metrics-server serves: no list has a resourceVersion, no object a uid."""

    async def pages(self, resource, **_):
        yield {"metadata": {}, "items": [{"metadata": {"name": "web", "namespace": "shop"}, "containers": []}]}


async def test_a_collection_without_versions_is_a_reason_why_there_are_no_data(cluster, start, monkeypatch) -> None:
    """Said in the entry's condition; nobody who asks waits for ever."""
    monkeypatch.setattr(informer, "BACKOFF_FIRST", 0.001)
    cluster.collections["pods"] = Usage()
    catalogues = Catalogues()
    served = discovery.Served("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", "", True, frozenset({"get", "list"}))
    catalogues.current = discovery.Catalogue((served,))
    await cluster.define("usage", USAGE)
    async with asyncio.timeout(30):
        with pytest.raises(LookupError, match=r"pods cannot be listed: .* no resourceVersion"):
            await start(catalogues=catalogues).wait("usage")


async def test_an_object_too_deep_to_be_measured_is_left_out(cluster, start) -> None:
    """Of a kind without a schema; the others are there."""
    deep = {}
    for _ in range(300):
        deep = {"spec": deep}
    await cluster.deployments.put("deep", spec=deep)
    await cluster.define("all", DEPLOYMENTS)
    context = start()
    held = await context.wait("all")
    assert [document["metadata"]["name"] for document in held] == ["a", "b"]
    await cluster.deployments.put("c")
    await until(lambda: len(context.at_hand("all")) == 3)
