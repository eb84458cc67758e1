"""What controllers count of their work: one object each, so that all of them count the same under the same names.

Binding takes half a microsecond and a unit of work at least one call to the API server: nothing is kept bound here.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from kymograph.telemetry.instruments import Instruments, labels

SUCCESS = "success"
"""The outcome of work that raised nothing."""


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

    @contextlib.contextmanager
    def reconciling(self) -> Iterator[None]:
        """Count a unit of work; an exception that leaves the block is its outcome."""
        began, outcome = self._clock(), SUCCESS
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self._instruments.reconciled.bind((self._name,)).add()
            told = labels.Reconciliation(self._name, outcome)
            self._instruments.reconcile_duration.bind(told).record(self._clock() - began)

    def waited(self, seconds: float) -> None:
        """Something was taken from the queue, so long after it could have been."""
        self._instruments.queue_duration.bind((self._name,)).record(max(seconds, 0.0))

    def requeued(self, failures: int) -> None:
        """Work failed, for the so manieth time in a row, and is tried again."""
        self._instruments.requeued.bind((self._name, str(failures))).add()

    def dropped(self) -> None:
        """Work was given up."""
        self._instruments.queue_dropped.bind((self._name,)).add()

    def queue(self, depth: Callable[[], int]) -> None:
        """Say how much waits, from any thread; the latest word counts."""
        self._instruments.queue_depth.observe(lambda: [((self._name,), depth())], self._name)
