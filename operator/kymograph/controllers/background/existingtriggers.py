"""Which objects of a cluster are triggers of a rule, as they are now: nobody has asked for any of them."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import updaterequests
from kymograph.controllers.background import downstream, errors, facts, kinds, losing, triggers
from kymograph.controllers.configuration import filters as filtering
from kymograph.engine import budget as budgets
from kymograph.engine import errors as engine_errors
from kymograph.engine import exceptions, needs
from kymograph.engine import policy as compiled
from kymograph.engine.generate import planning
from kymograph.engine.mutate import existing
from kymograph.engine.rules import outcome

logger = logging.getLogger(__name__)

STEPS = 200_000
"""Steps that it may take to see whether an object is a trigger."""


class ExistingTriggers:
    """Finds them.

    Args:
        client: Lists and reads objects.
        catalogues: What the API server serves.
        filters: Gives what the installation keeps from policies.
        answers: Answers what rules ask for.
        clock: Monotonic nanoseconds.
        excepted: Gives the PolicyExceptions of the moment.
    """

    def __init__(
        self,
        client: triggers.Reader,
        catalogues: kinds.Catalogues,
        filters: Callable[[], filtering.Filters],
        answers: facts.Facts,
        clock: Callable[[], int],
        excepted: Callable[[], exceptions.Exceptions],
    ) -> None:
        self._client = client
        self._catalogues = catalogues
        self._filters = filters
        self._answers = answers
        self._clock = clock
        self._excepted = excepted

    async def of(
        self, policy: compiled.CompiledPolicy, rule: compiled.CompiledRule, since: str
    ) -> AsyncIterator[updaterequests.Reference]:
        """The existing objects that a rule is about, created at a time or later.

        None where the policy has match conditions: only API servers can say what it is about, and only of requests.
        """
        if policy.match_conditions:
            logger.warning("Policy %s has matchConditions, so it is applied to no existing trigger", policy.key)
            return
        for resource in self._resources(rule):
            async for page in self._client.pages(resource, namespace=policy.namespace):
                for each in page.get("items") or ():
                    if not each["metadata"].get("uid"):
                        continue  # computed, as PodMetrics are: nothing can be traced back to it
                    document = {"apiVersion": resource.api_version, "kind": resource.kind, **each}
                    reference = downstream.reference(resource, document["metadata"])
                    if (
                        document["metadata"]["creationTimestamp"] >= since
                        and not triggers.is_filtered(self._filters(), reference)
                        and await self._concerns(policy, rule, triggers.about(resource, document))
                    ):
                        yield reference
                    await asyncio.sleep(0)  # a review may wait

    async def has_lost(
        self, policy: compiled.CompiledPolicy, rule: compiled.CompiledRule, trigger: updaterequests.Reference
    ) -> bool:
        """Whether an object that was a trigger is none any more, told by what it is now (see `losing`)."""
        try:
            resource = await kinds.resource_of(self._catalogues, trigger.api_version, trigger.kind)
        except errors.Failing:
            return False
        namespace = trigger.namespace if resource.namespaced else ""
        try:
            live = await self._client.get(resource, trigger.name, namespace=namespace)
        except kubernetes_errors.NotFound:
            return False
        request = triggers.about(resource, live)
        return live["metadata"]["uid"] == trigger.uid and await losing.has_lost(
            policy, rule, request, self._answers, self._clock, self._excepted()
        )

    async def _concerns(
        self, policy: compiled.CompiledPolicy, rule: compiled.CompiledRule, request: Mapping[str, Any]
    ) -> bool:
        known, budget = needs.Facts(), budgets.Budget(steps=STEPS)
        only = compiled.RuleTable(written=(rule,), every=(rule,))
        excepted = self._excepted()
        try:
            if rule.type == updaterequests.MUTATE:
                alone = dataclasses.replace(policy, mutate=only)
                found = await self._answers.complete(
                    lambda: existing.triggered((alone,), request, known, budget, self._clock, None, excepted), known
                )
                return any(each.result is None for each in found)
            alone = dataclasses.replace(policy, generate=only)
            work = planning.Planning((alone,), request, known, budget, self._clock, None, excepted, describes=False)
            planned = await self._answers.complete(work.run, known)
        except engine_errors.EvaluationError as error:
            logger.debug("Whether %s concerns rule %s cannot be said: %s", request["name"], rule.name, error)
            return False
        return any(each.status == outcome.PASS for one in planned for each in one.result.rules)

    def _resources(self, rule: compiled.CompiledRule) -> Iterable[resources.Resource]:
        """The collections that the triggers of a rule are in, each once."""
        found: dict[tuple[str, str], resources.Resource] = {}
        for selector in (kind for scope in rule.match.scopes for kind in scope.kinds):
            for each in self._catalogues.current.find(selector.group, selector.version, selector.kind, ""):
                if "list" in each.verbs and not selector.subresource:
                    resource = resources.Resource(
                        each.group, each.version, each.plural, each.kind, namespaced=each.namespaced
                    )
                    found.setdefault((each.group, each.plural), resource)
        return found.values()
