"""The order of work: nothing twice, nothing of one lane at once, what has to wait holds up nobody."""

import asyncio

import pytest

from kymograph.controllers.background import queue


@pytest.fixture
async def waiting():
    return queue.Queue()


async def test_a_name_is_taken_once(waiting) -> None:
    waiting.put("a", "lane")
    waiting.put("a", "lane")
    assert await waiting.take() == "a"
    assert waiting.depth == 1
    waiting.done("a")
    assert waiting.depth == 0


async def test_names_of_one_lane_follow_each_other(waiting) -> None:
    for name, lane in (("a", "one"), ("b", "one"), ("c", "two")):
        waiting.put(name, lane)
    assert [await waiting.take(), await waiting.take()] == ["a", "c"]
    waiting.done("a")
    assert await waiting.take() == "b"


async def test_what_has_to_wait_holds_up_nobody(waiting) -> None:
    waiting.put("a", "one")
    waiting.put("b", "one")
    waiting.done(await waiting.take(), again=0.05)
    assert await waiting.take() == "b"
    waiting.done("b")
    assert await waiting.take() == "a"


async def test_what_is_gone_is_not_taken(waiting) -> None:
    waiting.put("a", "one")
    waiting.put("b", "two")
    waiting.drop("a")
    assert await waiting.take() == "b"
    waiting.drop("b")  # somebody works on it
    waiting.done("b")
    assert waiting.depth == 0


async def test_who_waits_is_woken(waiting) -> None:
    """Each of several workers."""
    takers = [asyncio.create_task(waiting.take()) for _ in range(3)]
    await asyncio.sleep(0)
    for name in "abc":
        waiting.put(name, name)
    assert sorted(await asyncio.gather(*takers)) == ["a", "b", "c"]
    assert waiting.age >= 0
