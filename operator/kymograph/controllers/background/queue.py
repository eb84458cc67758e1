"""Names of UpdateRequests that wait for a worker: one at a time of those about the same rule and trigger.

Only names are kept here; the requests themselves are in the cluster. One that has to wait does not hold up what comes
after it: each decides by what the cluster says, so their order does not matter, only that no two run at once.
"""

import asyncio
import collections
import dataclasses
import heapq


@dataclasses.dataclass(slots=True)
class _Item:
    lane: str
    since: float
    taken: bool = False


class Queue:
    """Names that wait, first come, first served.

    Its clock is that of the running event loop.
    """

    def __init__(self) -> None:
        self._items: dict[str, _Item] = {}
        self._due: list[tuple[float, int, str]] = []
        self._blocked: dict[str, collections.deque[str]] = {}
        self._busy: set[str] = set()
        self._sequence = 0
        self._news = asyncio.Event()

    @property
    def depth(self) -> int:
        """How many names wait or are worked on."""
        return len(self._items)

    @property
    def age(self) -> float:
        """Seconds since the oldest of them came; 0 for none."""
        if not self._items:
            return 0.0
        return asyncio.get_running_loop().time() - next(iter(self._items.values())).since

    def put(self, name: str, lane: str) -> None:
        """Add a name, once; names of one lane are taken one after the other."""
        if name not in self._items:
            self._items[name] = _Item(lane, asyncio.get_running_loop().time())
            self._schedule(name, 0.0)

    def drop(self, name: str) -> None:
        """Forget a name, unless somebody works on it."""
        item = self._items.get(name)
        if item is not None and not item.taken:
            del self._items[name]

    async def take(self) -> str:
        """The next name; whoever takes it says `done` in the end."""
        while True:
            now = asyncio.get_running_loop().time()
            while self._due and self._due[0][0] <= now:
                _, _, name = heapq.heappop(self._due)
                item = self._items.get(name)
                if item is None or item.taken:
                    continue
                if item.lane in self._busy:
                    self._blocked.setdefault(item.lane, collections.deque()).append(name)
                    continue
                item.taken = True
                self._busy.add(item.lane)
                if self._due:
                    self._news.set()  # for another worker
                return name
            self._news.clear()
            try:
                async with asyncio.timeout_at(self._due[0][0] if self._due else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    def done(self, name: str, again: float | None = None) -> None:
        """A name has been worked on; it comes again after so many seconds, or not at all (None)."""
        item = self._items[name]
        item.taken = False
        self._busy.discard(item.lane)
        blocked = self._blocked.get(item.lane)
        if blocked:
            self._schedule(blocked.popleft(), 0.0)
            if not blocked:
                del self._blocked[item.lane]
        if again is None:
            del self._items[name]
        else:
            self._schedule(name, again)

    def _schedule(self, name: str, delay: float) -> None:
        self._sequence += 1
        heapq.heappush(self._due, (asyncio.get_running_loop().time() + delay, self._sequence, name))
        self._news.set()
