"""The way out for spans and log records: a bounded queue that accepts in a microsecond and ships from its own threads.

It stands before the exporters and outlives them: `swap` puts another one behind the queue while spans keep coming.
Every exporter has its own shipping thread, so one that hangs takes nothing with it but that thread; the batch in its
hands is taken back and shipped by its successor. Whatever is not delivered is counted, by reason. No caller ever
waits for an exporter, and with none behind it the queue takes nothing at all.

What an item is, an SDK's object or bytes, whoever makes the queue and its exporters agrees on: the queue only counts
them. Spans have more to them (`spanqueue`).
"""

import collections
import contextlib
import dataclasses
import enum
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from kymograph.telemetry import environment, errors, memory

CAPACITY = 8_192
"""Spans that wait at most: some 180 requests of 44 spans, or the traces of two seconds at 4,000 spans a second: what a
collector's restart takes. Unrendered they hold about 3 MB, as bytes 2 MB."""

BATCH = 1_024
"""Spans in one export. Of a review's 60 spans a gRPC call takes 50 us in batches of 512, 30 us in these and 20 us in
such of 2,048; but what is written for a batch keeps the interpreter, which switches threads only after 5 ms, from
reviews for 2 ms already."""

LINGER = 0.5
"""Seconds that a span waits for others to share its batch."""

GRACE = 2.0
"""Seconds that a replaced exporter has for the batch in its hands, before it is told to stop; and again after that."""


class Reason(enum.StrEnum):
    """Why spans were not delivered."""

    QUEUE_FULL = "queue_full"
    MEMORY_FULL = "memory_full"
    EXPORT_FAILED = "export_failed"
    RENDER_FAILED = "render_failed"
    NO_EXPORTER = "no_exporter"
    SHUTDOWN = "shutdown"


ItemT = TypeVar("ItemT")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)


class Exporter(Protocol[ItemT_contra]):
    """What is behind the queue. Called from one thread at a time, except `shutdown`, which interrupts `export`."""

    def export(self, items: Sequence[ItemT_contra], /) -> None:
        """Deliver a batch, with whatever retries are worth while.

        Raises:
            ExportFailed: Some or all of the batch was given up. Any other exception means all of it.
        """

    def shutdown(self) -> None:
        """Give up what is under way and let go of the connection."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExportStatus:
    """What became of the spans or log records so far, for status conditions and self metrics.

    Attributes:
        sent: How many were delivered.
        dropped: How many were not, by reason; every reason is present.
        pending: How many were accepted and neither delivered nor dropped yet.
        last_success: Nanoseconds since the epoch of the last delivered batch.
        last_error: Text of the last failed batch's error.
        last_error_at: Nanoseconds since the epoch of that failure.
    """

    sent: int
    dropped: Mapping[Reason, int]
    pending: int
    last_success: int | None
    last_error: str | None
    last_error_at: int | None


class _Shipment(threading.Thread, Generic[ItemT]):
    """The thread of one exporter; what it holds is guarded by the queue's lock."""

    def __init__(self, queue: "Queue[ItemT]", exporter: Exporter[ItemT]) -> None:
        super().__init__(name="kymograph-export", daemon=True)
        self.queue = queue
        self.exporter = exporter
        self.retired = self.ended = False
        self.held: list[ItemT] = []
        self.weight = 0  # bytes, of all that was taken and is not settled or given back as a whole

    def run(self) -> None:
        while (entries := self.queue._take(self)) is not None:  # noqa: SLF001 - the thread is a part of the queue
            self.queue._hold(self, entries)  # noqa: SLF001 - see above
            while batch := self.queue._batch(self.held):  # noqa: SLF001 - see above
                lost, error = 0, None
                try:
                    self.exporter.export(batch)
                except errors.ExportFailed as failure:
                    lost = len(batch) if failure.rejected is None else min(failure.rejected, len(batch))
                    error = str(failure)
                except Exception as failure:  # noqa: BLE001 - any exporter's any failure is one and the same to us
                    lost, error = len(batch), repr(failure)
                self.queue._settle(self, len(batch), lost, error)  # noqa: SLF001 - see above
        self.queue._end(self)  # noqa: SLF001 - see above


