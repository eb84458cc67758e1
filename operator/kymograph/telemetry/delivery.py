"""One export request, delivered by whatever transport: tried again while that is worth it, and never past a deadline.

Which failures are passing ones is OTLP's to say (https://opentelemetry.io/docs/specs/otlp/#failures), how long to wait
is the receiver's if it says so, and the growing pauses between tries are ended at once by `close`. A receiver that says
nothing for the whole deadline costs one batch. So does one that wants to be left alone for longer than that,
and it is left alone all the same. What a receiver took of a batch is what it says it took.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from kymograph.telemetry import errors

FIRST_PAUSE = 0.5
MOST_PAUSE = 5.0
"""Seconds between two tries at first and at most; they double, and vary by a fifth so that replicas spread."""

MOST_REST = 60.0
"""Seconds that a receiver is left alone after a request was given up because it asked for that; then it is asked again,
whatever it said: it may have been another one that said so."""


class Refused(Exception):
    """A try failed; the text says why.

    Attributes:
        passing: Trying again may help.
        wait: Seconds after which the receiver wants to be asked again; None if it did not say.
        code: The name of the gRPC status or the number of the HTTP one; empty where there was none.
    """

    def __init__(self, reason: str, *, passing: bool, wait: float | None = None, code: str = "") -> None:
        super().__init__(reason)
        self.passing = passing
        self.wait = wait
        self.code = code


class Transport(Protocol):
    """One connection to a receiver. `attempt` is called from one thread at a time; `close` interrupts it."""

    def attempt(self, request: bytes, timeout: float) -> bytes:
        """Send an encoded export request, and return the encoded answer, within `timeout` seconds.

        Raises:
            Refused: It was not taken.
        """

    def close(self) -> None:
        """Give up what is under way and let go of the connection."""


class Receipt(NamedTuple):
    """What a receiver said of a request it took: how much of it was rejected all the same, and why."""

    rejected: int
    reason: str


class Delivery:
    """Delivers requests.

    Args:
        transport: How.
        timeout: Seconds that one request may take with all its tries.
        redact: Takes out of a receiver's words what must not be shown.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        transport: Transport,
        timeout: float,
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._timeout = timeout
        self._redact = redact
        self._clock = clock
        self._closed = threading.Event()
        self._rest = 0.0  # when the receiver may be asked again

    def deliver(self, request: bytes) -> Receipt:
        """Deliver an encoded request, once the receiver may be asked.

        Raises:
            ExportFailed: It was given up: refused for good, not taken in time, or interrupted by `close`.
        """
        self._closed.wait(max(0.0, self._rest - self._clock()))
        deadline = self._clock() + self._timeout
        pause = FIRST_PAUSE
        left = self._timeout
        while not self._closed.is_set():
            try:
                return self._receipt(self._transport.attempt(request, left))
            except Refused as refusal:
                wait = pause * random.uniform(0.8, 1.2) if refusal.wait is None else refusal.wait  # noqa: S311 - jitter
                if refusal.passing and refusal.wait is not None:
                    self._rest = self._clock() + min(wait, MOST_REST)
                if not refusal.passing or self._clock() + wait >= deadline or self._closed.wait(wait):
                    raise errors.ExportFailed(self._redact(str(refusal))) from None
            pause = min(pause * 2, MOST_PAUSE)
            left = max(deadline - self._clock(), 0.001)
        raise errors.ExportFailed("the exporter was shut down")

    def close(self) -> None:
        """Give up what is under way and let go of the connection; correct from any thread."""
        self._closed.set()
        self._transport.close()

    def _receipt(self, answer: bytes) -> Receipt:
        rejected, reason = read(answer) or Receipt(0, "")
        return Receipt(rejected, self._redact(reason) or "rejected by the receiver")


def read(answer: bytes) -> Receipt | None:
    """Read an answer; None if it is none of OTLP.

    Those for traces, metrics and logs have the same fields under the same numbers.
    """
    try:
        partial = trace_service_pb2.ExportTraceServiceResponse.FromString(answer).partial_success
    except Exception:  # noqa: BLE001 - protobuf's own errors differ between its implementations
        return None
    return Receipt(partial.rejected_spans, partial.error_message)
