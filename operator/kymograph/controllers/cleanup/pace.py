"""How fast deletes follow each other: evenly, ever faster while all is well, hardly at all while nothing is answered.

One object's failure is its own affair: a webhook that refuses it, a right that is missing. An API server that does not
answer, or says that it cannot now (429, 503, 504), is everybody's: all deletes wait, ever longer, until one is heard.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from kymograph.clients.kubernetes import errors
from kymograph.controllers.cleanup import clock as clocks

DELETES_PER_SECOND = 20.0
"""What a burst begins with, and begins with again after an overload: what kube-controller-manager allows itself by
default (`--kube-api-qps`). Each delete may call webhooks, ours too, so thousands of objects that are due at the same
midnight must not become a load test of admission."""

MOST_PER_SECOND = 200.0
GROWTH = 0.1
"""Deletes a second more for each that is answered, a tenth more in every second, and the most there may be."""

BREAK = 1.0
"""Seconds without a delete after which the next ones are a burst of their own."""

DELETES_AT_ONCE = 4
"""A delete waits for the webhooks it calls, each up to 30 s; one that hangs must not hold up all others. Slow webhooks
make for fewer deletes."""

PAUSE_FIRST = 1.0
PAUSE_MOST = 30.0
"""Seconds between two deletes while the API server is overloaded; each refusal doubles them."""

_OVERLOADED = frozenset({429, 503, 504})


class Pace:
    """The pace of one kind of work.

    Args:
        clock: For waiting.
    """

    def __init__(self, clock: clocks.Clock) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()
        self._per_second = DELETES_PER_SECOND
        self._latest = 0.0
        self._pause = 0.0
        self._lengthened = False

    async def turn(self) -> None:
        """Wait until the next delete may begin."""
        async with self._turn:
            if not 0.0 <= self._clock.now() - self._latest <= BREAK:
                self._per_second = DELETES_PER_SECOND
            await self._clock.sleep(1.0 / self._per_second)
            if self._pause:
                await self._clock.sleep(self._pause)
            self._lengthened = False
            self._latest = self._clock.now()

    @contextlib.contextmanager
    def heed(self) -> Iterator[None]:
        """Learn from how a delete ends; what several of one turn meet with counts once."""
        try:
            yield
        except errors.KubernetesError as error:
            self._learn(overload=is_overload(error))
            raise
        self._learn(overload=False)

    def _learn(self, *, overload: bool) -> None:
        if not overload:
            self._pause = 0.0
            self._per_second = min(self._per_second + GROWTH, MOST_PER_SECOND)
            return
        self._per_second = DELETES_PER_SECOND
        if not self._lengthened:
            self._pause = min(max(2 * self._pause, PAUSE_FIRST), PAUSE_MOST)
            self._lengthened = True


def is_overload(error: errors.KubernetesError) -> bool:
    """Whether an error says that the API server can do nothing at all now."""
    return isinstance(error, errors.Unreachable) or (
        isinstance(error, errors.StatusError) and error.code in _OVERLOADED
    )
