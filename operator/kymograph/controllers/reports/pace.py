"""How fast reports are written: as fast as the API server takes them, and no faster than it says.

How many writes are under way at once has a bound of its own (`writer.WORKERS`), so that an API server that answers more
slowly is asked more slowly. One that has no time (429, 503, 504) is asked half as often at once, and then a little more
often with every answer.
"""

import asyncio

from kymograph.clients.kubernetes import errors

FIRST = 300.0
"""Calls a second at the beginning, the size that one client of an API server may make by default in controllers of this
kind."""

LEAST, MOST = 5.0, 1_000.0
"""Calls a second at least and at most, whatever the API server says."""

GROWTH = 0.1
"""Calls a second more after each answer: a tenth more in every second."""

ONE_REFUSAL = 1.0
"""Seconds in which further refusals tell nothing new: those calls had begun before the first was heard of."""

_NO_TIME = frozenset({429, 503, 504})


class AdaptivePace:
    """Spreads calls evenly, at a pace that is learnt from their answers."""

    def __init__(self) -> None:
        self.per_second = FIRST
        self._next = 0.0
        self._heard = -ONE_REFUSAL

    async def turn(self, calls: int = 1) -> None:
        """Wait until work may begin that takes so many calls."""
        now = _now()
        at = max(now, self._next)
        self._next = at + calls / self.per_second
        if at > now:
            await asyncio.sleep(at - now)

    def answered(self) -> None:
        """The API server has done what it was asked."""
        self.per_second = min(self.per_second + GROWTH, MOST)

    def refused(self) -> None:
        """The API server has no time."""
        now = _now()
        if now - self._heard >= ONE_REFUSAL:
            self._heard = now
            self.per_second = max(self.per_second / 2, LEAST)


def is_refusal(error: errors.KubernetesError) -> bool:
    """Whether an error says that the API server has no time, for whatever it is asked."""
    return isinstance(error, errors.StatusError) and error.code in _NO_TIME


def _now() -> float:
    return asyncio.get_running_loop().time()
