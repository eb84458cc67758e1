"""What every rule goes through, whatever its type: match, context, preconditions, exceptions, then its body.

The order, and what each of them says when it ends a rule, is Kyverno's (`invokeRuleHandler`). Nothing that happens
inside a rule escapes, except the question for a fact; it becomes the rule's result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from kymograph.engine import actions, conditions, errors, exceptions, needs, policy, results, scene, variables, watching
from kymograph.engine import budget as budgets
from kymograph.engine import context as contexts
from kymograph.engine.match import blocks
from kymograph.engine.match import target as targets
from kymograph.engine.rules import outcome

UNEXPECTED = "the rule could not be evaluated because of an internal error"
"""Message of a rule that raised what it may not raise; the exception itself is in the result."""

_RULE, _MATCH, _PRECONDITIONS = watching.Step.RULE, watching.Step.MATCH, watching.Step.PRECONDITIONS
_EXCEPTION = watching.Step.EXCEPTION
_WORST_FIRST = (outcome.ERROR, outcome.FAIL, outcome.WARN, outcome.PASS, outcome.SKIP)

_T = TypeVar("_T")


Entered = scene.Entered

Act: TypeAlias = Callable[
    [policy.CompiledRule, scene.Scene, Entered, budgets.Budget, Callable[[], int]], outcome.Outcome | None
]
"""Evaluates the body of a rule; None where it has nothing to say."""


def evaluated(
    rule: policy.CompiledRule,
    stage: scene.Scene,
    budget: budgets.Budget,
    clock: Callable[[], int],
    log: watching.Log | None,
    started: int,
    act: Act,
) -> results.RuleResult | None:
    """Evaluate one rule.

    Args:
        rule: The rule.
        stage: What it looks at.
        budget: What it may spend; notes the steps inside its body in the log too.
        clock: A monotonic clock in nanoseconds.
        log: Where its steps are noted; None while nobody watches.
        started: When it began.
        act: Evaluates its body.

    Returns:
        Its result; None where it does not match or has nothing to say.

    Raises:
        Needed: A fact is missing. The log then ends in the middle of the rule, which is to be evaluated anew.
    """
    if log is not None:
        log.append((_RULE, rule, started))
    exception: Exception | None = None
    properties = rule.plain_properties
    judged: outcome.Outcome | None
    try:
        entered = enter(rule, stage, budget, clock, log)
        if isinstance(entered, scene.Entered):
            if rule.properties is not None:
                properties = _resolved(rule, rule.properties, entered.context, budget)
            judged = act(rule, stage, entered, budget, clock)
        else:
            judged = entered
    except needs.Needed:
        raise
    except Exception as error:  # noqa: BLE001 - a rule must not take the others, or the webhook, with it
        judged, exception = failed(error, stage)
    ended = clock()
    if judged is None:
        if log is not None:
            log.append((outcome.SKIP, "", ended))
        return None
    if log is not None:
        log.append((judged[0], judged[1], ended))
    status, message, said = judged
    if said is not None:
        properties = {**properties, **said}
    action = rule.fixed_action or action_for(rule.action, stage.target)
    return results.RuleResult(rule, status, message, action, started, ended, properties, exception)


def failed(error: Exception, stage: scene.Scene) -> tuple[outcome.Outcome, Exception | None]:
    """The outcome of a rule that raised, and the exception if it may not be raised."""
    if isinstance(error, errors.BudgetExhausted):
        stage.exhausted = str(error)
    if isinstance(error, errors.EvaluationError):
        return outcome.Outcome(outcome.ERROR, str(error)), None
    return outcome.Outcome(outcome.ERROR, UNEXPECTED), error


def enter(
    rule: policy.CompiledRule,
    stage: scene.Scene,
    budget: budgets.Budget,
    clock: Callable[[], int],
    log: watching.Log | None,
) -> Entered | outcome.Outcome | None:
    """Go through what comes before the body of a rule.

    Returns:
        What the body is to be evaluated with; the outcome of the rule where it does not come to that; None where the
        rule does not match.

    Raises:
        Needed: A fact is missing.
        EvaluationError: The match could not be decided, or the budget is exhausted.
    """
    decision = rule.match.decide(stage.target) if log is None else _watched_decision(rule, stage, clock, log)
    if decision is not blocks.MATCHED:
        return None
    if rule.concerns is not None and (stage.deleting or not rule.concerns(stage.resource, budget)):
        return None
    if stage.exhausted:
        return outcome.Outcome(outcome.ERROR, stage.exhausted)
    budget.spend()
    context = stage.context
    if stage.values is not None:
        context = contexts.laid_over(context, stage.values(rule))
    if rule.context:
        context = contexts.nested(context, {}, rule.context, budget)
    if rule.preconditions is not None:
        unmet = _unmet(rule, rule.preconditions, context, budget, clock, log)
        if unmet is not None:
            return unmet
    excused = stage.exceptions.of(rule.policy) if stage.exceptions is not None else ()
    matched = tuple(
        each
        for each in excused
        if each.names(rule.policy, rule.name) and _applies(each, stage, context, budget, clock, log)
    )
    return _excepted(rule, matched, context) if matched else Entered(context)


def unmet(
    preconditions: conditions.Conditions, context: dict[str, Any], budget: budgets.Budget
) -> tuple[outcome.Outcome | None, str, str]:
    """Evaluate the preconditions of a rule.

    Returns:
        The outcome of the rule where they are not met, None where they are; and how the step of their evaluation ends,
        `true`, `false` or `error`, with its detail.

    Raises:
        Needed: A fact is missing.
        BudgetExhausted: The budget is exhausted.
    """
    try:
        met, detail = preconditions.evaluate(context, budget)
    except errors.BudgetExhausted:
        raise
    except errors.EvaluationError as error:
        return outcome.Outcome(outcome.ERROR, f"failed to evaluate preconditions: {error}"), "error", str(error)
    if met:
        return None, "true", detail
    message = f"preconditions not met; {detail}" if detail else "preconditions not met"
    return outcome.Outcome(outcome.SKIP, message), "false", detail


def worst(found: Sequence[results.RuleResult]) -> str:
    """The status of a policy: the worst of its rules'."""
    if len(found) == 1:
        return found[0].status
    statuses = {result.status for result in found}
    return next((status for status in _WORST_FIRST if status in statuses), outcome.SKIP)


