"""How many calls a second writing reports makes: what the API server allows, learnt from what it answers."""

import asyncio

import pytest

from kymograph.clients.kubernetes import errors
from kymograph.controllers.reports import pace


async def test_a_burst_is_spread_evenly(monkeypatch) -> None:
    """So many calls a second, without a debt from idle times; work of two calls counts twice."""
    monkeypatch.setattr(pace, "FIRST", 200.0)
    loop = asyncio.get_running_loop()
    learnt = pace.AdaptivePace()
    await asyncio.sleep(0.05)
    began = loop.time()
    for calls in (1, 2, 1, 2, 1, 2, 1, 1):
        await learnt.turn(calls)
    assert loop.time() - began >= 10 / 200.0


async def test_answers_make_it_faster_up_to_a_bound() -> None:
    """A tenth more in every second of answers."""
    learnt = pace.AdaptivePace()
    for _ in range(int(pace.FIRST)):
        learnt.answered()
    assert learnt.per_second == pytest.approx(pace.FIRST * 1.1)
    for _ in range(20_000):
        learnt.answered()
    assert learnt.per_second == pace.MOST


async def test_refusals_make_it_half_as_fast_down_to_a_bound(monkeypatch) -> None:
    """Those of calls that were under way at the same time count as one."""
    monkeypatch.setattr(pace, "_now", lambda: 7.0)
    learnt = pace.AdaptivePace()
    for _ in range(8):
        learnt.refused()
    assert learnt.per_second == pace.FIRST / 2
    monkeypatch.setattr(pace, "ONE_REFUSAL", 0.0)
    for _ in range(20):
        learnt.refused()
    assert learnt.per_second == pace.LEAST


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (errors.from_status(429, None), True),
        (errors.from_status(503, None), True),
        (errors.from_status(504, None), True),
        (errors.from_status(500, None), False),
        (errors.from_status(409, None), False),
        (errors.Unreachable("reset"), False),
    ],
)
def test_which_answers_say_that_there_is_no_time(error: errors.KubernetesError, refused: bool) -> None:
    """An error of the object, or no answer at all, has nothing to do with the pace."""
    assert pace.is_refusal(error) is refused
