"""What one evaluation may spend: steps, bytes and time. Exhausted means a rule error, never a stuck event loop.

It goes wherever an evaluation goes, so it also carries what expressions may ask of the world (`ask`) and the log of
the steps that somebody watches.
"""

from collections.abc import Callable
from typing import Any

from kymograph.engine import errors, needs, watching

LOOK_AT_CLOCK_EVERY = 2_000
"""Steps between two looks at the clock: a step takes about a microsecond, so a deadline is met within 2 ms."""

CONTEXT = 2 * 1024 * 1024
"""Bytes of JSON that the context entries of one evaluation may load: Kyverno's `maxContextSize`."""


class Budget:
    """The steps, bytes and time that one evaluation has left.

    A deadline on the event loop cannot interrupt synchronous code, so every evaluator spends from here.

    Args:
        steps: How many steps (a node visited, an element looked at) are allowed.
        size: How many bytes of values an evaluation may make (strings spliced, lists built).
        deadline: Nanoseconds of `clock` after which no step is granted; None for no deadline.
        clock: A monotonic clock in nanoseconds; required with a deadline.
        facts: What is known of the world; None where nothing may be asked.
        context: How many bytes context entries may load; 0 for any number.

    Attributes:
        facts: As given.
        log: Where the steps inside a rule are noted; None while nobody watches.
        clock: As given.
        draws: How many random values have been drawn from the seed; the next one is made of seed and number.
    """

    __slots__ = ("_context", "_deadline", "_loaded", "_look", "clock", "draws", "facts", "log", "size", "steps")

    def __init__(
        self,
        steps: int = 1_000_000,
        size: int = 16 * 1024 * 1024,
        deadline: int | None = None,
        clock: Callable[[], int] | None = None,
        facts: needs.Facts | None = None,
        context: int = CONTEXT,
    ) -> None:
        self.steps = steps
        self.size = size
        self.clock = clock
        self.draws = 0
        self.facts = facts
        self.log: list[watching.Entry] | None = None
        self._deadline = deadline
        self._look = max(steps - LOOK_AT_CLOCK_EVERY, -1)  # what is left when it has to look up next
        self._context = context
        self._loaded = 0

    def spend(self, steps: int = 1) -> None:
        """Take steps from the budget.

        Raises:
            BudgetExhausted: The steps are used up or the deadline has passed.
        """
        left = self.steps - steps
        self.steps = left
        if left <= self._look:
            if left < 0:
                raise errors.BudgetExhausted("the evaluation took more steps than its budget allows")
            self._look = max(left - LOOK_AT_CLOCK_EVERY, -1)
            if self._deadline is not None and self.clock is not None and self.clock() > self._deadline:
                raise errors.BudgetExhausted("the evaluation passed its deadline")

    def allocate(self, size: int) -> None:
        """Take bytes from the budget for a value about to be made.

        Raises:
            BudgetExhausted: The evaluation made more bytes of values than its budget allows.
        """
        self.size -= size
        if self.size < 0:
            raise errors.BudgetExhausted("the evaluation made larger values than its budget allows")

    def load(self, size: int) -> None:
        """Take bytes for a value that a context entry loads.

        Raises:
            EvaluationError: All entries together would be larger than the budget allows.
        """
        total = self._loaded + size
        if self._context and total > self._context:
            raise errors.EvaluationError(
                f"context size limit exceeded: {total} bytes exceeds limit of {self._context} bytes"
            )
        self._loaded = total

    @property
    def loadable(self) -> int:
        """How many bytes context entries may still load."""
        return max(self._context - self._loaded, 0) if self._context else self.size

    def ask(self, need: needs.Need) -> Any:
        """What a need turned out to be.

        Raises:
            Needed: It has not been fetched yet.
            EvaluationError: It could not be fetched, or nothing may be asked here.
        """
        if self.facts is None:
            raise errors.EvaluationError(f"{type(need).__name__} is not available here")
        return self.facts.require(need)

    def lacks(self, kind: type[needs.Need]) -> bool:
        """Whether no need of a class can be met here, so that nothing has to be worked out for it."""
        return self.facts is not None and kind in self.facts.without
