"""A timetable of many entries of which any may be moved or taken out at any time: a heap that forgets lazily.

It knows no clock and sleeps nowhere: who owns it asks what is first.
"""

import heapq
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

KeyT = TypeVar("KeyT")

_SLACK = 64
"""Dead entries that are never worth a clean-up."""


class Backlog(NamedTuple):
    """What waits although its moment has come.

    Attributes:
        depth: How many.
        age: Seconds since the earliest of these moments.
    """

    depth: int
    age: float


class Schedule(Generic[KeyT]):
    """At most one moment for each key.

    Moving and removing leave a dead entry in the heap, which is dropped when it comes to the top or when the dead
    outnumber the living; every operation costs O(log n), spread over many.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, KeyT]] = []
        self._alive: dict[KeyT, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._alive)

    def __iter__(self) -> Iterator[KeyT]:
        """The keys there are now, in no order; the timetable may be changed meanwhile."""
        return iter(tuple(self._alive))

    def put(self, key: KeyT, moment: float) -> None:
        """Enter a key, or move it to another moment."""
        self._serial += 1
        self._alive[key] = self._serial
        heapq.heappush(self._heap, (moment, self._serial, key))
        if len(self._heap) > 2 * len(self._alive) + _SLACK:
            self._heap = [entry for entry in self._heap if self._is_alive(entry)]
            heapq.heapify(self._heap)

    def drop(self, key: KeyT) -> None:
        """Take a key out, if it is there."""
        self._alive.pop(key, None)

    def first(self) -> float | None:
        """The earliest moment; None while there are no entries."""
        while self._heap and not self._is_alive(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def backlog(self, now: float) -> Backlog:
        """What has come and not been taken out; may be asked from any thread."""
        late = [now - entry[0] for entry in tuple(self._heap) if entry[0] <= now and self._is_alive(entry)]
        return Backlog(len(late), max(late, default=0.0))

    def pop(self) -> KeyT:
        """Take out the key of the earliest moment, of several the one entered first.

        Raises:
            IndexError: There are no entries.
        """
        self.first()
        key = heapq.heappop(self._heap)[2]
        del self._alive[key]
        return key

    def _is_alive(self, entry: tuple[float, int, KeyT]) -> bool:
        return self._alive.get(entry[2]) == entry[1]
