"""What is due is judged by the clock that stamps the objects."""

import asyncio
import datetime as dt

from kymograph.controllers.cleanup import clock

LATER = dt.datetime(2030, 1, 31, tzinfo=dt.UTC)


def test_the_api_servers_clock_counts() -> None:
    """A node whose own clock is years ahead deletes nothing too early."""
    assert clock.ServerClock(lambda: LATER).now() == LATER.timestamp()


def test_before_the_api_server_has_answered_the_machines_counts(monkeypatch) -> None:
    """There is no other."""
    monkeypatch.setattr(clock.time, "time", lambda: 1_709_294_400.5)
    assert clock.ServerClock(lambda: None).now() == 1_709_294_400.5


async def test_waiting_ends_with_the_event_or_with_the_time() -> None:
    """And says which."""
    event = asyncio.Event()
    waiting = clock.ServerClock(lambda: LATER)
    assert await waiting.wait(event, 0.001) is False
    event.set()
    assert await waiting.wait(event, 60) is True
