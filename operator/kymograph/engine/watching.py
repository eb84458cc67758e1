"""What an evaluation tells whoever watches it: the steps it begins and ends.

The engine knows neither spans nor metrics. It logs steps for a `Watcher`; the recorder in `telemetry` is one,
`kymograph test --trace` will be another. No watcher is `None`, which costs one comparison a step.
"""

import enum
from collections.abc import Sequence
from typing import Protocol, TypeAlias


class Step(enum.IntEnum):
    """The kinds of steps an evaluation consists of, from the outside in."""

    POLICY = 0
    RULE = 1
    MATCH = 2
    CONTEXT = 3
    PRECONDITIONS = 4
    NEED = 5


Entry: TypeAlias = tuple[int | str, object, int]
"""One of a log of steps, which are strictly nested.

A step begins with (its `Step`, its subject, now). The subject is the compiled policy or rule (for MATCH and
PRECONDITIONS the rule), the name of a context entry, or the need; held by reference, because names are read from it
only when somebody will look at them.

The step begun last ends with (its outcome, its detail, now). The outcome is `pass`, `fail`, `skip`, `error` or `warn`
for a policy or rule; `matched`, `excluded` or `unmatched` for MATCH; `true`, `false` or `error` for PRECONDITIONS; `ok`
or `error` otherwise. The detail is the message of the outcome, or an empty string.

`now` is nanoseconds of the clock that was passed to the evaluation.
"""


class Watcher(Protocol):
    """Is told the steps of an evaluation."""

    def extend(self, steps: Sequence[Entry]) -> None:
        """One policy has been evaluated, in these steps.

        A call a policy and not one a step: with 17 policies that is 118 calls fewer, and watching them takes a fifth
        of the time.
        """
