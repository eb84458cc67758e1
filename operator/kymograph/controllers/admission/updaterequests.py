"""What a request sets off besides its answer, written down before the answer is given.

Rules that generate, and rules that mutate objects which exist, do their work after the request. So that none of it is
lost whatever happens meanwhile, each rule that the request is a trigger of is noted as an UpdateRequest in the
operator's own namespace, and only then the API server hears that its request is allowed. Nothing else is done here:
nobody knows yet whether the object will be stored.

A retried request has the same uid and so the same UpdateRequests; a dry run has none. Where there are as many as there
may be, none is noted, and the request is refused or allowed with a warning, as the failure policy says: what Kyverno
does then, to drop the work and say nothing, nobody would notice.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import updaterequests
from kymograph.controllers.admission import updaterequestroom
from kymograph.engine import budget as budgets
from kymograph.engine import exceptions, needs, policyset, results, watching
from kymograph.engine.generate import planning
from kymograph.engine.mutate import existing
from kymograph.engine.policy import CompiledPolicy, CompiledRule
from kymograph.engine.rules import outcome

AGAIN_FIRST, AGAIN_MOST = 0.05, 1.0
"""Seconds until an API server that has no time is asked again, doubled each time."""


class Creating(Protocol):
    """What is asked of a Kubernetes client."""

    async def create(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Create an object."""


class NotWritten(Exception):
    """An UpdateRequest could not be created; the text says which rule it was for, and why not."""


class Concerned(NamedTuple):
    """The policies that may have something to do after a request.

    Attributes:
        generating: Those with generate rules.
        mutating: Those with mutate rules that have targets.
    """

    generating: tuple[CompiledPolicy, ...]
    mutating: tuple[CompiledPolicy, ...]


