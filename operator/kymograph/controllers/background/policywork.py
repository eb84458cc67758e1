"""What has to be done because a policy came, changed or went, or because another replica leads now.

A policy may want existing objects to count as triggers (`generateExisting`, `mutateExistingOnPolicyUpdate`); what a
rule that synchronizes has generated follows its text, and goes with it unless `orphanDownstreamOnPolicyDelete` says
otherwise. Where a rule names another target or source than before, what it has generated is left as it is, and belongs
to it no more.

A new leader looks for what nobody may have seen: triggers without result, and generated objects that are out of date
(see `leftovers`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple

from opentelemetry.trace import SpanContext, Tracer

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import backoff, policies, policyspans, updaterequests
from kymograph.controllers.background import (
    downstream,
    errors,
    existingtriggers,
    generating,
    kinds,
    leftovers,
    losing,
    moving,
    notes,
    policychanges,
    worker,
)
from kymograph.engine import policy as compiled
from kymograph.engine.generate import planning
from kymograph.telemetry import roots
from kymograph.telemetry import work as works

logger = logging.getLogger(__name__)

RETRY_AFTER = 2.0
"""Seconds until what could not be done about a policy is tried again, doubled each time up to `REFUSED_AFTER`."""

REFUSED_AFTER = 60.0
"""Seconds until what may not be done is tried again: it may have been granted, or the API server had just started."""


class _Later(NamedTuple):
    """A policy that could not be followed: what it was then, whether in a resync, and when it is tried again."""

    held: policies.Held
    resync: bool
    due: float


class PolicyWork:
    """Notes what is to be done about policies; made anew for each time of leading.

    Args:
        changes: What has changed.
        store: The policies.
        catalogues: What the API server serves.
        written: Finds what was generated.
        noted: Notes what is to be done.
        left: Finds what went unseen.
        existing: Finds triggers that exist.
        pending: Gives what is noted already, by `worker.lane`.
        session: Tells this time of leading from others.
        tracer: Traces what is looked for because of a policy.
        compilation: The span of the latest compilation of a policy; None where that was not traced.
        counted: Where it is counted what there was to do because of a policy.
    """

    def __init__(
        self,
        changes: policychanges.PolicyChanges,
        store: policies.PolicyStore,
        catalogues: kinds.Catalogues,
        written: downstream.Downstream,
        noted: notes.Notes,
        left: leftovers.Leftovers,
        existing: existingtriggers.ExistingTriggers,
        pending: Callable[[], Awaitable[frozenset[str]]],
        session: str,
        tracer: Tracer,
        compilation: Callable[[policies.Key], SpanContext | None],
        counted: works.Work,
    ) -> None:
        self._changes = changes
        self._store = store
        self._catalogues = catalogues
        self._written = written
        self._noted = noted
        self._left = left
        self._existing = existing
        self._pending = pending
        self._noted_before: frozenset[str] = frozenset()
        self._session = session
        self._tracer = tracer
        self._compilation = compilation
        self._counted = counted
        self._later: dict[policies.Key, _Later] = {}
        self._failures: dict[policies.Key, int] = {}
        self._owed: dict[moving.Moved, dict[updaterequests.Reference, None]] = {}  # triggers that are not noted yet

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
                kept = await self._release()
                while pending:
                    key, (held, resync) = next(iter(pending.items()))
                    try:
                        if key in kept:
                            raise kept[key]  # what is still its own would be deleted
                        if held.compiled is not None and _sets_off(held.compiled):
                            with self._working(key):
                                await self._follow(held, held.compiled, resync=resync)
                        self._failures.pop(key, None)
                    except kubernetes_errors.Throttled:
                        raise
                    except (errors.Failing, kubernetes_errors.StatusError) as error:
                        self._put_off(held, error, resync=resync)
                    del pending[key]
                if not looked:
                    await self._left.of_rules()
                    looked = True
            except (kubernetes_errors.KubernetesError, errors.Failing) as error:
                logger.warning("What follows from a change of policies cannot be done, trying again: %s", error)
                await asyncio.sleep(RETRY_AFTER)
                continue
            pending = await self._next()

    @contextlib.contextmanager
    def _working(self, key: policies.Key) -> Iterator[None]:
        """Trace and count what there is to do because of a policy."""
        attributes = policyspans.attributes(policies.RESOURCES[key.kind], key.namespace, key.name)
        causes = (self._compilation(key),)
        with self._counted.reconciling(), roots.root(self._tracer, "BACKGROUND policy change", attributes, causes):
            yield

    def _put_off(self, held: policies.Held, error: Exception, *, resync: bool) -> None:
        """Have a policy followed again after a while, and the others meanwhile."""
        pause = REFUSED_AFTER
        if isinstance(error, errors.Forbidden | kubernetes_errors.Forbidden):
            logger.warning("What follows from policy %s may not be done: %s", held.key.name, error)
        else:
            failures = self._failures[held.key] = self._failures.get(held.key, 0) + 1
            pause = backoff.pause(failures, RETRY_AFTER, REFUSED_AFTER)
            if failures == 1:
                logger.warning("What follows from policy %s is done later: %s", held.key.name, error)
        self._later[held.key] = _Later(held, resync, asyncio.get_running_loop().time() + pause)

    async def _next(self) -> dict[policies.Key, tuple[policies.Held, bool]]:
        """The policies to follow next: those that change, or after a while those that could not be followed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min((each.due for each in self._later.values()), default=None)):
                await self._changes.news.wait()
        pending: dict[policies.Key, tuple[policies.Held, bool]] = {}
        stored = {held.key: held for held in self._store.held}
        for key, (held, resync, due) in list(self._later.items()):
            now = stored.get(key)
            if now is None or (held.uid, held.generation) != (now.uid, now.generation):
                del self._later[key]
                self._failures.pop(key, None)
            elif due <= asyncio.get_running_loop().time():
                del self._later[key]
                pending[key] = now, resync
        self._changes.news.clear()
        pending |= {key: (held, False) for key, held in self._changes.changed.items()}
        self._changes.changed.clear()
        return pending

    async def _undo(self) -> None:
        """Have deleted what rules generated that are gone."""
        for gone in list(self._changes.gone):
            namespace, _, name = gone.policy.rpartition("/")
            with self._working(policies.Key("Policy" if namespace else "ClusterPolicy", namespace, name)):
                await self._noted.note(
                    ("gone", *gone.about),
                    updaterequests.GENERATE,
                    gone.policy,
                    gone.rule,
                    updaterequests.Reference(),
                    gone.kinds,
                )
            self._changes.gone.remove(gone)

    async def _release(self) -> dict[policies.Key, kubernetes_errors.StatusError]:
        """Let go of what rules generated that name another target now, and have that made for the same triggers.

        First the one, then the other: what is still labelled would be deleted, as something not wanted any more.

        Returns:
            The policies of which something could not be let go of yet, and why.
        """
        kept = {}
        for moved in list(self._changes.moved):
            try:
                with self._working(moved.key):
                    for api_version, kind in moved.kinds:
                        resource = await self._resource(api_version, kind)
                        if resource is not None:
                            await self._release_all(moved, resource)
                    owed = self._owed.get(moved, {})
                    for trigger in list(owed):
                        await self._noted.note(moved.about, updaterequests.GENERATE, moved.policy, moved.rule, trigger)
                        del owed[trigger]
            except (errors.Forbidden, kubernetes_errors.Forbidden) as error:
                logger.warning("What rule %s of %s generated stays its own: %s", moved.rule, moved.policy, error)
            except kubernetes_errors.Throttled:
                raise
            except kubernetes_errors.StatusError as error:
                kept[moved.key] = error
                continue
            self._owed.pop(moved, None)
            self._changes.moved.remove(moved)
        return kept

    async def _release_all(self, moved: moving.Moved, resource: resources.Resource) -> None:
        for document in await self._written.of(resource, moved.policy, moved.rule):
            self._owed.setdefault(moved, {})[downstream.trigger_of(document["metadata"])] = None
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
                async for trigger in self._existing.of(policy, rule, since):
                    about_it = worker.lane(policy.key, rule.name, trigger)
                    if not resync or (trigger.uid not in served and about_it not in self._noted_before):
                        await self._noted.note(about, updaterequests.GENERATE, policy.key, rule.name, trigger)
        for rule in policy.mutate.every:
            wants = rule.body.on_policy_update
            if rule.body.targets and (policy.mutates_existing if wants is None else wants):
                async for trigger in self._existing.of(policy, rule, ""):
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
        return await self._left.has_changed(trigger, metadata) and await self._existing.has_lost(policy, rule, trigger)

    async def _resource(self, api_version: str, kind: str) -> resources.Resource | None:
        try:
            return await kinds.resource_of(self._catalogues, api_version, kind)
        except errors.Failing:
            return None  # its definition may come later, and then there is nothing yet


def _sets_off(policy: compiled.CompiledPolicy) -> bool:
    """Whether a policy has rules that may do something about objects that exist."""
    return bool(policy.generate.every) or any(rule.body.targets for rule in policy.mutate.every)
