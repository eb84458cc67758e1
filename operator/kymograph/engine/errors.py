"""Errors of the engine, by who has to react.

EngineError
  x PolicyInvalid        the author of the policy: carries every problem with its field path
  x EvaluationError      the author of the policy: an expression failed on this object
    + NotFoundInPath     a JMESPath named a key the object does not have
    + LoadFailed         an entry of a rule's context could not be loaded: no operator turns that into null
    + Unavailable        a fact is not to be had here: an entry of a rule's context that asks for it is left out
    + BudgetExhausted    the evaluation took more steps or time than it was given
"""

from typing import NamedTuple


class EngineError(Exception):
    """The root of what the engine raises."""


class Problem(NamedTuple):
    """One thing wrong with a policy.

    Attributes:
        path: The field, as a path from the object's root: `spec.rules[0].validate.pattern`.
        reason: What is wrong and, where it is not obvious, what to write instead.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class PolicyInvalid(EngineError):
    """A policy cannot be compiled. `problems` holds all that is wrong, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class EvaluationError(EngineError):
    """An expression of a policy failed on an object; the rule's result is `error`."""


class NotFoundInPath(EvaluationError):
    """A JMESPath walked into a key that its map does not hold (Kyverno's fork raises where JMESPath gives null)."""


class LoadFailed(EvaluationError):
    """An entry of a rule's context could not be loaded. Whatever names the entry fails, `||` and projections too."""


class Unavailable(EvaluationError):
    """A fact is not to be had where the evaluation takes place, as the cluster's on a command line."""


class BudgetExhausted(EvaluationError):
    """An evaluation used up its steps or passed its deadline."""
