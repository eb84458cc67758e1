"""A clock that is moved by hand, for controllers that wait for moments."""

import asyncio

NOON = 1_709_294_400.0
"""2024-03-01T12:00:00Z."""


class HandClock:
    """Stands still until it is advanced; then everybody who waits is woken in the order of their moments."""

    def __init__(self, start=NOON):
        self._now = start
        self._waiting = []

    def now(self):
        return self._now

    async def sleep(self, seconds):
        await self._after(seconds)

    async def wait(self, event, seconds):
        moment, happened = self._after(seconds), asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({moment, happened}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            moment.cancel()
            happened.cancel()
        return event.is_set()

    async def advance(self, seconds=0.0):
        goal = self._now + seconds
        while True:
            await settle()
            self._waiting = [entry for entry in self._waiting if not entry[1].done()]
            due = min((entry for entry in self._waiting if entry[0] <= goal), key=lambda entry: entry[0], default=None)
            if due is None:
                break
            self._now = max(self._now, due[0])
            due[1].set_result(None)
        self._now = goal

    def jump(self, seconds):
        """Somebody sets the clock: the time is another one, and nobody is woken."""
        self._now += seconds
        self._waiting = [(moment + seconds, woken) for moment, woken in self._waiting]

    def _after(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        self._waiting.append((self._now + seconds, woken))
        return woken


async def settle():
    """Let every task run until it waits for something."""
    for _ in range(25):
        await asyncio.sleep(0)
