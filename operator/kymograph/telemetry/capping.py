"""A cap on the traces that callers can force on us.

A `traceparent` that says "sampled" costs its writer nothing and us a trace; whoever reaches the webhook port can write
one. Past the cap such a request is answered like any other and is not sampled, and those it calls are told so.
"""

DEFAULT_PER_SECOND = 1_000
"""About the reviews that one replica answers on two cores with all of them traced: a cluster that samples everything on
purpose is not cut, and a forger gains nothing that sending reviews would not cost anyway."""

_NANOSECONDS = 1_000_000_000


class Cap:
    """A token bucket that holds one second's worth. Used by one thread; `refused` is read by any.

    Attributes:
        refused: Decisions that were not followed, so far.
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

    def admits(self, now_ns: int) -> bool:
        """Whether one more forced trace is followed at this moment of a monotonic clock."""
        if self._at is not None:
            now_ns = max(now_ns, self._at)  # requests are not begun in the order of their arrival
            gained = (now_ns - self._at) * self._per_second / _NANOSECONDS
            self._tokens = min(self._tokens + gained, float(self._per_second))
        self._at = now_ns
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return True
        self.refused += 1
        return False
