"""What controllers count of their work: one object each, so that all of them count the same under the same names.

Binding takes half a microsecond and a unit of work at least one call to the API server: nothing is kept bound here.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Hashable, Iterator
from typing import TypeAlias

from kymograph.telemetry.instruments import Instruments, labels

SUCCESS = "success"
"""The outcome of work that raised nothing."""

Reconciled: TypeAlias = Callable[[float, str], None]
"""Is told of a unit of work: the seconds that it took, and its outcome."""


def uncounted(_seconds: float, _outcome: str) -> None:
    """For work that nobody counts."""


class Work:
    """Counts the work of one controller.

    Args:
        instruments: The instruments of the process.
        name: The controller's; Kyverno's name for it where it has one.
        clock: Monotonic seconds.
    """

    def __init__(self, instruments: Instruments, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._instruments = instruments
        self._name = name
        self._clock = clock
        self._entered: dict[Hashable, float] = {}
        self._attended = False

    @contextlib.contextmanager
    def reconciling(self) -> Iterator[Callable[[str], None]]:
        """Count a unit of work; an exception that leaves the block is its outcome.

        Returns:
            A context manager; what it gives takes another outcome than success, of work that failed and raised nothing.
        """
        began, outcomes = self._clock(), [SUCCESS]
        try:
            yield outcomes.append
        except BaseException as error:
            outcomes.append(type(error).__name__)
            raise
        finally:
            self.reconciled(self._clock() - began, outcomes[-1])

    def reconciled(self, seconds: float, outcome: str = SUCCESS) -> None:
        """A unit of work was done, and took so long."""
        self._instruments.reconciled.bind((self._name,)).add()
        self._instruments.reconcile_duration.bind(labels.Reconciliation(self._name, outcome)).record(seconds)

    def waited(self, seconds: float) -> None:
        """Something was taken from the queue, so long after it could have been."""
        self._instruments.queue_duration.bind((self._name,)).record(max(seconds, 0.0))

    def entered(self, key: Hashable) -> None:
        """Something waits from now on, unless it does already; `taken` or `withdrawn` has to follow."""
        self._entered.setdefault(key, self._clock())

    def taken(self, key: Hashable) -> None:
        """It is worked on."""
        since = self._entered.pop(key, None)
        if since is not None:
            self.waited(self._clock() - since)

    def withdrawn(self, key: Hashable) -> None:
        """There is nothing to be done about it any more."""
        self._entered.pop(key, None)

    def requeued(self, failures: int) -> None:
        """Work failed, for the so manieth time in a row, and is tried again."""
        self._instruments.requeued.bind((self._name, str(failures))).add()

    def dropped(self) -> None:
        """Work was given up."""
        self._instruments.queue_dropped.bind((self._name,)).add()

    def queue(self, depth: Callable[[], int], *, led: bool = False) -> None:
        """Say how much waits, from any thread; the latest word counts.

        Args:
            depth: How much.
            led: It is for the replica that leads, which tells of it while it is `attending`. The others only know of
                the same work: from all of them it would be counted several times, and seem never to be done.
        """
        self._instruments.queue_depth.observe(
            lambda: [((self._name,), depth())] if self._attended or not led else [], self._name
        )

    @contextlib.contextmanager
    def attending(self) -> Iterator[None]:
        """Work off what waits, for as long as this lasts; what was there before has waited for nobody."""
        self._entered = dict.fromkeys(self._entered, self._clock())
        self._attended = True
        try:
            yield
        finally:
            self._attended = False


class Signal(asyncio.Event):
    """Says that there is something to do, for a leader that does all of it at once: a queue of one thing at most.

    Args:
        counted: Where it is counted, and how long it waits until it is cleared.
    """

    def __init__(self, counted: Work) -> None:
        super().__init__()
        self._counted = counted
        counted.queue(lambda: int(self.is_set()), led=True)

    def set(self) -> None:
        """There is something to do."""
        self._counted.entered(self)
        super().set()

    def clear(self) -> None:
        """It is being done."""
        self._counted.taken(self)
        super().clear()
