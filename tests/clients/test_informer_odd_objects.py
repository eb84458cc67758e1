"""Whatever stands in an object, and however a collection is served: an informer goes on with the others."""

import asyncio
import contextlib
import logging

import pytest

from fakes.collection import Collection
from kymograph.clients.kubernetes import errors, informer, resources

CONFIG_MAPS = resources.Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)


@contextlib.asynccontextmanager
async def following(made):
    """Run an informer; one that ends fails the test."""
    task = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(60):
            yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(look):
    while not look():  # noqa: ASYNC110  # looks at anything
        await asyncio.sleep(0.001)


def _size(document):
    return int(document["size"])


@pytest.mark.parametrize("at_first", [True, False])
async def test_an_object_that_cannot_be_projected_counts_as_absent(at_first, caplog) -> None:
    """Listed so, or changed into that; it is told of once, without its content, and counts again once it is mended."""
    there, told = Collection(), []
    await there.put("good", size="1")
    await there.put("odd", size="hush-hush" if at_first else "2")
    made = informer.Informer(there, CONFIG_MAPS, project=_size, changed=lambda key, value: told.append((key[1], value)))
    with caplog.at_level(logging.ERROR):
        async with following(made):
            await made.synced.wait()
            await there.put("odd", size="hush-hush")
            await there.put("odd", size="hush-hush-hush")
            await there.put("good", size="3")
            await until(lambda: made.objects == {("ns", "good"): 3})
            await there.put("odd", size="4")
            await until(lambda: made.objects == {("ns", "good"): 3, ("ns", "odd"): 4})
    before = [] if at_first else [("odd", 2), ("odd", None)]
    assert told == [("good", 1), *before, ("good", 3), ("odd", 4)]
    assert [record.getMessage() for record in caplog.records] == [
        "The object ns/odd of configmaps is not as it should be (ValueError) and is left out"
    ]


async def test_an_object_that_who_listens_cannot_take_counts_as_absent() -> None:
    there = Collection("odd", "good")

    def changed(key, value):
        if key[1] == "odd" and value is not None:
            raise RuntimeError

    made = informer.Informer(there, CONFIG_MAPS, changed=changed)
    async with following(made):
        await made.synced.wait()
        assert list(made.objects) == [("ns", "good")]


@pytest.mark.parametrize(
    "page",
    [
        {"metadata": {}, "items": []},
        {"metadata": {"resourceVersion": ""}, "items": []},
        {"items": []},
        {"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {}}]},
        {"metadata": {"resourceVersion": "1"}, "items": ["text"]},
    ],
)
async def test_a_list_that_cannot_be_followed_is_told_of_and_tried_again(page, monkeypatch) -> None:
    """Aggregated APIs serve such lists: those of metrics.k8s.io have no resourceVersion."""
    monkeypatch.setattr(informer, "BACKOFF_FIRST", 0.001)
    there, failures, odd = Collection("a"), [], [page]
    listed = there.pages

    async def pages(resource, **given):
        if odd:
            yield odd.pop()
            return
        async for each in listed(resource, **given):
            yield each

    monkeypatch.setattr(there, "pages", pages)
    made = informer.Informer(there, CONFIG_MAPS, failed=failures.append)
    async with following(made):
        await made.synced.wait()
    assert [type(each) for each in failures] == [errors.AnswerInvalid]
    assert list(made.objects) == [("ns", "a")]
