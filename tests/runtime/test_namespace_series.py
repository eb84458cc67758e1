"""Series of a namespace that is gone go, those of one that came back stay."""

import asyncio

import pytest

from kymograph.runtime import forgetting


@pytest.fixture
def dropped(monkeypatch):
    monkeypatch.setattr(forgetting, "STRAGGLERS", 0.01)
    return []


async def test_they_are_dropped_at_once_and_again_for_work_that_was_under_way(dropped):
    series = forgetting.NamespaceSeries(dropped.append)
    series.changed("shop", None)
    assert dropped == [{"resource_namespace": "shop"}]
    async with asyncio.timeout(30):
        while len(dropped) < 2:  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.001)


async def test_a_namespace_that_came_back_keeps_its_series(dropped):
    series = forgetting.NamespaceSeries(dropped.append)
    series.changed("shop", None)
    series.changed("shop", {})
    series.changed("other", None)
    async with asyncio.timeout(30):
        while dropped.count({"resource_namespace": "other"}) < 2:  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.001)
    assert dropped.count({"resource_namespace": "shop"}) == 1
