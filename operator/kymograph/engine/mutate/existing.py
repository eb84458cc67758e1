"""Rules that change existing objects because of a request, or because their policy was written.

Pure, in two steps: `triggered` says which rules a request sets off and which objects they mean; whoever has fetched
these asks `change` for each what becomes of it. Nothing here reads or writes a cluster.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.engine import budget as budgets
from kymograph.engine import context as contexts
from kymograph.engine import errors, exceptions, needs, pipeline, policy, results, scene, watching
from kymograph.engine.mutate import body, targets
from kymograph.engine.rules import outcome


class Meant(NamedTuple):
    """The objects of one target.

    Attributes:
        target: The target.
        wanted: Which objects; None if that could not be said.
        reason: Why it could not be said.
    """

    target: targets.Target
    wanted: targets.Wanted | None
    reason: str = ""


class Triggered(NamedTuple):
    """A rule that a request sets off.

    Attributes:
        policy: Its policy.
        result: What it came to without looking at any target: `skip` where a precondition or an exception ends it,
            `error` where it failed; None where its targets are to be changed.
        rule: The rule.
        context: What the expressions of the rule see.
        meant: The objects it means, target by target; empty with a result.
    """

    policy: policy.CompiledPolicy
    rule: policy.CompiledRule
    result: results.RuleResult | None
    context: dict[str, Any]
    meant: tuple[Meant, ...]


def triggered(
    policies: Sequence[policy.CompiledPolicy],
    request: Mapping[str, Any],
    facts: needs.Facts,
    budget: budgets.Budget,
    clock: Callable[[], int],
    watcher: watching.Watcher | None = None,
    exceptions: exceptions.Exceptions | None = None,
    values: scene.Values | None = None,
) -> tuple[Triggered, ...]:
    """The rules with targets that a request sets off, in the order of the policies.

    Args:
        policies: The policies that may concern the request.
        request: The AdmissionRequest, or one made up for an object that exists.
        facts: What has been fetched for this request.
        budget: What all rules together may spend; contexts go on asking it for facts.
        clock: A monotonic clock in nanoseconds.
        watcher: Is told the steps; None for nobody.
        exceptions: The PolicyExceptions that count for this request.
        values: The values that are laid over the context of a rule; None for none.

    Raises:
        Needed: A fact is missing.
        EvaluationError: The kind of the object behind a subresource could not be found out.
    """
    budget.facts, budget.clock = facts, clock
    concerned = [each for each in policies if any(rule.body.targets for rule in each.mutate.every)]
    stage = scene.of(concerned, request, facts, exceptions, values) if concerned else None
    if stage is None:
        return ()
    logs: list[watching.Log] = []
    found: list[Triggered] = []
    for each in concerned:
        if each.namespace and each.namespace != stage.target.namespace:
            continue
        now = clock()
        log = None if watcher is None else watching.Log()
        if log is not None:
            log.append((watching.Step.POLICY, each, now))
        budget.log = log
        ended = []
        for rule in each.mutate.of(stage.target.kind[2]):
            if not rule.body.targets:
                continue
            act = _Enter()
            result = pipeline.evaluated(rule, stage, budget, clock, log, now, act)
            now = clock() if result is None else result.ended
            if result is not None:
                ended.append(result)
                found.append(Triggered(each, rule, result, {}, ()))
            elif act.entered is not None:
                meant = _meant(rule.body.targets, act.entered.context, budget)
                found.append(Triggered(each, rule, None, act.entered.context, meant))
        if log is not None:
            log.append((pipeline.worst(ended), "", now))
            logs.append(log)
    if watcher is not None:  # only now: whoever is asked for a fact begins anew
        for log in logs:
            watcher.extend(log)
    return tuple(found)


def change(
    of: Triggered,
    target: targets.Target,
    document: dict[str, Any],
    budget: budgets.Budget,
) -> body.Changed:
    """Change one object that a rule means.

    Args:
        of: The rule that was set off; without a result.
        target: The target by which the object was found.
        document: The object; not changed.
        budget: What the change may spend, with the facts that context entries need.

    Returns:
        The outcome, `skip` where the target's preconditions do not hold or nothing changes, and the object now.

    Raises:
        Needed: A fact is missing.
        EvaluationError: The budget is exhausted.
    """
    context = contexts.nested(of.context, {"target": document}, target.context, budget)
    if target.preconditions is not None:
        try:
            met, detail = target.preconditions.evaluate(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            failed = outcome.Outcome(outcome.ERROR, f"failed to evaluate preconditions: {error}")
            return body.Changed(failed, document)
        if not met:
            message = f"preconditions not met; {detail}" if detail else "preconditions not met"
            return body.Changed(outcome.Outcome(outcome.SKIP, message), document)
    changed: body.Changed = of.rule.body.change(document, context, budget)
    return changed


class _Enter:
    """Keeps what a rule is to be evaluated with, instead of evaluating it."""

    def __init__(self) -> None:
        self.entered: pipeline.Entered | None = None

    def __call__(
        self,
        rule: policy.CompiledRule,
        stage: scene.Scene,
        entered: pipeline.Entered,
        budget: budgets.Budget,
        clock: Callable[[], int],
    ) -> None:
        del rule, stage, budget, clock
        self.entered = entered


def _meant(wanted: Sequence[targets.Target], context: dict[str, Any], budget: budgets.Budget) -> tuple[Meant, ...]:
    found = []
    for position, target in enumerate(wanted):
        try:
            found.append(Meant(target, target.wanted(position, context, budget)))
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            found.append(Meant(target, None, str(error)))
    return tuple(found)
