"""What has to be done because a policy came, changed or went, or because another replica leads now.

A policy may want existing objects to count as triggers (`generateExisting`, `mutateExistingOnPolicyUpdate`); what a
rule that synchronizes has generated follows its text, and goes with it unless `orphanDownstreamOnPolicyDelete` says
otherwise. Every replica remembers what went while it was running, so that whoever leads next knows it too. Where a rule
names another target or source than before, what it has generated is left as it is, and belongs to it no more.

A new leader looks for what nobody may have seen: triggers without result, and generated objects that are out of date
(see `leftovers`).
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry.trace import Span, SpanContext, Tracer

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import policies, updaterequests
from kymograph.controllers.background import (
    downstream,
    errors,
    facts,
    generating,
    kinds,
    leftovers,
    losing,
    moving,
    notes,
    triggers,
    worker,
)
from kymograph.engine import budget as budgets
from kymograph.engine import errors as engine_errors
from kymograph.engine import exceptions, needs
from kymograph.engine import policy as compiled
from kymograph.engine.generate import planning
from kymograph.engine.mutate import existing
from kymograph.engine.rules import outcome
from kymograph.telemetry import roots, semconv

logger = logging.getLogger(__name__)

RETRY_AFTER = 2.0
"""Seconds until what could not be done about a policy is tried again."""

REFUSED_AFTER = 60.0
"""Seconds until what may not be done is tried again: it may have been granted, or the API server had just started."""

MOST_GONE = 1_000
"""Rules that went which are remembered for the next leader."""

STEPS = 200_000
"""Steps that it may take to see whether an object is a trigger."""


class Gone(NamedTuple):
    """A rule that synchronized and is no more."""

    policy: str
    rule: str
    about: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]


class PolicyChanges:
    """Remembers what has changed; lives as long as the process.

    Args:
        store: The policies.
    """

    def __init__(self, store: policies.PolicyStore) -> None:
        self._store = store
        self._known: dict[policies.Key, policies.Held] = {}
        self.gone: list[Gone] = []
        self.moved: list[moving.Moved] = []
        self.changed: dict[policies.Key, policies.Held] = {}
        self.news = asyncio.Event()
        store.listen(self._listen)

    def _listen(self, key: policies.Key, held: policies.Held | None) -> None:
        before = self._known.get(key)
        after = held.compiled if held is not None else None
        if held is not None and after is None:
            return  # it cannot be enforced as it is now; what was generated waits for a better version
        if before is not None and before.compiled is not None:
            self.gone += _lost(before.compiled, before, after)
            del self.gone[:-MOST_GONE]
            if held is not None and after is not None and held.uid == before.uid:
                self.moved += moving.between(before.compiled, held, after)
                del self.moved[:-MOST_GONE]
        if held is None:
            self._known.pop(key, None)
            self.changed.pop(key, None)
        else:
            self._known[key] = held
            if before is None or before.generation != held.generation or before.uid != held.uid:
                self.changed[key] = held
        self.news.set()


class PolicyWork:
    """Notes what is to be done about policies; made anew for each time of leading.

    Args:
        changes: What has changed.
        store: The policies.
        client: Lists triggers.
        catalogues: What the API server serves.
        written: Finds what was generated.
        noted: Notes what is to be done.
        left: Finds what went unseen.
        pending: Gives what is noted already, by `worker.lane`.
        answers: Answers what rules ask for.
        clock: Monotonic nanoseconds.
        excepted: Gives the PolicyExceptions of the moment.
        session: Tells this time of leading from others.
        tracer: Traces what is looked for because of a policy.
        compilation: The span of the latest compilation of a policy; None where that was not traced.
    """

    def __init__(
        self,
        changes: PolicyChanges,
        store: policies.PolicyStore,
        client: downstream.Cluster,
        catalogues: kinds.Catalogues,
        written: downstream.Downstream,
        noted: notes.Notes,
        left: leftovers.Leftovers,
        pending: Callable[[], Awaitable[frozenset[str]]],
        answers: facts.Facts,
        clock: Callable[[], int],
        excepted: Callable[[], exceptions.Exceptions],
        session: str,
        tracer: Tracer,
        compilation: Callable[[policies.Key], SpanContext | None],
    ) -> None:
        self._changes = changes
        self._store = store
        self._client = client
        self._catalogues = catalogues
        self._written = written
        self._noted = noted
        self._left = left
        self._pending = pending
        self._noted_before: frozenset[str] = frozenset()
        self._answers = answers
        self._clock = clock
        self._excepted = excepted
        self._session = session
        self._tracer = tracer
        self._compilation = compilation
        self._refused: dict[policies.Key, tuple[policies.Held, bool]] = {}
        self._due = 0.0
        self._owed: dict[updaterequests.Reference, None] = {}  # triggers of what is let go of, not noted yet

    async def run(self) -> None:
        """Work until cancelled, beginning with every policy there is."""
        await self._store.complete.wait()
        self._noted_before = await self._pending()
        pending = {held.key: (held, True) for held in self._store.held}
        self._changes.changed.clear()
        self._changes.moved.clear()  # another leader has seen to it; what is there now may be of the new target
        looked = False
        while True:
            try:
                await self._undo()
                await self._release()
                while pending:
                    key, (held, resync) = next(iter(pending.items()))
                    try:
                        if held.compiled is not None and _sets_off(held.compiled):
                            with self._span(key):
                                await self._follow(held, held.compiled, resync=resync)
                    except (errors.Forbidden, kubernetes_errors.Forbidden) as error:
                        logger.warning("What follows from policy %s may not be done: %s", key.name, error)
                        self._refuse(held, resync=resync)
                    del pending[key]
                if not looked:
                    await self._left.of_rules()
                    looked = True
            except (kubernetes_errors.KubernetesError, errors.Failing) as error:
                logger.warning("What follows from a change of policies cannot be done, trying again: %s", error)
                await asyncio.sleep(RETRY_AFTER)
                continue
            pending = await self._next()

    def _span(self, key: policies.Key) -> contextlib.AbstractContextManager[Span]:
        attributes = {
            semconv.POLICY_KIND: key.kind,
            semconv.POLICY_NAME: key.name,
            semconv.POLICY_NAMESPACE: key.namespace,
        }
        return roots.root(self._tracer, "BACKGROUND policy change", attributes, (self._compilation(key),))

    def _refuse(self, held: policies.Held, *, resync: bool) -> None:
        """Have a policy followed again after a while."""
        if not self._refused:
            self._due = asyncio.get_running_loop().time() + REFUSED_AFTER
        self._refused[held.key] = held, resync

    async def _next(self) -> dict[policies.Key, tuple[policies.Held, bool]]:
        """The policies to follow next: those that change, or after a while those that could not be followed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._due if self._refused else None):
                await self._changes.news.wait()
        pending: dict[policies.Key, tuple[policies.Held, bool]] = {}
        if self._refused and asyncio.get_running_loop().time() >= self._due:
            for now in self._store.held:
                held, resync = self._refused.get(now.key, (None, False))
                if held is not None and (held.uid, held.generation) == (now.uid, now.generation):
                    pending[now.key] = now, resync
            self._refused.clear()
        self._changes.news.clear()
        pending |= {key: (held, False) for key, held in self._changes.changed.items()}
        self._changes.changed.clear()
        return pending

    async def _undo(self) -> None:
        """Have deleted what rules generated that are gone."""
        for gone in list(self._changes.gone):
            namespace, _, name = gone.policy.rpartition("/")
            with self._span(policies.Key("Policy" if namespace else "ClusterPolicy", namespace, name)):
                await self._noted.note(
                    ("gone", *gone.about),
                    updaterequests.GENERATE,
                    gone.policy,
                    gone.rule,
                    updaterequests.Reference(),
                    gone.kinds,
                )
            self._changes.gone.remove(gone)

    async def _release(self) -> None:
        """Let go of what rules generated that name another target now, and have that made for the same triggers.

        First the one, then the other: what is still labelled would be deleted, as something not wanted any more.
        """
        for moved in list(self._changes.moved):
            try:
                with self._span(moved.key):
                    for api_version, kind in moved.kinds:
                        resource = await self._resource(api_version, kind)
                        if resource is not None:
                            await self._release_all(moved, resource)
                    for trigger in list(self._owed):
                        await self._noted.note(moved.about, updaterequests.GENERATE, moved.policy, moved.rule, trigger)
                        del self._owed[trigger]
            except (errors.Forbidden, kubernetes_errors.Forbidden) as error:
                logger.warning("What rule %s of %s generated stays its own: %s", moved.rule, moved.policy, error)
                self._owed.clear()
            self._changes.moved.remove(moved)

    async def _release_all(self, moved: moving.Moved, resource: resources.Resource) -> None:
        for document in await self._written.of(resource, moved.policy, moved.rule):
            self._owed[downstream.trigger_of(document["metadata"])] = None
            await self._written.release(resource, document["metadata"])

    async def _follow(self, held: policies.Held, policy: compiled.CompiledPolicy, *, resync: bool) -> None:
        about = ("policy", held.uid, str(held.generation), self._session if resync else "")
        for rule in policy.generate.every:
            served: set[str] = set()
            if rule.body.synchronize:
                served = await self._follow_downstream(about, held, policy, rule, resync=resync)
            wants = rule.body.generates_existing
            since = "" if (policy.generates_existing if wants is None else wants) else None
            if since is None and rule.body.synchronize and resync:
                since = (held.document["metadata"].get("creationTimestamp") or "") or None
            if since is not None:
                async for trigger in self._triggers(policy, rule, since):
                    about_it = worker.lane(policy.key, rule.name, trigger)
                    if not resync or (trigger.uid not in served and about_it not in self._noted_before):
                        await self._noted.note(about, updaterequests.GENERATE, policy.key, rule.name, trigger)
        for rule in policy.mutate.every:
            wants = rule.body.on_policy_update
            if rule.body.targets and (policy.mutates_existing if wants is None else wants):
                async for trigger in self._triggers(policy, rule, ""):
                    await self._noted.note(about, updaterequests.MUTATE, policy.key, rule.name, trigger)

    async def _follow_downstream(
        self,
        about: tuple[str, ...],
        held: policies.Held,
        policy: compiled.CompiledPolicy,
        rule: compiled.CompiledRule,
        *,
        resync: bool,
    ) -> set[str]:
        """Note the triggers of what a rule has generated; in a resync only of what is out of date.

        Returns:
            The uids of the triggers that have some result.
        """
        served = set()
        for api_version, kind in downstream.kinds_of(generating.written(policy, rule)):
            resource = await self._resource(api_version, kind)
            if resource is None:
                continue
            for document in await self._written.of(resource, policy.key, rule.name):
                metadata = document["metadata"]
                trigger = downstream.trigger_of(metadata)
                served.add(trigger.uid)
                lost = resync and await self._has_lost(policy, rule, trigger, metadata)
                if (
                    lost
                    or not resync
                    or await self._left.is_outdated(
                        held.document["metadata"], metadata, needs_trigger=not planning.is_about_deletion(rule)
                    )
                ):
                    await self._noted.note(about, updaterequests.GENERATE, policy.key, rule.name, trigger, lost=lost)
        return served

    async def _has_lost(
        self,
        policy: compiled.CompiledPolicy,
        rule: compiled.CompiledRule,
        trigger: updaterequests.Reference,
        metadata: Mapping[str, Any],
    ) -> bool:
        """Whether the trigger of a generated object has changed since, and is none any more."""
        if not trigger.name or not losing.is_told_by_object(policy, rule):
            return False
        if not await self._left.has_changed(trigger, metadata):
            return False
        resource = await self._resource(trigger.api_version, trigger.kind)
        if resource is None:
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

    async def _triggers(
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
                    document = {"apiVersion": resource.api_version, "kind": resource.kind, **each}
                    reference = downstream.reference(resource, document["metadata"])
                    if (
                        document["metadata"]["creationTimestamp"] >= since
                        and not triggers.is_filtered(self._store.filters, reference)
                        and await self._concerns(policy, rule, triggers.about(resource, document))
                    ):
                        yield reference
                    await asyncio.sleep(0)  # a review may wait

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

    async def _resource(self, api_version: str, kind: str) -> resources.Resource | None:
        try:
            return await kinds.resource_of(self._catalogues, api_version, kind)
        except errors.Failing:
            return None  # its definition may come later, and then there is nothing yet


def _lost(
    before: compiled.CompiledPolicy, held: policies.Held, after: compiled.CompiledPolicy | None
) -> Iterable[Gone]:
    """The rules of a policy whose work is to be undone, because they are no more."""
    left = {rule.name for rule in after.generate.every} if after is not None else set()
    for rule in before.generate.every:
        generate = generating.written(before, rule)
        if rule.name in left or not rule.body.synchronize or downstream.outlives(generate):
            continue
        about = (held.uid, str(held.generation))
        yield Gone(before.key, rule.name, about, tuple(downstream.kinds_of(generate)))


def _sets_off(policy: compiled.CompiledPolicy) -> bool:
    """Whether a policy has rules that may do something about objects that exist."""
    return bool(policy.generate.every) or any(rule.body.targets for rule in policy.mutate.every)
