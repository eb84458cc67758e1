"""Generate rules, applied: what should exist is made to exist, and what has lost its reason is deleted.

Everything is decided anew by what the cluster says now. So it does not matter how often a request is worked off, or in
which order; a crash between two writes leaves what the next try completes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kymograph.controllers import updaterequests
from kymograph.controllers.background import downstream, errors, facts, kinds, triggers
from kymograph.engine import budget as budgets
from kymograph.engine import exceptions, needs
from kymograph.engine import policy as policies
from kymograph.engine.generate import planning, wanted
from kymograph.engine.rules import outcome

STEPS = 2_000_000
"""Steps that one rule may take: as many as a review."""


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
    """

    def __init__(
        self,
        written: downstream.Downstream,
        answers: facts.Facts,
        catalogues: kinds.Catalogues,
        clock: Callable[[], int],
        excepted: Callable[[], exceptions.Exceptions],
    ) -> None:
        self._written = written
        self._answers = answers
        self._catalogues = catalogues
        self._clock = clock
        self._excepted = excepted

    async def apply(
        self,
        policy: policies.CompiledPolicy,
        rule: policies.CompiledRule,
        part: updaterequests.Part,
        trigger: triggers.Trigger,
    ) -> list[updaterequests.Reference]:
        """Apply a rule because of a trigger.

        Returns:
            The objects that it made, or deleted.

        Raises:
            Needless: The rule has nothing to do for the trigger.
            Failing: It could not be applied, or not completely.
            KubernetesError: The API server did not do as asked.
        """
        if trigger.request is None:
            return await self._lost(policy, rule, part, "the trigger is gone")
        plan = await self._planned(policy, rule, trigger.request)
        if plan.planned is None:
            raise errors.Needless("the policy does not apply to the trigger")
        (result,) = plan.planned.result.rules
        (described,) = plan.planned.wanted
        match result.status:
            case outcome.PASS:
                made = await self._make(rule, part, described)
                if rule.body.synchronize and trigger.request.get("operation") != "CREATE":  # a new one has left nothing
                    await self._prune(policy, rule, part, described)
                return made
            case outcome.FAIL:
                return await self._lost(policy, rule, part, "the object is no trigger any more")
            case outcome.SKIP:
                raise errors.Needless(result.message)
        if plan.source_gone and rule.body.synchronize:
            gone = await self._prune(policy, rule, part, described)
            if gone:
                return gone
        raise errors.Failing(result.message)

    async def delete_all(
        self, policy: str, rule: str, listed: tuple[tuple[str, str], ...]
    ) -> list[updaterequests.Reference]:
        """Delete everything of some kinds that a rule generated, because the rule is gone."""
        return [
            each
            for api_version, kind in listed
            for each in await self._delete(policy, rule, None, api_version, kind, frozenset())
        ]

    async def _planned(
        self, policy: policies.CompiledPolicy, rule: policies.CompiledRule, request: Mapping[str, Any]
    ) -> Plan:
        only = dataclasses.replace(policy, generate=policies.RuleTable(written=(rule,), every=(rule,)))
        watched = _Sources()
        budget = budgets.Budget(steps=STEPS)
        work = planning.Planning((only,), request, watched, budget, self._clock, None, self._excepted())
        found = await self._answers.complete(work.run, watched)
        return Plan(found[0] if found else None, watched.missing)

    async def _make(
        self, rule: policies.CompiledRule, part: updaterequests.Part, objects: tuple[wanted.Wanted, ...]
    ) -> list[updaterequests.Reference]:
        synchronize, made = rule.body.synchronize, []
        for each in objects:
            target = each.target
            if each.source is not None and synchronize:  # first, or its end could go unseen
                origin = await kinds.resource_of(self._catalogues, each.source.api_version, each.source.kind)
                await self._written.mark_source(origin, each.source)
            resource = await kinds.resource_of(self._catalogues, target.api_version, target.kind)
            await self._written.ensure(resource, each, part.trigger.name, synchronize=synchronize)
            made.append(updaterequests.Reference(resource.api_version, resource.kind, target.namespace, target.name))
        return made

    async def _prune(
        self,
        policy: policies.CompiledPolicy,
        rule: policies.CompiledRule,
        part: updaterequests.Part,
        objects: tuple[wanted.Wanted, ...],
    ) -> list[updaterequests.Reference]:
        """Delete what a rule generated because of a trigger and does not want any more."""
        kept = frozenset((each.target.kind, each.target.namespace, each.target.name) for each in objects)
        return [
            each
            for api_version, kind in downstream.kinds_of(written(policy, rule))
            for each in await self._delete(policy.key, rule.name, part.trigger.uid, api_version, kind, kept)
        ]

    async def _lost(
        self,
        policy: policies.CompiledPolicy,
        rule: policies.CompiledRule,
        part: updaterequests.Part,
        reason: str,
    ) -> list[updaterequests.Reference]:
        if not rule.body.synchronize:
            raise errors.Needless(f"{reason}, and the rule does not synchronize")
        return await self._prune(policy, rule, part, ())

    async def _delete(
        self,
        policy: str,
        rule: str,
        trigger: str | None,
        api_version: str,
        kind: str,
        kept: frozenset[tuple[str, str, str]],
    ) -> list[updaterequests.Reference]:
        resource = await kinds.resource_of(self._catalogues, api_version, kind)
        gone = []
        for document in await self._written.of(resource, policy, rule, trigger):
            metadata = document["metadata"]
            place = (resource.kind, metadata.get("namespace") or "", metadata["name"])
            if place not in kept and not metadata.get("deletionTimestamp"):
                gone.append(await self._written.delete(resource, document))
        return gone


def written(policy: policies.CompiledPolicy, rule: policies.CompiledRule) -> Mapping[str, Any]:
    """The `generate` of a rule as it is written."""
    rules = policy.document["spec"]["rules"]
    found: Mapping[str, Any] = next(
        (each.get("generate") or {} for each in rules if each["name"] == rule.base_name), {}
    )
    return found


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
