"""Generate rules applied to one request: what should exist because of its object, and what no longer has a reason to.

A rule passes with the objects that it wants. It fails where the object was a trigger and is none any more, because it
changed or is being deleted: what was generated for it has lost its reason. Whether that is then deleted, and whether
what is wanted exists already, is for whoever writes objects; nothing is written, or compared with the cluster, here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.engine import budget as budgets
from kymograph.engine import errors, exceptions, needs, pipeline, policy, results, scene, watching
from kymograph.engine.generate import labels, wanted
from kymograph.engine.match import filters
from kymograph.engine.match import target as targets
from kymograph.engine.rules import outcome


class Planned(NamedTuple):
    """What the generate rules of one policy want.

    Attributes:
        result: What became of the rules.
        wanted: For each of its rules the objects that should exist. A rule in error wants those that it could describe.
    """

    result: results.PolicyResult
    wanted: tuple[tuple[wanted.Wanted, ...], ...]


class Planning:
    """The evaluation of generate rules on one request. The arguments are those of `evaluate.Evaluation`, and one more.

    Sources of clones are asked for as `needs.Object` and `needs.Objects`.

    Args:
        describes: Whether to say which objects a rule wants; without, it passes once it is known that it wants any.
    """

    __slots__ = (
        "_budget",
        "_clock",
        "_describes",
        "_found",
        "_policies",
        "_policy",
        "_position",
        "_request",
        "_set_scene",
        "_stage",
        "_steps",
        "_wanted",
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
        *,
        describes: bool = True,
    ) -> None:
        budget.facts, budget.clock = facts, clock
        self._describes = describes
        self._policies = policies
        self._request = request
        self._budget = budget
        self._clock = clock
        self._steps = None if watcher is None else watching.Steps(watcher, clock)
        self._set_scene: Callable[[], scene.Scene | None] = lambda: scene.of(
            policies, request, facts, exceptions, values
        )
        self._stage: scene.Scene | None = None
        self._position = 0
        self._found: list[Planned] = []
        self._policy: policy.CompiledPolicy | None = None
        self._wanted: list[wanted.Wanted] = []

    def run(self) -> tuple[Planned, ...]:
        """Plan, or go on planning.

        Returns:
            What the policies want that have at least one generate rule that matched.

        Raises:
            Needed: A fact is missing. Called again when it has been added, this goes on with the policy that asked.
            EvaluationError: The kind of the object behind a subresource could not be found out.
        """
        stage = self._stage
        if stage is None:
            self._stage = stage = self._set_scene()
            if stage is None:
                return ()
        if self._steps is not None:
            self._steps.resume()
        while self._position < len(self._policies):
            each = self._policies[self._position]
            if each.generate.every and (not each.namespace or each.namespace == stage.target.namespace):
                self._plan(each, stage)
            self._position += 1
        return tuple(self._found)

    def _plan(self, each: policy.CompiledPolicy, stage: scene.Scene) -> None:
        clock, steps = self._clock, self._steps
        self._policy = each
        now = clock()
        log = None if steps is None else steps.begin(each, now)
        self._budget.log = log
        found: list[results.RuleResult] = []
        objects: list[tuple[wanted.Wanted, ...]] = []
        try:
            for rule in each.generate.of(stage.target.kind[2]):
                self._wanted = []
                result = pipeline.evaluated(rule, stage, self._budget, clock, log, now, self._act)
                if result is None or (result.status == outcome.SKIP and "exceptions" not in result.properties):
                    result = self._lost(rule, stage, now) or result
                now = clock()
                if result is None:
                    continue
                found.append(result)
                objects.append(tuple(self._wanted))
                if each.apply_one and result.status != outcome.SKIP:
                    break
        except needs.Needed as needed:
            if steps is not None:
                steps.wait(needed.need)
            raise
        if steps is not None:
            steps.end(pipeline.worst(found), now)
        if found:
            action = each.fixed_action or pipeline.action_for(each.action, stage.target)
            self._found.append(Planned(results.PolicyResult(each, action, tuple(found)), tuple(objects)))

    def _act(
        self,
        rule: policy.CompiledRule,
        stage: scene.Scene,
        entered: pipeline.Entered,
        budget: budgets.Budget,
        _clock: Callable[[], int],
    ) -> outcome.Outcome | None:
        """Describe what a rule wants that matched."""
        if stage.deleting and not is_about_deletion(rule):
            return outcome.Outcome(outcome.FAIL, "")
        if not self._describes:
            return outcome.Outcome(outcome.PASS, "")
        owner = self._policy
        if owner is None:
            return None
        own = {**labels.of_rule(owner.name, owner.namespace, rule.name), **labels.of_trigger(stage.resource)}
        rule.body.wanted(entered.context, budget, own, self._wanted)
        return outcome.Outcome(outcome.PASS, "")

    def _lost(self, rule: policy.CompiledRule, stage: scene.Scene, started: int) -> results.RuleResult | None:
        """The failure of a rule whose trigger the object was before this request; None where it was none."""
        before = self._before(stage)
        if before is None:
            return None
        try:
            entered = pipeline.enter(rule, before, self._budget, self._clock, None)
        except errors.EvaluationError:
            return None
        if not isinstance(entered, pipeline.Entered):
            return None
        action = rule.fixed_action or pipeline.action_for(rule.action, stage.target)
        return results.RuleResult(rule, outcome.FAIL, "", action, started, self._clock(), rule.plain_properties, None)

    def _before(self, stage: scene.Scene) -> scene.Scene | None:
        """The same request about the object as it was; None for requests that change no object."""
        old = self._request.get("oldObject")
        if old is None or stage.deleting:
            return None
        target = stage.target
        was = targets.of(old, target.kind, target.operation, target.namespace, target.namespace_labels, target.user)
        request = {**stage.context["request"], "object": old}
        context = {**stage.context, "request": request}
        return scene.Scene(was, old, context, request, deleting=False, values=stage.values)


def plan(
    policies: Sequence[policy.CompiledPolicy],
    request: Mapping[str, Any],
    facts: needs.Facts,
    budget: budgets.Budget,
    clock: Callable[[], int],
    watcher: watching.Watcher | None = None,
    exceptions: exceptions.Exceptions | None = None,
) -> tuple[Planned, ...]:
    """Plan from the beginning; see `Planning`, whose caller need not begin anew when a fact is missing.

    Raises:
        Needed: A fact is missing.
        EvaluationError: The kind of the object behind a subresource could not be found out.
    """
    return Planning(policies, request, facts, budget, clock, watcher, exceptions).run()


def is_about_deletion(rule: policy.CompiledRule) -> bool:
    """Whether a filter names DELETE. One without operations selects it too, but does not mean it as a trigger."""
    return any(
        "DELETE" in scope.operations for scope in rule.match.scopes if scope.operations is not filters.OPERATIONS
    )
