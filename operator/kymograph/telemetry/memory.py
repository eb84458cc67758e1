"""What telemetry may hold of memory, whoever holds it: a collector that is gone must not cost the process its life.

Counts bound nothing where one item can be a thousand times as large as another. So what is held is weighed, in bytes
and rather too high than too low, and each kind of it has a share of its own: spans that pile up take no room from
metrics, nor the other way round. What finds no room is dropped by whoever wanted to hold it, and counted there.
"""

import threading

MIB = 1 << 20

UNDECIDED = 6 * MIB
"""Of large requests under way, and of other traces that are not decided yet."""

DESTINATIONS = 12 * MIB
"""Finished spans that wait for a destination or are being sent to it: each may hold an equal part. What several of them
hold is weighed for each, since any of them may be the one that never lets go of it."""

UNDER_WAY = 6 * MIB
"""What each of 1,000 requests that are answered at a time may note without being weighed: see `recorder.FREE`."""

LOG_RECORDS = 5 * MIB
"""Records that wait or are being sent."""

SERIES = 20 * MIB
"""Series of metrics, with their exemplars and with what was told of them."""

REQUESTS = 6 * MIB
"""Requests that are being sent, one for each of at most six queues, and their copies in the transport: see `BATCH`."""

SCRAPES = 1 * MIB
"""What the scrapes under way hold between a series and the socket: see `runtime.scrapes`. It is not weighed: a piece is
as large as all others."""

WRITTEN = 6 * MIB
"""Parts of spans that were written before and are remembered: see `templates` and `spanencoding`."""

BEGUN = 2 * MIB
"""When spans of the SDK began: see `steady`."""

ALL = UNDECIDED + DESTINATIONS + UNDER_WAY + LOG_RECORDS + SERIES + REQUESTS + SCRAPES + WRITTEN + BEGUN
"""What all of it may come to: 64 MiB."""

BATCH = MIB // 2
"""Bytes of spans or records in one export: an eighth of what a collector takes by default. One that is larger is sent
by itself."""


class Share:
    """A share of memory, and how much of it is held. Used by any thread.

    Args:
        limit: Bytes; can be changed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._changing = threading.RLock()  # a claim may end where memory is looked through for what is unused

    @property
    def held(self) -> int:
        """Bytes that are held."""
        return self._held

    @property
    def is_half_full(self) -> bool:
        """Whether it is time for its holders to let go of something."""
        return self._held * 2 > self.limit

    def take(self, size: int, *, anyway: bool = False) -> bool:
        """Hold so many bytes more, if there is room, or `anyway`."""
        with self._changing:
            if self._held + size > self.limit and not anyway:
                return False
            self._held += size
        return True

    def give(self, size: int) -> None:
        """Hold so many bytes less."""
        with self._changing:
            self._held -= size

    def claim(self) -> "Claim":
        """A claim on it that grows, and ends with whoever holds it."""
        return Claim(self)


class Claim:
    """What one holder holds of a share; it is given back when nobody refers to the claim any more.

    Args:
        share: The share.
    """

    __slots__ = ("_share", "_size")

    def __init__(self, share: Share) -> None:
        self._share = share
        self._size = 0

    def grow(self, size: int, *, anyway: bool = False) -> bool:
        """Hold so many bytes more, if there is room, or `anyway`: they are held already, by somebody who goes."""
        if not self._share.take(size, anyway=anyway):
            return False
        self._size += size
        return True

    def __del__(self) -> None:
        self._share.give(self._size)
