"""What one evaluation may spend: steps, bytes and time. Exhausted means a rule error, never a stuck event loop.

It goes wherever an evaluation goes, so it also carries what expressions may ask of the world (`ask`).
"""

from collections.abc import Callable
from typing import Any

from kymograph.engine import errors, needs

LOOK_AT_CLOCK_EVERY = 2_000
"""Steps between two looks at the clock: a step takes about a microsecond, so a deadline is met within 2 ms."""


class Budget:
    """The steps, bytes and time that one evaluation has left.

    A deadline on the event loop cannot interrupt synchronous code, so every evaluator spends from here.

    Args:
        steps: How many steps (a node visited, an element looked at) are allowed.
        size: How many bytes of values an evaluation may make (strings spliced, lists built).
        deadline: Nanoseconds of `clock` after which no step is granted; None for no deadline.
        clock: A monotonic clock in nanoseconds; required with a deadline.
        facts: What is known of the world; None where nothing may be asked.
    """

    __slots__ = ("_clock", "_deadline", "_facts", "_look", "size", "steps")

    def __init__(
        self,
        steps: int = 1_000_000,
        size: int = 16 * 1024 * 1024,
        deadline: int | None = None,
        clock: Callable[[], int] | None = None,
        facts: needs.Facts | None = None,
    ) -> None:
        self.steps = steps
        self.size = size
        self._deadline = deadline
        self._clock = clock
        self._facts = facts
        self._look = steps - LOOK_AT_CLOCK_EVERY

    def spend(self, steps: int = 1) -> None:
        """Take steps from the budget.

        Raises:
            BudgetExhausted: The steps are used up or the deadline has passed.
        """
        left = self.steps - steps
        self.steps = left
        if left < 0:
            raise errors.BudgetExhausted("the evaluation took more steps than its budget allows")
        if left <= self._look:
            self._look = left - LOOK_AT_CLOCK_EVERY
            if self._deadline is not None and self._clock is not None and self._clock() > self._deadline:
                raise errors.BudgetExhausted("the evaluation passed its deadline")

    def allocate(self, size: int) -> None:
        """Take bytes from the budget for a value about to be made.

        Raises:
            BudgetExhausted: The evaluation made more bytes of values than its budget allows.
        """
        self.size -= size
        if self.size < 0:
            raise errors.BudgetExhausted("the evaluation made larger values than its budget allows")

    def ask(self, need: needs.Need) -> Any:
        """What a need turned out to be.

        Raises:
            Needed: It has not been fetched yet.
            EvaluationError: It could not be fetched, or nothing may be asked here.
        """
        if self._facts is None:
            raise errors.EvaluationError(f"{type(need).__name__} is not available here")
        return self._facts.require(need)
