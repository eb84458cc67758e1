"""What an evaluation tells whoever watches it: the steps it begins and ends.

The engine knows neither spans nor metrics. It logs steps for a `Watcher`; the recorder in `telemetry` is one,
`kymograph test --trace` will be another. No watcher is `None`, which costs one comparison a step.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias


class Step(enum.IntEnum):
    """The kinds of steps an evaluation consists of, from the outside in."""

    POLICY = 0
    RULE = 1
    MATCH = 2
    CONTEXT = 3
    PRECONDITIONS = 4
    NEED = 5
    EXCEPTION = 6


Entry: TypeAlias = tuple[Any, ...]
"""One of a log of steps, which are strictly nested.

A step begins with (its `Step`, its subject, now). The subject is the compiled policy, rule or exception (for MATCH and
PRECONDITIONS the rule), the name of a context entry, or the need; held by reference, because names are read from it
only when somebody will look at them.

The step begun last ends with (its outcome, its detail, now). The outcome is `pass`, `fail`, `skip`, `error` or `warn`
for a policy or rule; `matched`, `excluded` or `unmatched` for MATCH; `true`, `false` or `error` for PRECONDITIONS;
`applied`, `unmatched` or `error` for EXCEPTION; `ok`, `skip` or `error` otherwise. The detail is the message of the
outcome, or an empty string.

A rule with nothing to tell but its match is one entry, (the rule, its outcome, its detail, when it began, when its
match was decided, when it ended, the outcome of the match): the steps RULE and MATCH in short. If it has preconditions
they begin then, and three parts follow: when they were decided, their outcome, their detail.

A policy is one entry where all of its rules have matched and no more is to be told of them, (the policy, its outcome,
when it began, when the match of its first rule was decided, when it ended, the `RuleResult`s of its rules): the matches
of the others were decided with that one and took no time, and each began when the one before it ended. Most policies
are such, and their results are there anyway: what is not kept has cost a tuple a policy.

`now` is nanoseconds of the clock that was passed to the evaluation.
"""

POLICY_IN_SHORT = 6
RULE_IN_SHORT = 7
CONDITIONED_RULE_IN_SHORT = 10
"""How long the entries of a policy and a rule in short are; the others have three parts."""

MOST_HELD = 512
"""Entries after which steps are handed over before the evaluation is complete; few evaluations come that far."""

OK = "ok"

MATCHED = "matched"
"""The outcome of the match of every rule of a policy in short."""

_POLICY = Step.POLICY


def rules_in_short(decided: int, results: Iterable[Entry]) -> Iterator[Entry]:
    """The entries of the rules of a policy in short, each of them in short."""
    for rule, outcome, detail, _, began, ended, _, _ in results:
        yield rule, outcome, detail, began, decided, ended, MATCHED
        decided = ended


def written_out(steps: Iterable[Entry]) -> list[Entry]:
    """The same steps, each policy and rule in short as the entries that it stands for."""
    log: list[Entry] = []
    for step in steps:
        if len(step) >= RULE_IN_SHORT:
            rule, outcome, detail, began, decided, ended, match, *asked = step
            log += ((Step.RULE, rule, began), (Step.MATCH, rule, began), (match, "", decided))
            if asked:
                when, met, why = asked
                log += ((Step.PRECONDITIONS, rule, decided), (met, why, when))
            log.append((outcome, detail, ended))
        elif len(step) == POLICY_IN_SHORT:
            policy, outcome, began, decided, ended, results = step
            log.append((_POLICY, policy, began))
            log += written_out(rules_in_short(decided, results))
            log.append((outcome, "", ended))
        else:
            log.append(step)
    return log


Log: TypeAlias = list[Entry]
"""The steps of one policy, while it is evaluated."""


class WrittenOut(Log):
    """The log of a policy that is evaluated anew: no rule is noted in short, and it is handed over when that ends.

    Not a flag of every log: a plain list is copied faster.
    """

    __slots__ = ()


class Watcher(Protocol):
    """Is told the steps of an evaluation."""

    def extend(self, steps: Sequence[Entry]) -> None:
        """Policies have been evaluated, in these steps; or part of one, if it waits for a fact (`Step.NEED`).

        A call an evaluation and not one a step or policy: what is noted for 17 policies is taken over at once. The
        sequence is used again after the call.
        """


class Steps:
    """Tells a watcher the steps of an evaluation, each once, although a policy that lacks a fact is evaluated anew.

    What has been told of such a policy is compared with what it does the second time. That is the same again, unless
    its budget ends before; then the steps that were told and are open are ended.

    Args:
        watcher: Is told.
        clock: A monotonic clock in nanoseconds.
    """

    __slots__ = ("_clock", "_log", "_told", "_waiting", "_watcher")

    def __init__(self, watcher: Watcher, clock: Callable[[], int]) -> None:
        self._watcher = watcher
        self._clock = clock
        self._log: Log = []
        self._told: list[Entry] = []
        self._waiting = False

    def resume(self) -> Log:
        """The evaluation begins, or the fact it waited for is there; where its steps are noted."""
        if self._waiting:
            self._waiting = False
            self._watcher.extend([(OK, "", self._clock())])
        return self._log

    def begin(self, subject: object, now: int) -> Log:
        """A policy begins, whose steps are handed over when it ends."""
        log = self._log
        log.append((_POLICY, subject, now))
        return log

    def end(self, outcome: str, now: int) -> None:
        """The policy begun last ends."""
        self._log.append((outcome, "", now))
        self.hand_over(now)

    def hand_over(self, now: int) -> Log:
        """Tell the watcher what has been noted, of policies that are complete; where further steps are noted."""
        log = self._log
        if self._told:
            self._watcher.extend(self._untold(log, now))
            self._told, self._log = [], []
        elif log:
            self._watcher.extend(log)
            log.clear()
        return self._log

    def wait(self, need: object) -> None:
        """The policy begun last cannot go on without a fact."""
        now = self._clock()
        begun = next(index for index in reversed(range(len(self._log))) if self._log[index][0] is _POLICY)
        if begun:
            self._watcher.extend(self._log[:begun])
        log = written_out(self._log[begun:])
        self._watcher.extend([*self._untold(log, now), (Step.NEED, need, now)])
        self._told = log
        self._log = WrittenOut()
        self._waiting = True

    def _untold(self, log: Sequence[Entry], now: int) -> list[Entry]:
        told = self._told
        if len(told) <= len(log) and all(
            before[0] == again[0] and (before[1] is again[1] or before[1] == again[1])
            for before, again in zip(told, log, strict=False)
        ):
            return list(log[len(told) :])
        open_steps = sum(-1 if type(step[0]) is str else 1 for step in told)
        return [("error", "", now)] * open_steps
