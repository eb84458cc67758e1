"""Generate rules, applied: what should exist is made to exist, and what has lost its reason is deleted.

Everything is decided anew by what the cluster says now. So it does not matter how often a request is worked off, or in
which order; a crash between two writes leaves what the next try completes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from opentelemetry import trace

from kymograph.clients.kubernetes import resources
from kymograph.controllers import redaction, steptraces, updaterequests
from kymograph.controllers.background import downstream, effects, errors, facts, kinds, losing, triggers
from kymograph.engine import budget as budgets
from kymograph.engine import exceptions, needs, results
from kymograph.engine import policy as policies
from kymograph.engine.generate import planning, wanted
from kymograph.engine.rules import outcome

STEPS = 2_000_000
"""Steps that one rule may take: as many as a review."""


MOST_TOLD = 100
"""Objects that the report on a trigger names."""


class Plan(NamedTuple):
    """What one rule came to.

    Attributes:
        planned: What it wants; None where it does not match.
        source_gone: It is in error because an object that it clones does not exist.
    """

    planned: planning.Planned | None
    source_gone: bool


class Generating:
    """Applies generate rules.

    Args:
        written: Writes what they generate.
        answers: Answers what they ask for.
        catalogues: What the API server serves.
        clock: Monotonic nanoseconds.
        excepted: Gives the PolicyExceptions of the moment.
        steps: Makes spans of the steps of evaluations, below that of the rule.
        hidden: Gives the fields of objects that nobody is told of.
        moving: Whether something that a rule of a policy generated is still to be let go of: it is not deleted then as
            something that is not wanted any more, and its trigger is looked at once more when it is let go of.
    """

    def __init__(
        self,
        written: downstream.Downstream,
        answers: facts.Facts,
        catalogues: kinds.Catalogues,
        clock: Callable[[], int],
        excepted: Callable[[], exceptions.Exceptions],
        steps: steptraces.StepTraces,
        hidden: redaction.Hidden = tuple,
        moving: Callable[[str, str], bool] = lambda _policy, _rule: False,
    ) -> None:
        self._written = written
        self._answers = answers
        self._catalogues = catalogues
        self._clock = clock
        self._excepted = excepted
        self._steps = steps
        self._hidden = hidden
        self._moving = moving

    async def apply(
        self,
        policy: policies.CompiledPolicy,
        rule: policies.CompiledRule,
        part: updaterequests.Part,
        trigger: triggers.Trigger,
        seed: bytes,
        done: effects.Effects,
    ) -> None:
        """Apply a rule because of a trigger.

        Args:
            policy: The policy.
            rule: Its rule.
            part: What of the UpdateRequest is about the rule.
            trigger: The trigger as it is.
            seed: 32 bytes that decide all that is random in the rule: the same each time that this is tried again.
            done: Is told what is made and deleted.

        Raises:
            Needless: The rule has nothing to do for the trigger.
            Failing: It could not be applied, or not completely.
            KubernetesError: The API server did not do as asked.
        """
        if trigger.request is None:
            await self._lost(policy, rule, part, "the trigger is gone", done)
            return
        if part.deletes and await self._has_lost(policy, rule, trigger.request):
            done.results = []
            await self._lost(policy, rule, part, "the object is no trigger any more", done)
            return
        plan = await self._planned(policy, rule, trigger.request, seed)
        if plan.planned is None:
            raise errors.Needless("the policy does not apply to the trigger")
        (result,) = plan.planned.result.rules
        (described,) = plan.planned.wanted
        done.results = [result]
        match result.status:
            case outcome.PASS if trigger.ending:
                done.results = []
                await self._lost(policy, rule, part, "the trigger is being deleted", done)
                return
            case outcome.PASS:
                await self._make(policy, rule, part, described, done)
                done.results = [_telling(result, done.objects)]
                new = trigger.request.get("operation") == "CREATE"  # which has left nothing
                if rule.body.synchronize and not new and not self._moving(policy.key, rule.name):
                    await self._prune(policy, rule, part, described, effects.Effects(done.writing))
                return
            case outcome.FAIL:
                done.results = []
                await self._lost(policy, rule, part, "the object is no trigger any more", done)
                return
            case outcome.SKIP:
                raise errors.Needless(result.message)
        if plan.source_gone and rule.body.synchronize:
            await self._prune(policy, rule, part, described, done)
            if done.objects:
                return
        raise errors.Failing(result.message)

    async def _has_lost(
        self, policy: policies.CompiledPolicy, rule: policies.CompiledRule, request: Mapping[str, Any]
    ) -> bool:
        """Whether an object is no trigger, seen without a request that made it so."""
        return not request.get("operation") and await losing.has_lost(
            policy, rule, request, self._answers, self._clock, self._excepted()
        )

    async def delete_all(
        self, policy: str, rule: str, listed: tuple[tuple[str, str], ...], done: effects.Effects, *, marked: bool
    ) -> None:
        """Delete what a rule of some kinds generated, because the rule is gone.

        Args:
            policy: Key of the policy.
            rule: Name of the rule.
            listed: API version and kind of what it generated.
            done: Is told what is deleted.
            marked: Only what says that it goes with its rule: nobody knows any more what the rule said.
        """
        for api_version, kind in listed:
            resource = await kinds.resource_of(self._catalogues, api_version, kind)
            for document in await self._written.of(resource, policy, rule):
                if not marked or downstream.goes_with_rule(document["metadata"]):
                    await self._delete(resource, document, done)

    async def _planned(
        self, policy: policies.CompiledPolicy, rule: policies.CompiledRule, request: Mapping[str, Any], seed: bytes
    ) -> Plan:
        only = dataclasses.replace(policy, generate=policies.RuleTable(written=(rule,), every=(rule,)))
        watched = _Sources()
        watched.add(needs.Seed(), seed)
        budget = budgets.Budget(steps=STEPS)
        trail = self._steps.trail()
        work = planning.Planning((only,), request, watched, budget, self._clock, trail, self._excepted())
        found = await self._answers.complete(work.run, watched)
        if trail is not None:
            self._steps.tell(trail, trace.get_current_span(), rule)
        return Plan(found[0] if found else None, watched.missing)

    async def _make(
        self,
        policy: policies.CompiledPolicy,
        rule: policies.CompiledRule,
        part: updaterequests.Part,
        objects: tuple[wanted.Wanted, ...],
        done: effects.Effects,
    ) -> None:
        synchronize = rule.body.synchronize
        with_rule = synchronize and not downstream.outlives(written(policy, rule))
        for each in objects:
            target = each.target
            if each.source is not None and synchronize:  # first, or its end could go unseen
                origin = await kinds.resource_of(self._catalogues, each.source.api_version, each.source.kind)
                await self._written.mark_source(origin, each.source)
            resource = await kinds.resource_of(self._catalogues, target.api_version, target.kind)
            made = updaterequests.Reference(resource.api_version, resource.kind, target.namespace, target.name)
            done.writing(made)
            with redaction.hiding(redaction.of_object(resource.group, resource.kind, each.manifest, self._hidden())):
                before = await self._written.ensure(
                    resource, each, part.trigger.name, synchronize=synchronize, with_rule=with_rule
                )
            done.objects.append(made)
            if before is None:
                done.created.append(made)
            elif synchronize:
                owner = downstream.owner_of(before)
                if owner is not None and owner != (policy.key, rule.name):
                    done.contested.append((made, *owner))

    async def _prune(
        self,
        policy: policies.CompiledPolicy,
        rule: policies.CompiledRule,
        part: updaterequests.Part,
        objects: tuple[wanted.Wanted, ...],
        done: effects.Effects,
    ) -> None:
        """Delete what a rule generated because of a trigger and does not want any more."""
        kept = frozenset((each.target.kind, each.target.namespace, each.target.name) for each in objects)
        for api_version, kind in downstream.kinds_of(written(policy, rule)):
            resource = await kinds.resource_of(self._catalogues, api_version, kind)
            for document in await self._written.of(resource, policy.key, rule.name, part.trigger):
                metadata = document["metadata"]
                if (resource.kind, metadata.get("namespace") or "", metadata["name"]) not in kept:
                    await self._delete(resource, document, done)

    async def _lost(
        self,
        policy: policies.CompiledPolicy,
        rule: policies.CompiledRule,
        part: updaterequests.Part,
        reason: str,
        done: effects.Effects,
    ) -> None:
        if not rule.body.synchronize:
            raise errors.Needless(f"{reason}, and the rule does not synchronize")
        await self._prune(policy, rule, part, (), done)

    async def _delete(self, resource: resources.Resource, document: Mapping[str, Any], done: effects.Effects) -> None:
        if not document["metadata"].get("deletionTimestamp"):
            done.writing(downstream.reference(resource, document["metadata"]))
            with redaction.unseen(resource.group, resource.kind, self._hidden()):
                done.objects.append(await self._written.delete(resource, document))


def written(policy: policies.CompiledPolicy, rule: policies.CompiledRule) -> Mapping[str, Any]:
    """The `generate` of a rule as it is written."""
    rules = policy.document["spec"]["rules"]
    found: Mapping[str, Any] = next(
        (each.get("generate") or {} for each in rules if each["name"] == rule.base_name), {}
    )
    return found


def _telling(result: results.RuleResult, objects: list[updaterequests.Reference]) -> results.RuleResult:
    """A result with what Kyverno's reports say of generated objects."""
    if not objects:
        return result
    listed = "; ".join(map(effects.described, objects[:MOST_TOLD]))
    return result._replace(properties={**result.properties, "generated-resources": listed})


class _Sources(needs.Facts):
    """Facts that remember whether an object to be cloned was missing."""

    __slots__ = ("missing",)

    def __init__(self) -> None:
        super().__init__()
        self.missing = False

    def add(self, need: needs.Need, value: Any) -> None:
        """Record what a need turned out to be."""
        if isinstance(need, needs.Object) and value is None:
            self.missing = True
        super().add(need, value)
