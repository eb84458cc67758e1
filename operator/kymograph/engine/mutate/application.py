"""Policies that change the object of a request by their mutate rules, one after the other (`chain`).

Rules with targets change other objects and are passed over here; see `existing`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import chain, exceptions, needs, pipeline, policy, scene, watching
from kymograph.engine.rules import outcome

Mutated = chain.Mutated


class Mutation(chain.Chain):
    """The application of mutate rules to one request. Of their results `pass` means changed, `skip` unchanged."""

    __slots__ = ()

    def table(self, each: policy.CompiledPolicy) -> policy.RuleTable:
        """The mutate rules of a policy."""
        return each.mutate

    def passes_over(self, rule: policy.CompiledRule) -> bool:
        """Whether a rule changes existing objects."""
        return bool(rule.body.targets)

    def change(
        self, rule: policy.CompiledRule, stage: scene.Scene, entered: pipeline.Entered, budget: budgets.Budget
    ) -> tuple[Sequence[outcome.Outcome], dict[str, Any]]:
        """Change the object by one rule."""
        found, resource = rule.body.change(stage.resource, entered.context, budget)
        return (found,), resource


def apply(
    policies: Sequence[policy.CompiledPolicy],
    request: Mapping[str, Any],
    facts: needs.Facts,
    budget: budgets.Budget,
    clock: Callable[[], int],
    watcher: watching.Watcher | None = None,
    exceptions: exceptions.Exceptions | None = None,
) -> Mutated:
    """Apply policies from the beginning; see `Mutation`, whose caller need not begin anew when a fact is missing.

    Raises:
        Needed: A fact is missing.
        EvaluationError: The kind of the object behind a subresource could not be found out.
    """
    return Mutation(policies, request, facts, budget, clock, watcher, exceptions).run()
