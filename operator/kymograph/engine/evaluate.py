"""Policies applied to one request: the results of their rules of the type `validate`.

Synchronous and pure: it fetches nothing, logs nothing and changes nothing of the request. What it lacks it asks for by
raising `needs.Needed`, wherever it is; whoever has added the fact goes on with the same `Evaluation`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, exceptions, needs, pipeline, policy, results, scene, watching
from kymograph.engine.rules import outcome

UNEXPECTED = pipeline.UNEXPECTED
EXISTING = "skipping the rule evaluation as pre-existing violations are allowed"

PolicyResult = results.PolicyResult
RuleResult = results.RuleResult

_APPLIED = (outcome.PASS, outcome.FAIL)


class Evaluation:
    """The evaluation of policies on one request, in the order given.

    Args:
        policies: The policies that may concern the request; `PolicySet.lookup` chooses them.
        request: The AdmissionRequest of a review, or one made up for an existing object (then without `userInfo`).
        facts: What has been fetched for this request; whoever catches `Needed` adds to it.
        budget: What all rules together may spend. Once it is exhausted the rules that follow end in errors at once.
        clock: A monotonic clock in nanoseconds.
        watcher: Is told the steps; None for nobody. A rule that does not match ends as `skip` without a result.
        exceptions: The PolicyExceptions that count for this request.
        values: The values, by dotted name, that are laid over the context of a rule (`context.laid_over`); None for
            none. For command lines: a cluster has none.
    """

    __slots__ = ("_budget", "_clock", "_found", "_policies", "_position", "_set_scene", "_stage", "_steps")

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
        self._policies = policies
        self._budget = budget
        self._clock = clock
        self._steps = None if watcher is None else watching.Steps(watcher, clock)
        self._set_scene = functools.partial(scene.of, policies, request, facts, exceptions, values)
        self._stage: scene.Scene | None = None
        self._position = 0
        self._found: list[results.PolicyResult] = []

    def run(self) -> tuple[results.PolicyResult, ...]:
        """Evaluate, or go on evaluating.

        Returns:
            The results of the policies with at least one rule that matched.

        Raises:
            Needed: A fact is missing. Called again when it has been added, this goes on with the policy that asked:
                those before it are not evaluated, and no step is told, a second time.
            EvaluationError: The kind of the object behind a subresource could not be found out, so that no policy can
                be said to match or not.
        """
        stage = self._stage
        if stage is None:
            self._stage = stage = self._set_scene()
            if stage is None:
                return ()
        clock, budget, steps, target = self._clock, self._budget, self._steps, stage.target
        if steps is not None:
            steps.resume()
        kind, namespace = target.kind[2], target.namespace
        log: watching.Log | None = None
        now = clock()
        for position in range(self._position, len(self._policies)):
            each = self._policies[position]
            if each.namespace and each.namespace != namespace:
                continue
            if steps is not None:
                budget.log = log = steps.begin(each, now)
            found: list[results.RuleResult] = []
            try:
                for rule in each.validate.by_kind.get(kind, each.validate.written):
                    result = pipeline.evaluated(rule, stage, budget, clock, log, now, _check)
                    if result is None:
                        now = clock()
                        continue
                    now = result.ended
                    found.append(result)
                    if each.apply_one and result.status in _APPLIED:
                        break
            except needs.Needed as needed:
                self._position = position
                if steps is not None:
                    steps.wait(needed.need)
                raise
            if steps is not None:
                steps.end(found[0].status if len(found) == 1 else pipeline.worst(found), now)
            if found:
                action = each.fixed_action or pipeline.action_for(each.action, target)
                self._found.append(results.PolicyResult(each, action, tuple(found)))
        self._position = len(self._policies)
        return tuple(self._found)


def evaluate(
    policies: Sequence[policy.CompiledPolicy],
    request: Mapping[str, Any],
    facts: needs.Facts,
    budget: budgets.Budget,
    clock: Callable[[], int],
    watcher: watching.Watcher | None = None,
    exceptions: exceptions.Exceptions | None = None,
) -> tuple[results.PolicyResult, ...]:
    """Evaluate policies from the beginning; see `Evaluation`, whose caller need not begin anew when a fact is missing.

    Raises:
        Needed: A fact is missing.
        EvaluationError: The kind of the object behind a subresource could not be found out.
    """
    return Evaluation(policies, request, facts, budget, clock, watcher, exceptions).run()


def _check(
    rule: policy.CompiledRule,
    stage: scene.Scene,
    entered: pipeline.Entered,
    budget: budgets.Budget,
    clock: Callable[[], int],
) -> outcome.Outcome | None:
    """Lay the body of a rule on the object."""
    body = rule.body
    found: outcome.Outcome | None
    if stage.deleting and not body.looks_at_deleted:
        return None
    if entered.excused:
        excused = [control for each in entered.excused for control in each.pod_security]
        names = ", ".join(each.key for each in entered.excused)
        found = body.check_except(stage.resource, excused, names, budget)
        if found is not None and found.status == outcome.SKIP:
            return found._replace(properties={"exceptions": ",".join(each.name for each in entered.excused)})
    else:
        found = body.check(stage.resource, entered.context, budget)
    if (
        found is not None
        and found[0] == outcome.FAIL
        and rule.tolerates_existing
        and _failed_before(rule, stage, budget, clock)
    ):
        return outcome.Outcome(outcome.SKIP, EXISTING)
    return found


def _failed_before(
    rule: policy.CompiledRule, stage: scene.Scene, budget: budgets.Budget, clock: Callable[[], int]
) -> bool:
    """Whether the rule fails on the old object of an update, as if that were being created.

    Its context entries are loaded anew, from the old object: Kyverno keeps those of the new one, and so overlooks a
    violation that is new.
    """
    prior = stage.prior()
    if prior is None:
        return False
    prior.exceptions = stage.exceptions if rule.heeds_controls else None
    try:
        entered = pipeline.enter(rule, prior, budget, clock, None)
        if not isinstance(entered, pipeline.Entered):
            return False
        if entered.excused:
            excused = [control for each in entered.excused for control in each.pod_security]
            found = rule.body.check_except(prior.resource, excused, "", budget)
        else:
            found = rule.body.check(prior.resource, entered.context, budget)
    except errors.BudgetExhausted:
        raise
    except errors.EvaluationError:
        return False
    return found is not None and found.status == outcome.FAIL
