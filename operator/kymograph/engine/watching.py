"""What an evaluation tells whoever watches it: the steps it begins and ends.

The engine knows neither spans nor metrics. It reports steps to a `Watcher`; the recorder in `telemetry` is one,
`kymograph test --trace` will be another. No watcher is `None`, which costs one comparison a step.
"""

import enum
from typing import Protocol


class Step(enum.IntEnum):
    """The kinds of steps an evaluation consists of, from the outside in."""

    POLICY = 0
    RULE = 1
    MATCH = 2
    CONTEXT = 3
    PRECONDITIONS = 4
    NEED = 5


class Watcher(Protocol):
    """Is told the steps of an evaluation, strictly nested: every `begin` meets its `end`."""

    def begin(self, step: Step, subject: object, now: int) -> None:
        """A step begins.

        Args:
            step: What kind of step.
            subject: The compiled policy or rule (for MATCH and PRECONDITIONS the rule), the name of a context entry,
                or the need. Held by reference: a watcher reads names from it only when somebody will look at them.
            now: Nanoseconds of the clock that was passed to the evaluation.
        """

    def end(self, outcome: str, detail: str, now: int) -> None:
        """The step begun last ends.

        Args:
            outcome: `pass`, `fail`, `skip`, `error` or `warn` for a policy or rule; `matched`, `excluded`,
                `unmatched` for MATCH; `true`, `false` or `error` for PRECONDITIONS; `ok` or `error` otherwise.
            detail: The message of the outcome, or an empty string.
            now: Nanoseconds of the same clock.
        """
