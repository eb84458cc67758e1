"""A cap on the traces that callers can force on us.

A `traceparent` that says "sampled" costs its writer nothing and us a trace, and so does a request that a keep rule is
sure to keep; whoever reaches the webhook port can write either. Past the cap such a request is answered like any other
and is not traced, and those it calls are told so.
"""

DEFAULT_PER_SECOND = 1_000
"""About the reviews that one replica answers on two cores with all of them traced: a cluster that samples everything on
purpose is not cut, and a forger gains nothing that sending reviews would not cost anyway."""

_NANOSECONDS = 1_000_000_000


class Cap:
    """A token bucket that holds one second's worth. Used by one thread; `refused` is read by any.

    Attributes:
        refused: Traces that were not made, so far.
    """

    __slots__ = ("_at", "_per_second", "_tokens", "refused")

    def __init__(self, per_second: int) -> None:
        self.refused = 0
        self._per_second = per_second
        self._tokens = float(per_second)
        self._at: int | None = None

    def change(self, per_second: int) -> None:
        """Follow other settings from now on."""
        if per_second != self._per_second:
            self._per_second = per_second
            self._tokens = float(per_second)

    def admits(self, now_ns: int, *, again: bool = False) -> bool:
        """Whether one more forced trace is made at this moment of a monotonic clock.

        Args:
            now_ns: The moment.
            again: The same trace was refused before, and is counted.
        """
        if self._at is not None:
            now_ns = max(now_ns, self._at)  # requests are not begun in the order of their arrival
            gained = (now_ns - self._at) * self._per_second / _NANOSECONDS
            self._tokens = min(self._tokens + gained, float(self._per_second))
        self._at = now_ns
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return True
        self.refused += not again
        return False
