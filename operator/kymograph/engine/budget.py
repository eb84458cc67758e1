"""What one evaluation may spend: steps, bytes and time. Exhausted means a rule error, never a stuck event loop.

It goes wherever an evaluation goes, so it also carries what expressions may ask of the world (`ask`) and the log of
the steps that somebody watches.
"""

from collections.abc import Callable
from typing import Any

from kymograph.engine import errors, needs, watching

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
        context: How many bytes context entries may load, 0 for any number; None for what the installation says.

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
        context: int | None = None,
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
        total, most = self._loaded + size, self._most()
        if most and total > most:
            raise errors.EvaluationError(f"context size limit exceeded: {total} bytes exceeds limit of {most} bytes")
        self._loaded = total

    @property
    def loadable(self) -> int:
        """How many bytes context entries may still load."""
        most = self._most()
        return max(most - self._loaded, 0) if most else self.size

    @property
    def installation(self) -> needs.Installation:
        """What holds for every evaluation."""
        return needs.STANDARD if self.facts is None else self.facts.installation

    def _most(self) -> int:
        """How many bytes context entries may load; 0 for any number."""
        return self.installation.context_size if self._context is None else self._context

    def ask(self, need: needs.Need) -> Any:
        """What a need turned out to be.

        Raises:
            Needed: It has not been fetched yet.
            EvaluationError: It could not be fetched, or nothing may be asked here.
        """
        if self.facts is None:
            raise errors.EvaluationError(f"{type(need).__name__} is not available here")
        try:
            return self.facts.require(need)
        except needs.Needed:
            self._loaded = 0  # with the fact there the evaluation begins again, and loads again
            raise

    def lacks(self, kind: type[needs.Need]) -> bool:
        """Whether no need of a class can be met here, so that nothing has to be worked out for it."""
        return self.facts is not None and kind in self.facts.without