def action_for(resolve: actions.Resolver, target: targets.Target) -> str:
    """What a failure leads to; Enforce where the labels that decide could not be fetched."""
    try:
        return resolve(target)
    except errors.EvaluationError:
        return actions.ENFORCE


def _watched_decision(
    rule: policy.CompiledRule, stage: scene.Scene, clock: Callable[[], int], log: watching.Log
) -> str:
    log.append((_MATCH, rule, log[-1][2]))
    decision = "error"
    try:
        decision = rule.match.decide(stage.target)
    finally:
        log.append((decision, "", clock()))
    return decision


def _unmet(
    rule: policy.CompiledRule,
    preconditions: conditions.Conditions,
    context: dict[str, Any],
    budget: budgets.Budget,
    clock: Callable[[], int],
    log: watching.Log | None,
) -> outcome.Outcome | None:
    """The outcome of a rule whose preconditions are not met; None if they are."""
    if log is None:
        return unmet(preconditions, context, budget)[0]
    return _logged(_PRECONDITIONS, rule, lambda: unmet(preconditions, context, budget), clock, log)


def _applies(
    exception: exceptions.CompiledException,
    stage: scene.Scene,
    context: dict[str, Any],
    budget: budgets.Budget,
    clock: Callable[[], int],
    log: watching.Log | None,
) -> bool:
    """Whether an exception that names a rule is about the object."""
    if log is None:
        return exception.applies(stage.target, context, budget)

    def apply() -> tuple[bool, str, str]:
        applies = exception.applies(stage.target, context, budget)
        return applies, "applied" if applies else "unmatched", ""

    return _logged(_EXCEPTION, exception, apply, clock, log)


def _logged(
    step: watching.Step,
    subject: object,
    attempt: Callable[[], tuple[_T, str, str]],
    clock: Callable[[], int],
    log: watching.Log,
) -> _T:
    """What an attempt gives, with its outcome and detail as a step; one that lacks a fact has not ended yet."""
    log.append((step, subject, clock()))
    ended, detail = "error", ""
    try:
        given, ended, detail = attempt()
    except needs.Needed:
        ended = ""
        raise
    except errors.BudgetExhausted as error:
        detail = str(error)
        raise
    finally:
        if ended:
            log.append((ended, detail, clock()))
    return given


def _excepted(
    rule: policy.CompiledRule, matched: tuple[exceptions.CompiledException, ...], context: dict[str, Any]
) -> Entered | outcome.Outcome:
    """What exceptions make of a rule: all of them end it, but for those that name controls of `podSecurity`."""
    if rule.heeds_controls:
        whole = next((each for each in matched if not each.pod_security), None)
        if whole is None:
            return Entered(context, matched)
        message = f"rule is skipped due to policy exception {whole.key}"
        return outcome.Outcome(outcome.SKIP, message, {"exceptions": whole.name})
    keys = ", ".join(each.key for each in matched)
    names = ",".join(each.name for each in matched)
    return outcome.Outcome(outcome.SKIP, f"rule is skipped due to policy exceptions{keys}", {"exceptions": names})


def _resolved(
    rule: policy.CompiledRule, template: variables.Template, context: dict[str, Any], budget: budgets.Budget
) -> Mapping[str, str]:
    """The properties of a rule; all as written where a variable in them is not resolved to a string."""
    try:
        resolved: Mapping[str, str] = template.resolve(context, budget)
    except errors.BudgetExhausted:
        raise
    except errors.EvaluationError:
        return rule.plain_properties
    return resolved if all(isinstance(value, str) for value in resolved.values()) else rule.plain_properties
