"""Time as the cleanup controller sees it: handed in, so that tests need not wait for it."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """The wall clock, and waiting by it."""

    def now(self) -> float:
        """Seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Return when the event is set (True), or after so many seconds (False)."""


class ServerClock:
    """The clock of the API server, waited for on the running event loop.

    Objects are stamped by the API server, so what is due is judged by its clock: a node whose own clock is a year ahead
    would otherwise delete everything that has a year left. Only before the API server has said anything, the clock of
    the machine counts.

    Args:
        said: What the API server's clock shows now; None where it has not said yet.
    """

    def __init__(self, said: Callable[[], dt.datetime | None]) -> None:
        self._said = said

    def now(self) -> float:
        """Seconds since the epoch."""
        moment = self._said()
        return time.time() if moment is None else moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Return when the event is set (True), or after so many seconds (False)."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True
