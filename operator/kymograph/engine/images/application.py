"""Policies that verify the images of a request and name them by their digests, one after the other (`chain`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import chain, exceptions, needs, pipeline, policy, scene, watching
from kymograph.engine.images import annotations
from kymograph.engine.rules import outcome


class Verification(chain.Chain):
    """The application of verifyImages rules to one request, in the mutating review and after all mutate rules.

    What all policies have verified is noted on the object at the end. The arguments are those of `Chain`.
    """

    __slots__ = ("_notes", "_of_policy")

    def __init__(
        self,
        policies: Sequence[policy.CompiledPolicy],
        request: Mapping[str, Any],
        facts: needs.Facts,
        budget: budgets.Budget,
        clock: Callable[[], int],
        watcher: watching.Watcher | None = None,
        exceptions: exceptions.Exceptions | None = None,
        values: scene.Values | None = None,
    ) -> None:
        super().__init__(policies, request, facts, budget, clock, watcher, exceptions, values)
        self._notes: dict[tuple[annotations.Scope, str], str] = {}
        self._of_policy: dict[tuple[annotations.Scope, str], str] = {}

    def table(self, each: policy.CompiledPolicy) -> policy.RuleTable:
        """The verifyImages rules of a policy."""
        return each.verify

    def passes_over(self, rule: policy.CompiledRule) -> bool:
        """No rule of the table."""
        del rule
        return False

    def begin(self) -> None:
        """Forget what a policy had verified when a fact was missing."""
        self._of_policy = {}

    def change(
        self, rule: policy.CompiledRule, stage: scene.Scene, entered: pipeline.Entered, budget: budgets.Budget
    ) -> tuple[Sequence[outcome.Outcome], dict[str, Any]]:
        """Verify the images of the object by one rule."""
        verified = rule.body.verify(stage.resource, entered.context, budget)
        self._of_policy.update(verified.notes)
        return verified.outcomes, verified.resource

    def ended(self) -> None:
        """Keep what a policy has verified."""
        self._notes.update(self._of_policy)

    def finished(self, resource: dict[str, Any]) -> dict[str, Any]:
        """The object with what has been verified."""
        return annotations.noted(resource, self._notes)
