"""Policies applied to one request: the results of their rules.

Synchronous and pure: it fetches nothing, logs nothing and changes nothing of the request. What it lacks it asks for by
raising `needs.Needed` before the first step is watched, so every evaluation that a watcher sees is a whole one. Nothing
that happens inside a rule escapes: it becomes the rule's result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.engine import actions, conditions, errors, needs, policy, scene, variables, watching
from kymograph.engine import budget as budgets
from kymograph.engine.match import blocks
from kymograph.engine.match import target as targets
from kymograph.engine.rules import outcome

UNEXPECTED = "the rule could not be evaluated because of an internal error"
"""Message of a rule that raised what it may not raise; the exception itself is in the result."""

EXISTING = "skipping the rule evaluation as pre-existing violations are allowed"

_POLICY, _RULE, _MATCH, _PRECONDITIONS = (
    watching.Step.POLICY,
    watching.Step.RULE,
    watching.Step.MATCH,
    watching.Step.PRECONDITIONS,
)
_APPLIED = (outcome.PASS, outcome.FAIL)
_WORST_FIRST = (outcome.ERROR, outcome.FAIL, outcome.WARN, outcome.PASS, outcome.SKIP)


class RuleResult(NamedTuple):
    """What became of one rule. A tuple, because one is made per rule and request.

    Attributes:
        rule: The rule.
        status: `pass`, `fail`, `skip`, `error` or `warn`.
        message: Why, in Kyverno's wording.
        action: `Enforce` or `Audit`: what a failure of this rule leads to for this object.
        started: Nanoseconds of the clock when the rule began.
        ended: Nanoseconds of the clock when it ended.
        properties: The rule's `reportProperties` with their variables resolved.
        exception: The unexpected exception behind an error, to be logged by the caller.
    """

    rule: policy.CompiledRule
    status: str
    message: str
    action: str
    started: int
    ended: int
    properties: Mapping[str, str]
    exception: Exception | None


class PolicyResult(NamedTuple):
    """What became of one policy.

    Attributes:
        policy: The policy.
        action: `Enforce` or `Audit`: the action of the policy as a whole for this object.
        rules: The results of the rules that matched, in the order of their evaluation; never empty.
    """

    policy: policy.CompiledPolicy
    action: str
    rules: tuple[RuleResult, ...]


_NO_PROPERTIES: Mapping[str, str] = {}


def evaluate(
    policies: Sequence[policy.CompiledPolicy],
    request: Mapping[str, Any],
    facts: needs.Facts,
    budget: budgets.Budget,
    clock: Callable[[], int],
    watcher: watching.Watcher | None = None,
) -> tuple[PolicyResult, ...]:
    """Evaluate policies, in the order given.

    Args:
        policies: The policies that may concern the request; `PolicySet.lookup` chooses them.
        request: The AdmissionRequest of a review, or one made up for an existing object (then without `userInfo`).
        facts: What has been fetched for this request.
        budget: What all rules together may spend. Once it is exhausted the rules that follow end in errors at once.
        clock: A monotonic clock in nanoseconds.
        watcher: Is told the steps; None for nobody. A rule that does not match ends as `skip` without a result.

    Returns:
        The results of the policies with at least one rule that matched.

    Raises:
        Needed: A fact is missing.
        EvaluationError: The kind of the object behind a subresource could not be found out, so that no policy can be
            said to match or not.
    """
    stage = scene.of(policies, request, facts)
    if stage is None:
        return ()
    target = stage.target
    kind, namespace = target.kind[2], target.namespace
    results = []
    now = clock()
    for each in policies:
        if each.namespace and each.namespace != namespace:
            continue
        log: list[watching.Entry] | None = None if watcher is None else [(_POLICY, each, now)]
        found: list[RuleResult] = []
        for rule in each.rules_by_kind.get(kind, each.written_rules):
            started = now
            if log is not None:
                log.append((_RULE, rule, started))
            exception = None
            properties = _NO_PROPERTIES
            try:
                judged = _judge(rule, stage, budget, clock, log, started)
                if rule.properties is not None and judged is not None:
                    properties = _resolved(rule.properties, stage, budget)
            except errors.BudgetExhausted as error:
                stage.exhausted = str(error)
                judged = outcome.Outcome(outcome.ERROR, stage.exhausted)
            except errors.EvaluationError as error:
                judged = outcome.Outcome(outcome.ERROR, str(error))
            except Exception as error:  # noqa: BLE001 - a rule must not take the others, or the webhook, with it
                exception = error
                judged = outcome.Outcome(outcome.ERROR, UNEXPECTED)
            now = clock()
            if judged is None:
                if log is not None:
                    log.append((outcome.SKIP, "", now))
                continue
            status, message = judged
            if log is not None:
                log.append((status, message, now))
            action = rule.fixed_action or _action(rule.action, target)
            found.append(RuleResult(rule, status, message, action, started, now, properties, exception))
            if each.apply_one and status in _APPLIED:
                break
        if watcher is not None and log is not None:
            log.append((_worst(found), "", now))
            watcher.extend(log)
        if found:
            results.append(PolicyResult(each, each.fixed_action or _action(each.action, target), tuple(found)))
    return tuple(results)


def _judge(
    rule: policy.CompiledRule,
    stage: scene.Scene,
    budget: budgets.Budget,
    clock: Callable[[], int],
    log: list[watching.Entry] | None,
    started: int,
) -> outcome.Outcome | None:
    """The outcome of a rule; None where it does not match or has nothing to say."""
    if log is None:
        decision = rule.match.decide(stage.target)
    else:
        log.append((_MATCH, rule, started))
        decision = "error"
        try:
            decision = rule.match.decide(stage.target)
        finally:
            log.append((decision, "", clock()))
    if decision is not blocks.MATCHED:
        return None
    if stage.exhausted:
        return outcome.Outcome(outcome.ERROR, stage.exhausted)
    budget.spend()
    if rule.preconditions is not None:
        unmet = _unmet(rule, rule.preconditions, stage, budget, clock, log)
        if unmet is not None:
            return unmet
    body = rule.body
    if stage.deleting and not body.looks_at_deleted:
        return None
    found = body.check(stage.resource, stage.context, budget)
    if rule.tolerates_existing and found.status == outcome.FAIL and _failed_before(rule, stage, budget):
        return outcome.Outcome(outcome.SKIP, EXISTING)
    return found


def _unmet(
    rule: policy.CompiledRule,
    preconditions: conditions.Conditions,
    stage: scene.Scene,
    budget: budgets.Budget,
    clock: Callable[[], int],
    log: list[watching.Entry] | None,
) -> outcome.Outcome | None:
    """The outcome of a rule whose preconditions are not met; None if they are."""
    if log is not None:
        log.append((_PRECONDITIONS, rule, clock()))
    ended, detail = "error", ""
    try:
        met, detail = preconditions.evaluate(stage.context, budget)
        ended = "true" if met else "false"
    except errors.BudgetExhausted as error:
        detail = str(error)
        raise
    except errors.EvaluationError as error:
        detail = str(error)
        return outcome.Outcome(outcome.ERROR, f"failed to evaluate preconditions: {error}")
    finally:
        if log is not None:
            log.append((ended, detail, clock()))
    if met:
        return None
    return outcome.Outcome(outcome.SKIP, f"preconditions not met; {detail}" if detail else "preconditions not met")


def _failed_before(rule: policy.CompiledRule, stage: scene.Scene, budget: budgets.Budget) -> bool:
    """Whether the rule fails on the old object of an update, as if that were being created."""
    prior = stage.prior()
    if prior is None or rule.match.decide(prior.target) is not blocks.MATCHED:
        return False
    if rule.preconditions is not None:
        try:
            met, _ = rule.preconditions.evaluate(prior.context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError:
            return False
        if not met:
            return False
    return rule.body.check(prior.resource, prior.context, budget).status == outcome.FAIL


def _resolved(template: variables.Template, stage: scene.Scene, budget: budgets.Budget) -> Mapping[str, str]:
    try:
        resolved = template.resolve(stage.context, budget)
    except errors.BudgetExhausted:
        raise
    except errors.EvaluationError:
        return _NO_PROPERTIES
    return {key: value if isinstance(value, str) else str(value) for key, value in resolved.items()}


def _action(resolve: actions.Resolver, target: targets.Target) -> str:
    try:
        return resolve(target)
    except errors.EvaluationError:  # the labels of the namespace could not be fetched: the stricter action holds
        return actions.ENFORCE


def _worst(results: Sequence[RuleResult]) -> str:
    if len(results) == 1:
        return results[0].status
    statuses = {result.status for result in results}
    return next((status for status in _WORST_FIRST if status in statuses), outcome.SKIP)
