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


async def test_names_of_one_lane_have_an_order(waiting) -> None:
    """Whenever they come, as long as none of them is worked on."""
    for name, order in (("c", (2, 0)), ("b", (1, 7)), ("a", (1, 3))):
        waiting.put(name, "one", order=order)
    taken = []
    for _ in range(3):
        taken.append(await waiting.take())
        waiting.done(taken[-1])
    assert taken == ["a", "b", "c"]


async def test_the_oldest_is_taken_first(waiting) -> None:
    """In whichever order a new leader hears of them; what is tried again does not go before all others each time."""
    for name, age in (("young", 1.0), ("old", 300.0), ("from-the-future", -5.0)):
        waiting.put(name, name, age)
    assert await waiting.take() == "old"
    waiting.done("old", again=0.0)
    assert [await waiting.take() for _ in range(3)] == ["young", "from-the-future", "old"]


async def test_what_failed_holds_up_what_comes_after_it(waiting) -> None:
    """And is tried again as soon as something comes."""
    waiting.put("a", "one", order=(1, 0))
    waiting.done(await waiting.take(), again=3600.0, holds=True)
    waiting.put("other", "two")
    assert await waiting.take() == "other"
    waiting.put("b", "one", order=(2, 0))
    assert await waiting.take() == "a"
    waiting.done("a", again=0.05, holds=True)
    assert await waiting.take() == "a"
    waiting.done("a")
    assert await waiting.take() == "b"


async def test_what_failed_and_is_gone_holds_up_nobody(waiting) -> None:
    waiting.put("a", "one")
    waiting.put("b", "one")
    waiting.done(await waiting.take(), again=3600.0, holds=True)
    waiting.drop("a")
    assert await waiting.take() == "b"


async def test_names_are_counted_by_what_they_do(waiting) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    for name in "abc":
        waiting.put(name, name, age=60.0 if name == "b" else 0.0)
    waiting.done(await waiting.take(), again=3600.0)
    await waiting.take()
    assert waiting.states == {"ready": 1, "working": 1, "retrying": 1}
    assert 60 <= waiting.age <= 60 + clock() - began


async def test_there_is_room_for_so_many(waiting, monkeypatch) -> None:
    monkeypatch.setattr(queue, "MOST_NAMES", 2)
    for name in "abc":
        waiting.put(name, name)
    assert (waiting.depth, waiting.full) == (2, True)


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


async def test_how_long_a_name_could_have_been_taken_is_told() -> None:
    waited = []
    clock = asyncio.get_running_loop().time
    began = clock()
    waiting = queue.Queue(waited.append)
    waiting.put("a", "lane")
    await waiting.take()
    waiting.done("a", again=0.05)
    await waiting.take()
    first, second = waited
    assert min(first, second) >= 0.0
    assert first + second <= clock() - began


async def test_threads_that_collect_metrics_may_ask(waiting) -> None:
    """They have no event loop, and nothing need have come yet."""
    assert await asyncio.to_thread(lambda: (waiting.age, sum(waiting.states.values()))) == (0.0, 0)
    waiting.put("a", "lane", age=10.0)
    age, states = await asyncio.to_thread(lambda: (waiting.age, waiting.states))
    assert age >= 10.0
    assert states == {"ready": 1, "working": 0, "retrying": 0}
