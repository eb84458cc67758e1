"""Names of UpdateRequests that wait for a worker: those about the same rule and trigger one after the other, in order.

Otherwise the oldest comes first: leaders that do not lead for long would leave the same ones behind each time. What is
tried again counts as no older than that.

Only names are kept here; the requests themselves are in the cluster. One that failed holds up what came after it for
the same rule and trigger, and is tried again at once when something comes. One whose trigger is not stored yet, and
perhaps never will be, holds up nobody.
"""

import asyncio
import dataclasses
import enum
import heapq
from collections.abc import Callable

MOST_NAMES = 10_000
"""Names that wait at once; more stay in the cluster until there is room."""


class State(enum.StrEnum):
    """What a name is doing; the label of `update_requests_waiting`."""

    READY = "ready"
    WORKING = "working"
    RETRYING = "retrying"


@dataclasses.dataclass(slots=True)
class _Item:
    """A name. `entry` is its latest place in a heap; places before it do not count any more. `turn` orders lanes."""

    lane: str
    since: float
    order: tuple[int, int]
    turn: float
    entry: int = 0
    due: float = 0.0
    taken: bool = False


class Queue:
    """Names that wait, those of one lane in their order.

    Its clock is that of the running event loop.

    Args:
        waited: Is told, of each name that is taken, for how many seconds it could have been.
    """

    def __init__(self, waited: Callable[[float], None] = lambda _: None) -> None:
        self._waited = waited
        self._loop: asyncio.AbstractEventLoop | None = None  # whose clock it is, once there was something
        self._items: dict[str, _Item] = {}
        self._ready: dict[str, list[tuple[tuple[int, int], int, str]]] = {}
        self._due: list[tuple[float, int, str, str]] = []  # when, entry, lane, and a name that is ready then
        self._busy: set[str] = set()
        self._held: dict[str, str] = {}
        self._entries = 0
        self._news = asyncio.Event()

    @property
    def depth(self) -> int:
        """How many names wait or are worked on."""
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether there is no room for another name."""
        return len(self._items) >= MOST_NAMES

    @property
    def age(self) -> float:
        """Seconds since the oldest of them was asked for; 0 for none. May be asked from any thread."""
        oldest = min((each.since for each in list(self._items.values())), default=None)
        return 0.0 if oldest is None or self._loop is None else self._loop.time() - oldest

    @property
    def states(self) -> dict[str, int]:
        """How many names do what, by `State`. May be asked from any thread."""
        counts = dict.fromkeys(map(str, State), 0)
        if self._loop is None:
            return counts
        now = self._loop.time()
        for each in list(self._items.values()):
            state = State.WORKING if each.taken else State.RETRYING if each.due > now else State.READY
            counts[state] += 1
        return counts

    def put(self, name: str, lane: str, age: float = 0.0, order: tuple[int, int] = (0, 0)) -> None:
        """Add a name, once, if there is room.

        Args:
            name: The name.
            lane: What it is about: names of one lane are taken one after the other.
            age: Seconds since it was asked for.
            order: Its place in its lane, smallest first.
        """
        if name not in self._items and not self.full:
            self._loop = asyncio.get_running_loop()
            since = _now() - age
            self._items[name] = _Item(lane, since, order, since)
            self._enter(name)
            holder = self._held.pop(lane, None)
            if holder is not None:
                self._enter(holder)

    def drop(self, name: str) -> None:
        """Forget a name, unless somebody works on it."""
        item = self._items.get(name)
        if item is not None and not item.taken:
            del self._items[name]
            if self._held.get(item.lane) == name:
                del self._held[item.lane]
                self._announce(item.lane)

    async def take(self) -> str:
        """The next name; whoever takes it says `done` in the end."""
        while True:
            while self._due and self._due[0][0] <= _now():
                _, entry, lane, name = heapq.heappop(self._due)
                if name:
                    self._mature(name, entry)
                taken = self._next(lane)
                if taken is not None:
                    self._waited(_now() - self._items[taken].due)
                    if self._due:
                        self._news.set()  # for another worker
                    return taken
            self._news.clear()
            try:
                async with asyncio.timeout_at(self._due[0][0] if self._due else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    def done(self, name: str, again: float | None = None, *, holds: bool = False) -> None:
        """A name has been worked on.

        Args:
            name: The name.
            again: Seconds after which it comes again; None for not at all.
            holds: Until then no other of its lane is taken; one that comes brings it back at once.
        """
        item = self._items[name]
        item.taken = False
        self._busy.discard(item.lane)
        if again is None:
            del self._items[name]
        else:
            self._entries += 1
            item.entry, item.due = self._entries, _now() + again
            item.turn = item.due
            heapq.heappush(self._due, (item.due, item.entry, item.lane, name))
            self._news.set()
            if holds:
                self._held[item.lane] = name
        self._announce(item.lane)

    def _next(self, lane: str) -> str | None:
        """Take the first name of a lane, if one may be taken."""
        if lane in self._busy or lane in self._held:
            return None
        ready = self._ready.get(lane, [])
        while ready:
            _, entry, name = heapq.heappop(ready)
            if not ready:
                del self._ready[lane]
            item = self._items.get(name)
            if item is not None and item.entry == entry:
                item.taken = True
                self._busy.add(lane)
                return name
        return None

    def _mature(self, name: str, entry: int) -> None:
        """The time of a name has come."""
        item = self._items.get(name)
        if item is not None and item.entry == entry:
            if self._held.get(item.lane) == name:
                del self._held[item.lane]
            self._enter(name)

    def _enter(self, name: str) -> None:
        """A name is ready."""
        item = self._items[name]
        self._entries += 1
        item.entry, item.due = self._entries, _now()
        heapq.heappush(self._ready.setdefault(item.lane, []), (item.order, item.entry, name))
        self._announce(item.lane)

    def _announce(self, lane: str) -> None:
        """Have somebody look at a lane: sooner at one whose next name was asked for earlier."""
        if lane in self._ready and lane not in self._busy and lane not in self._held:
            self._entries += 1
            _, _, name = self._ready[lane][0]
            item = self._items.get(name)
            since = _now() if item is None else min(item.turn, _now())
            heapq.heappush(self._due, (since, self._entries, lane, ""))
            self._news.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