def is_shipping() -> bool:
    """Whether this thread ships: what it says is about exporting, and exporting that would not end."""
    return isinstance(threading.current_thread(), _Shipment)


_Entry: TypeAlias = tuple[int, int, Any]
"""How many items, how many bytes, and an item, or what `Queue._items` makes them of."""


class Queue(Generic[ItemT]):
    """The queue, of items that exporters understand.

    Args:
        wall_clock: Nanoseconds since the epoch, for the status.
        clock: Monotonic seconds.
        capacity: Items that wait at most.
        linger: Seconds that an item waits for others to share its batch.
        grace: Seconds that a replaced exporter has to finish by itself, and then again to stop.
        room: What items may hold of memory, until they are delivered or dropped.

    Attributes:
        enabled: Whether anything is behind the queue. Read it before making what would be queued.
        batch: How many items are in one export.
        room: What items hold of memory.
    """

    def __init__(
        self,
        *,
        wall_clock: Callable[[], int],
        clock: Callable[[], float],
        capacity: int = CAPACITY,
        linger: float = LINGER,
        grace: float = GRACE,
        room: memory.Share | None = None,
    ) -> None:
        self.enabled = False
        self.batch = BATCH
        self._wall_clock = wall_clock
        self._clock = clock
        self._started_with = (capacity, linger)
        self._capacity = capacity
        self._linger = linger
        self._grace = grace
        self.room = room or memory.Share(memory.DESTINATIONS)
        self._changed = threading.Condition()
        self._waiting: collections.deque[_Entry] = collections.deque()
        self._size = 0  # items in _waiting
        self._in_hand = 0  # items taken by shipments, not settled
        self._due = 0.0
        self._flushes = 0
        self._undeliverable = Reason.NO_EXPORTER
        self._shipment: _Shipment[ItemT] | None = None
        self._retiring: list[tuple[_Shipment[ItemT], threading.Thread]] = []
        self._closing = False
        self._sent = 0
        self._dropped = dict.fromkeys(Reason, 0)
        self._last_success: int | None = None
        self._last_error: tuple[str, int] | None = None

    def put(self, item: ItemT, weight: int = 0) -> bool:
        """Accept an item of so many bytes, if there is room and anything behind the queue."""
        return self._accept((1, weight, item))

    def limit(self, limits: environment.QueueLimits, room: int | None = None) -> None:
        """Change the bounds; what is left open is as the queue was made. What waits already stays.

        Args:
            limits: In number and time.
            room: In bytes; of what waits and has no room then, what came last is dropped. None changes nothing.
        """
        capacity, linger = self._started_with
        with self._changed:
            self._capacity = limits.capacity or capacity
            self._linger = linger if limits.linger is None else limits.linger
            self.batch = min(limits.batch or BATCH, self._capacity)
            self.room.limit = self.room.limit if room is None else room
            while self._waiting and self.room.held > self.room.limit:
                count, weight, _ = self._waiting.pop()
                self.room.give(weight)
                self._size -= count
                self._dropped[Reason.MEMORY_FULL] += count
            self._changed.notify_all()

    def swap(self, exporter: Exporter[ItemT] | None) -> None:
        """Put another exporter, or none, behind the queue, and return at once.

        What waits is shipped by the new one. The old one may finish the batch in its hands for `grace` seconds, is
        then shut down in a thread of its own, and what it still holds `grace` seconds later goes to the new one (which
        can deliver a batch twice, never lose one). With no successor it ships what it can within the first `grace`.
        """
        successor = None if exporter is None else _Shipment(self, exporter)
        with self._changed:
            old, self._shipment = self._shipment, successor
            self.enabled = successor is not None
            if old is not None and successor is not None:
                old.retired = True
            self._changed.notify_all()
        if successor is not None:
            successor.start()
        if old is not None:
            retiring = threading.Thread(target=self._retire, args=(old,), name="kymograph-retire", daemon=True)
            with self._changed:
                self._retiring.append((old, retiring))
                retiring.start()

    def flush(self, timeout: float) -> bool:
        """Wait until everything accepted so far is delivered or dropped; False if it took longer than `timeout`."""
        with self._changed:
            self._flushes += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._size and not self._in_hand, timeout)
            finally:
                self._flushes -= 1

    def close(self, timeout: float) -> None:
        """Take nothing more, deliver what can be within `timeout` seconds, drop the rest and let the exporter go.

        What a replaced exporter still holds it delivers within a quarter of that, or the one behind the queue does.
        Returns after `timeout` and `grace` seconds at the latest, whatever the exporters do.
        """
        began = self._clock()
        self._hurry(timeout / 2)
        with self._changed:
            old, self._shipment = self._shipment, None
            self._undeliverable = Reason.SHUTDOWN
        self.flush(timeout - (self._clock() - began))
        if old is not None:
            self._stop(old)

    def status(self) -> ExportStatus:
        """Take a consistent snapshot."""
        with self._changed:
            text, moment = self._last_error or (None, None)
            return ExportStatus(
                sent=self._sent,
                dropped=types.MappingProxyType(self._dropped.copy()),
                pending=self._size + self._in_hand,
                last_success=self._last_success,
                last_error=text,
                last_error_at=moment,
            )

    def _accept(self, entry: _Entry) -> bool:
        count = entry[0]
        with self._changed:
            if not self.enabled:
                return False
            size = self._size
            if size + count > self._capacity:
                self._dropped[Reason.QUEUE_FULL] += count
                return False
            if not self.room.take(entry[1]):
                self._dropped[Reason.MEMORY_FULL] += count
                return False
            self._waiting.append(entry)
            self._size = size + count
            if not size:
                self._due = self._clock() + self._linger
            if not size or size < self.batch <= size + count or self.room.is_half_full:
                self._changed.notify_all()
        return True

    def _take(self, shipment: _Shipment[ItemT]) -> list[_Entry] | None:
        """Wait for entries worth a batch, or that leave little room; None when this shipment has nothing more to do."""
        with self._changed:
            while not shipment.retired:
                last = self._shipment is not shipment
                if self._waiting:
                    left = self._due - self._clock()
                    if last or self._flushes or self._size >= self.batch or left <= 0 or self.room.is_half_full:
                        return self._pop()
                elif last:
                    return None
                else:
                    left = None
                self._changed.wait(left)
            return None

    def _pop(self) -> list[_Entry]:
        entries: list[_Entry] = []
        taken = size = 0
        while self._waiting and taken < self.batch and size <= self.room.limit // 2:
            entry = self._waiting.popleft()
            entries.append(entry)
            taken += entry[0]
            size += entry[1]
        self._size -= taken
        self._in_hand += taken
        return entries

    def _hold(self, shipment: _Shipment[ItemT], entries: list[_Entry]) -> None:
        """Render entries into the shipment's hands. In-hand counts become exact here."""
        items: list[ItemT] = []
        failed, error = 0, ""
        for count, _, body in entries:
            try:
                items.extend(self._items(body))
            except Exception as failure:  # noqa: BLE001 - whoever names steps may fail; the other items must not
                failed, error = failed + count, f"rendering: {failure!r}"
        with self._changed:
            shipment.held, shipment.weight = items, sum(weight for _, weight, _ in entries)
            self._in_hand += len(items) - sum(count for count, _, _ in entries)
            if failed:
                self._dropped[Reason.RENDER_FAILED] += failed
                self._last_error = (error, self._wall_clock())
            if shipment.retired:
                self._give_back(shipment)
            elif not items:
                self._let_go(shipment)
            self._changed.notify_all()

    def _items(self, body: Any) -> Sequence[ItemT]:
        """What an entry stands for."""
        return (body,)

    def _settle(self, shipment: _Shipment[ItemT], count: int, lost: int, error: str | None) -> None:
        """Book an export's result, unless the batch was taken back meanwhile.

        How a replaced exporter fared says nothing about the one that is behind the queue now.
        """
        with self._changed:
            if error is None and not shipment.retired:
                self._last_success = self._wall_clock()
            elif error is not None and not shipment.retired:
                self._last_error = (error, self._wall_clock())
            if not shipment.held:
                return
            if lost < count or not shipment.retired:
                del shipment.held[:count]
                self._in_hand -= count
                self._sent += count - lost
                self._dropped[Reason.EXPORT_FAILED] += lost
            if shipment.retired:
                self._give_back(shipment)
            elif not shipment.held:
                self._let_go(shipment)
            self._changed.notify_all()

    def _give_back(self, shipment: _Shipment[ItemT]) -> None:
        """Put what a retired shipment holds before what waits; with no successor, drop it and what waits."""
        held, shipment.held = shipment.held, []
        self._in_hand -= len(held)
        self._size += len(held)
        self._due = self._clock()
        each = shipment.weight // len(held) if held else 0
        shipment.weight -= each * len(held)
        self._let_go(shipment)
        self._waiting.extendleft((1, each, item) for item in reversed(held))
        if self._shipment is None:
            self._dropped[self._undeliverable] += self._size
            self.room.give(sum(weight for _, weight, _ in self._waiting))
            self._waiting.clear()
            self._size = 0

    def _end(self, shipment: _Shipment[ItemT]) -> None:
        """A shipment has nothing more to do."""
        with self._changed:
            shipment.ended = True
            self._changed.notify_all()

    def _let_go(self, shipment: _Shipment[ItemT]) -> None:
        """A shipment holds nothing of what it took."""
        self.room.give(shipment.weight)
        shipment.weight = 0

    def _batch(self, held: list[ItemT]) -> list[ItemT]:
        """What of it one export carries: so many items, and not more bytes than a receiver takes, unless of one."""
        size = 0
        for at, item in enumerate(held[: self.batch]):
            size += _weight_of(item)
            if at and size > memory.BATCH:
                return held[:at]
        return held[: self.batch]

    def _retire(self, old: _Shipment[ItemT]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: old.ended or self._closing, self._grace)
        self._stop(old)
        with self._changed:
            self._retiring = [each for each in self._retiring if each[0] is not old]

    def _hurry(self, patience: float) -> None:
        """Take nothing more, and have replaced exporters end or give back what they hold."""
        until = self._clock() + patience
        with self._changed:
            self.enabled = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(old.ended for old, _ in self._retiring), min(patience / 2, self._grace))
            self._closing = True
            self._changed.notify_all()
            retiring = [thread for _, thread in self._retiring]
        for thread in retiring:
            thread.join(max(0.0, until - self._clock()))

    def _stop(self, old: _Shipment[ItemT]) -> None:
        """Shut an exporter down and take back what it holds; one that hangs is left behind in its own thread."""
        deadline = self._clock() + self._grace
        stopper = threading.Thread(target=_shut_down, args=(old.exporter,), name="kymograph-export-stop", daemon=True)
        stopper.start()
        for thread in (stopper, old):
            thread.join(max(0.0, deadline - self._clock()))
        with self._changed:
            old.retired = True
            self._give_back(old)
            self._changed.notify_all()


def _weight_of(item: Any) -> int:
    """Bytes of an item in an export, where it is written already; others are small."""
    written = item if isinstance(item, bytes) else getattr(item, "data", b"")
    return len(written)


def _shut_down(exporter: Exporter[Any]) -> None:
    with contextlib.suppress(Exception):  # it is let go of either way
        exporter.shutdown()
