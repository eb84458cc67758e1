"""Policies applied to one request: the results of their rules of the type `validate`.

Synchronous and pure: it fetches nothing, logs nothing and changes nothing of the request. What it lacks it asks for by
raising `needs.Needed`, wherever it is; whoever has added the fact goes on with the same `Evaluation`.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, exceptions, needs, pipeline, policy, results, scene, watching
from kymograph.engine.match import blocks
from kymograph.engine.rules import outcome

UNEXPECTED = pipeline.UNEXPECTED
EXISTING = "skipping the rule evaluation as pre-existing violations are allowed"

PolicyResult = results.PolicyResult
RuleResult = results.RuleResult

_POLICY_RESULT, _RULE_RESULT = results.PolicyResult, results.RuleResult
_APPLIED = (outcome.PASS, outcome.FAIL)
_POLICY, _RULE, _MATCH = watching.Step.POLICY, watching.Step.RULE, watching.Step.MATCH
_PRECONDITIONS = watching.Step.PRECONDITIONS
_MATCHED = blocks.MATCHED
_NOTHING_ASKED: tuple[int, str, str] | tuple[()] = ()
_ASKED = (0, "error", "")  # preconditions, of which nothing is known yet
_new = tuple.__new__  # a NamedTuple's own way to make one costs twice as much, on the hot path


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
        log: watching.Log | None = None
        if steps is not None:
            budget.log = log = steps.resume()
        kind, namespace, resource, context = target.kind[2], target.namespace, stage.resource, stage.context
        quick = stage.is_plain and not stage.deleting and type(log) is not watching.WrittenOut
        # Policies that match alike share one decision (`blocks.read`), asked once while they follow each other.
        decide: blocks.Decision | None = None
        decision, decided = "", 0
        now = clock()
        for each in self._policies[self._position :]:
            if each.namespace and each.namespace != namespace:
                continue
            # A policy is noted at its end, in short; or from where something happens on that is not told in short.
            noted: watching.Log | None = None
            began = matched = now
            found: list[results.RuleResult] = []
            try:
                for rule in each.validate.by_kind.get(kind, each.validate.written):
                    if not quick or not rule.is_plain:
                        if log is not None and noted is None:
                            noted = _written_out(log, each, began, matched, found)
                        result = pipeline.evaluated(rule, stage, budget, clock, noted, now, _check)
                        if result is None:
                            now = clock()
                            continue
                        now = result.ended
                        found.append(result)
                        if each.apply_one and result.status in _APPLIED:
                            break
                        continue
                    # What `pipeline.evaluated` does, without its calls: most rules are such.
                    started, exception, asked = now, None, _NOTHING_ASKED
                    judged: outcome.Outcome | None = None
                    try:
                        if rule.match.decide is not decide:
                            decide, decision = None, "error"
                            decision = rule.match.decide(target)
                            decide = rule.match.decide
                            if log is not None:
                                decided = clock()
                                if not found:
                                    matched = decided
                                elif noted is None:
                                    noted = _written_out(log, each, began, matched, found)
                        if decision is _MATCHED:
                            if stage.exhausted:
                                judged = outcome.Outcome(outcome.ERROR, stage.exhausted)
                            else:
                                budget.spend()
                                if rule.preconditions is not None:
                                    asked = _ASKED
                                    judged, met, why = pipeline.unmet(rule.preconditions, context, budget)
                                    if log is not None:
                                        asked = (clock(), met, why)
                                        if noted is None:
                                            noted = _written_out(log, each, began, matched, found)
                                if judged is None:
                                    judged = rule.body.check(resource, context, budget)
                                    if judged is not None and judged[0] == outcome.FAIL:
                                        judged = _tolerated(rule, stage, budget, clock) or judged
                    except needs.Needed:
                        if log is not None:
                            if noted is None:
                                noted = _written_out(log, each, began, matched, found)
                            noted += _open(rule, started, max(started, decided), decision, asked)
                        raise
                    except Exception as error:  # noqa: BLE001 - a rule must not take the others, or the webhook, with it
                        judged, exception = pipeline.failed(error, stage)
                        if log is not None:
                            if decide is None:  # not even its match could be decided
                                decided = clock()
                            elif asked is _ASKED:
                                asked = (clock(), "error", "" if exception is not None else judged.message)
                            if noted is None and (decide is None or asked):
                                noted = _written_out(log, each, began, matched, found)
                    now = clock()
                    if judged is None:
                        if log is not None:
                            if noted is None:
                                noted = _written_out(log, each, began, matched, found)
                            decided = max(started, decided)
                            noted.append((rule, outcome.SKIP, "", started, decided, now, decision, *asked))
                        continue
                    status, message, said = judged
                    if noted is not None:
                        decided = max(started, decided)
                        noted.append((rule, status, message, started, decided, now, decision, *asked))
                    properties = rule.plain_properties if said is None else {**rule.plain_properties, **said}
                    action = rule.fixed_action or pipeline.action_for(rule.action, target)
                    found.append(
                        _new(_RULE_RESULT, (rule, status, message, action, started, now, properties, exception))
                    )
                    if each.apply_one and status in _APPLIED:
                        break
            except needs.Needed as needed:
                self._position = self._policies.index(each)
                if steps is not None:
                    steps.wait(needed.need)
                raise
            ended_rules = tuple(found)
            if log is not None and steps is not None:
                worst = found[0][1] if len(found) == 1 else pipeline.worst(found)
                if noted is None:
                    log.append((each, worst, began, matched, now, ended_rules))
                else:
                    noted.append((worst, "", now))
                if len(log) > watching.MOST_HELD or type(log) is watching.WrittenOut:
                    budget.log = log = steps.hand_over(now)
                    quick = stage.is_plain and not stage.deleting
            if found:
                action = each.fixed_action or pipeline.action_for(each.action, target)
                self._found.append(_new(_POLICY_RESULT, (each, action, ended_rules)))
        if steps is not None:
            steps.hand_over(now)
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


def _written_out(
    log: watching.Log, each: policy.CompiledPolicy, began: int, matched: int, found: Sequence[results.RuleResult]
) -> watching.Log:
    """Begin a policy in the log, whose rules have been such until now that they could be noted in short."""
    log.append((_POLICY, each, began))
    log += watching.rules_in_short(matched, found)
    return log


def _open(
    rule: policy.CompiledRule, started: int, decided: int, decision: str, asked: tuple[int, str, str] | tuple[()]
) -> Iterator[watching.Entry]:
    """The steps of a rule that goes on when a fact is there."""
    yield _RULE, rule, started
    yield _MATCH, rule, started
    yield decision, "", decided
    if asked:
        yield _PRECONDITIONS, rule, decided
        when, met, why = asked
        if asked is not _ASKED:
            yield met, why, when


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
    if found is not None and found[0] == outcome.FAIL:
        return _tolerated(rule, stage, budget, clock) or found
    return found


def _tolerated(
    rule: policy.CompiledRule, stage: scene.Scene, budget: budgets.Budget, clock: Callable[[], int]
) -> outcome.Outcome | None:
    """The outcome of a rule that fails, where that is tolerated because it failed before; None where it is not."""
    if rule.tolerates_existing and _failed_before(rule, stage, budget, clock):
        return outcome.Outcome(outcome.SKIP, EXISTING)
    return None


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
