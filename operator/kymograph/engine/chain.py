"""Policies that change the object of a request, one after the other, whatever the type of their rules.

Each rule sees what the ones before it made of the object, in its match, its context and its body. The request itself
is not changed. What rules of a type do to an object is said by who builds on this: `mutate.application` and
`images.application`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.engine import budget as budgets
from kymograph.engine import exceptions, needs, pipeline, policy, results, scene, watching
from kymograph.engine.rules import outcome


class Mutated(NamedTuple):
    """What rules made of a request.

    Attributes:
        results: The results of the policies with at least one rule that matched and had something to say.
        resource: The object as it is now: the very one of the request if nothing changed, None if it has none.
    """

    results: tuple[results.PolicyResult, ...]
    resource: dict[str, Any] | None


class Chain:
    """The application of policies to one request, in the order given. What their rules do is for subclasses to say.

    Args:
        policies: The policies that may concern the request.
        request: The AdmissionRequest of a review, or one made up for an object; it is not changed.
        facts: What has been fetched for this request; whoever catches `Needed` adds to it.
        budget: What all rules together may spend.
        clock: A monotonic clock in nanoseconds.
        watcher: Is told the steps; None for nobody.
        exceptions: The PolicyExceptions that count for this request.
        values: The values that are laid over the context of a rule; None for none.
    """

    __slots__ = (
        "_budget",
        "_changed",
        "_clock",
        "_exceptions",
        "_facts",
        "_found",
        "_more",
        "_policies",
        "_position",
        "_request",
        "_stage",
        "_steps",
        "_values",
    )

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
        budget.facts, budget.clock = facts, clock
        self._policies = [each for each in policies if self.table(each).every]
        self._request = request
        self._facts = facts
        self._budget = budget
        self._clock = clock
        self._steps = None if watcher is None else watching.Steps(watcher, clock)
        self._exceptions = exceptions
        self._values = values
        self._stage: scene.Scene | None = None
        self._position = 0
        self._found: list[results.PolicyResult] = []
        self._changed: dict[str, Any] | None = None
        self._more: list[outcome.Outcome] = []

    def table(self, each: policy.CompiledPolicy) -> policy.RuleTable:
        """The rules of a policy that this is about."""
        raise NotImplementedError

    def passes_over(self, rule: policy.CompiledRule) -> bool:
        """Whether a rule of the table does something else than change the object of the request."""
        raise NotImplementedError

    def change(
        self, rule: policy.CompiledRule, stage: scene.Scene, entered: pipeline.Entered, budget: budgets.Budget
    ) -> tuple[Sequence[outcome.Outcome], dict[str, Any]]:
        """Apply one rule.

        Args:
            rule: The rule, which matches.
            stage: What it looks at.
            entered: What its body is evaluated with.
            budget: What it may spend.

        Returns:
            The outcomes, none where the rule has nothing to say; and the object, the very same one if it is unchanged.

        Raises:
            Needed: A fact is missing.
            EvaluationError: The rule ends in an error.
        """
        raise NotImplementedError

    def begin(self) -> None:
        """Called before the rules of a policy are applied, also when that is done anew because a fact was missing."""

    def ended(self) -> None:
        """Called when all rules of a policy have been applied."""

    def finished(self, resource: dict[str, Any]) -> dict[str, Any]:
        """The object as it is to be, from what all rules together made of it."""
        return resource

    def run(self) -> Mutated:
        """Apply the policies, or go on applying them.

        Raises:
            Needed: A fact is missing. Called again when it has been added, this goes on with the policy that asked.
            EvaluationError: The kind of the object behind a subresource could not be found out.
        """
        if not self._policies:
            return Mutated((), self._request.get("object"))
        if self._stage is None:
            self._stage = self._set(self._request)
        if self._steps is not None:
            self._steps.resume()
        stage = self._stage
        if stage is not None and not stage.deleting:
            now = self._clock()
            while self._position < len(self._policies):
                each = self._policies[self._position]
                if not each.namespace or each.namespace == stage.target.namespace:
                    self._stage = stage = self._set_after(stage)
                    stage, now = self._apply(each, stage, now)
                self._position += 1
        if stage is None or stage.deleting:
            return Mutated(tuple(self._found), None)
        resource = stage.resource if self._changed is None else self._changed
        return Mutated(tuple(self._found), self.finished(resource))

    def _apply(self, each: policy.CompiledPolicy, stage: scene.Scene, now: int) -> tuple[scene.Scene, int]:
        """Apply one policy; the scene after it, and when it ended."""
        clock, budget, steps = self._clock, self._budget, self._steps
        log = None if steps is None else steps.begin(each, now)
        budget.log = log
        found: list[results.RuleResult] = []
        self.begin()
        try:
            for rule in self.table(each).of(stage.target.kind[2]):
                if self.passes_over(rule):
                    continue
                stage = self._set_after(stage)
                self._more.clear()
                result = pipeline.evaluated(rule, stage, budget, clock, log, now, self._act)
                if result is None:
                    now = clock()
                    continue
                now = result.ended
                found.append(result)
                found += [result._replace(status=status, message=message) for status, message, _ in self._more]
                if each.apply_one and result.status == outcome.PASS:
                    break
        except needs.Needed as needed:
            self._changed = None  # by rules of this policy, which are applied again
            if steps is not None:
                steps.wait(needed.need)
            raise
        self.ended()
        if steps is not None:
            steps.end(pipeline.worst(found), now)
        if found:
            action = each.fixed_action or pipeline.action_for(each.action, stage.target)
            self._found.append(results.PolicyResult(each, action, tuple(found)))
        return stage, now

    def _act(
        self,
        rule: policy.CompiledRule,
        stage: scene.Scene,
        entered: pipeline.Entered,
        budget: budgets.Budget,
        clock: Callable[[], int],
    ) -> outcome.Outcome | None:
        """Change the object by one rule."""
        del clock
        outcomes, resource = self.change(rule, stage, entered, budget)
        if resource is not stage.resource:
            self._changed = resource
        if not outcomes:
            return None
        self._more += outcomes[1:]
        return outcomes[0]

    def _set(self, request: Mapping[str, Any]) -> scene.Scene | None:
        return scene.of(self._policies, request, self._facts, self._exceptions, self._values)

    def _set_after(self, before: scene.Scene) -> scene.Scene:
        """The scene after a rule: the one before it, unless the rule has changed the object."""
        if self._changed is None:
            return before
        stage = self._set({**self._request, "object": self._changed})
        self._changed = None
        if stage is None:  # cannot be: there is an object
            return before
        stage.exhausted = before.exhausted
        return stage