class UpdateRequests:
    """Notes what requests set off.

    Args:
        client: Creates the UpdateRequests.
        namespace: The operator's own namespace, where they live.
        account: Gives the operator's own user name; its requests set off nothing unless a rule asks for that.
        room: Says whether more of them may be created; None where they may always.
        refused: Is told the type of each that was not created for want of room.
    """

    def __init__(
        self,
        client: Creating,
        namespace: str,
        account: Callable[[], str],
        room: updaterequestroom.Room | None = None,
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self.account = account
        self._room = room
        self._refused = refused
        self._known: policyset.PolicySet | None = None
        self._mutating: frozenset[CompiledPolicy] = frozenset()
        self._any = False

    def concerned(
        self, policies: policyset.PolicySet, request: Mapping[str, Any], failure_policy: str, alone: str = ""
    ) -> Concerned | None:
        """The policies that may have something to do after a request; None where there are none. For the hot path.

        Arguments are those of `PolicySet.lookup`.
        """
        if policies is not self._known:
            self._known = policies
            self._mutating = frozenset(
                each for each in policies.policies if any(rule.body.targets for rule in each.mutate.every)
            )
            self._any = bool(self._mutating) or any(each.generate.every for each in policies.policies)
        if not self._any or request.get("dryRun"):
            return None
        generating = policies.lookup(request, failure_policy, "generate", alone)
        mutating: tuple[CompiledPolicy, ...] = ()
        if self._mutating:
            found = policies.lookup(request, failure_policy, "mutate", alone)
            mutating = tuple(each for each in found if each in self._mutating)
        return Concerned(generating, mutating) if generating or mutating else None

    async def write(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Create UpdateRequests, all at once; one that exists already is as good.

        While the API server has no time (429) it is asked again: give it a time limit.

        Raises:
            NotWritten: Not all of them could be; where there is no room for all of them, none is.
        """
        if self._room is not None and not await self._room.take(len(documents)):
            for document in documents:
                self._refused(document["spec"]["requestType"])
            raise _not_written(
                documents[0],
                f"there may be no more than {self._room.most} UpdateRequests at once; try again when some are done",
            )
        written = await asyncio.gather(*map(self._create, documents), return_exceptions=True)
        for document, done in zip(documents, written, strict=True):
            if isinstance(done, errors.Conflict):
                continue
            if isinstance(done, errors.KubernetesError):
                raise _not_written(document, str(done))
            if isinstance(done, BaseException):
                raise done

    async def _create(self, document: Mapping[str, Any]) -> None:
        pause = AGAIN_FIRST
        while True:
            try:
                await self._client.create(resources.UPDATE_REQUESTS, document, namespace=self._namespace)
            except errors.Throttled:
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_MOST)
            else:
                return


def _not_written(document: Mapping[str, Any], reason: str) -> NotWritten:
    spec = document["spec"]
    return NotWritten(f"what rule {spec['rule']} of policy {spec['policy']} does cannot be noted: {reason}")


class Consequences:
    """What one request sets off, found out in as many goes as facts are missing.

    Args:
        owner: Whose account is left alone.
        concerned: The policies that may have something to do.
        request: The AdmissionRequest.
        facts: What has been fetched for it.
        budget: What the evaluation may spend.
        clock: A monotonic clock in nanoseconds.
        watcher: Is told the steps; None for nobody.
        excepted: The PolicyExceptions that count.
    """

    __slots__ = ("_concerned", "_generated", "_mutate", "_own", "_planning", "_request", "_triggered")

    def __init__(
        self,
        owner: UpdateRequests,
        concerned: Concerned,
        request: Mapping[str, Any],
        facts: needs.Facts,
        budget: budgets.Budget,
        clock: Callable[[], int],
        watcher: watching.Watcher | None,
        excepted: exceptions.Exceptions,
    ) -> None:
        self._concerned = concerned
        self._request = request
        self._own = (request.get("userInfo") or {}).get("username") == owner.account()
        self._generated: tuple[planning.Planned, ...] | None = None
        self._triggered: tuple[existing.Triggered, ...] | None = None
        self._planning = planning.Planning(
            concerned.generating, request, facts, budget, clock, watcher, excepted, describes=False
        )
        self._mutate: Callable[[], tuple[existing.Triggered, ...]] = functools.partial(
            existing.triggered, concerned.mutating, request, facts, budget, clock, watcher, excepted
        )

    def run(self) -> None:
        """Find out.

        Raises:
            Needed: A fact is missing.
            EvaluationError: The kind of the object behind a subresource could not be found out.
        """
        if self._generated is None:
            self._generated = self._planning.run() if self._concerned.generating else ()
        if self._triggered is None:
            self._triggered = self._mutate() if self._concerned.mutating else ()

    @property
    def results(self) -> tuple[results.PolicyResult, ...]:
        """What became of the generate rules, to be counted."""
        return tuple(each.result for each in self._generated or ())

    def documents(self, traceparent: str) -> list[dict[str, Any]]:
        """The UpdateRequests to be created; none for a rule that could not be evaluated, as in Kyverno."""
        found = []
        for planned in self._generated or ():
            for each in planned.result.rules:
                lost = each.status == outcome.FAIL
                if (each.status == outcome.PASS or (lost and each.rule.body.synchronize)) and self._minds(each.rule):
                    found.append(self._document(updaterequests.GENERATE, each.rule, traceparent, deletes=lost))
        deleting = self._request.get("operation") == "DELETE"
        for triggered in self._triggered or ():
            rule = triggered.rule
            meant = triggered.result is None and (not deleting or planning.is_about_deletion(rule))
            if meant and self._minds(rule):
                found.append(self._document(updaterequests.MUTATE, rule, traceparent, deletes=False))
        return found

    def _minds(self, rule: CompiledRule) -> bool:
        return not (self._own and rule.skips_background)

    def _document(self, type_: str, rule: CompiledRule, traceparent: str, *, deletes: bool) -> dict[str, Any]:
        part = updaterequests.Part(rule.name, updaterequests.trigger_of(self._request), deletes)
        name = updaterequests.named(self._request["uid"], rule.policy, rule.name)
        return updaterequests.document(name, type_, rule.policy, part, request=self._request, traceparent=traceparent)
