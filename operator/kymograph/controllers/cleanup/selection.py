"""Finds, page by page, the objects that a cleanup policy deletes now.

Nothing is deleted here, so the same code says beforehand what would be. What was found out for one page (calls,
labels of namespaces) is not kept for the next: a run may take long, and what it asked for may be large.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import redaction
from kymograph.controllers.cleanup import spared
from kymograph.engine import budget as budgets
from kymograph.engine import cleanup, needs

STEPS = 100_000
"""What the conditions of one object may cost: a tenth of a second."""

PATIENCE = 500_000_000
"""Nanoseconds that they may take; they are evaluated on the event loop."""


class Source(Protocol):
    """What is asked of the client of the API server."""

    def pages(self, resource: resources.Resource, *, namespace: str = "") -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection in pages, in one snapshot."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""


class Facts(Protocol):
    """Knows the labels of namespaces, and what contexts of policies name."""

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Add what a need turns out to be where that is known without asking anybody; whether it is."""

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Find out what a need turns out to be and add it, or the reason why it cannot be known."""


class Candidate(NamedTuple):
    """An object that is to be deleted.

    Attributes:
        resource: What it is.
        namespace: Its namespace; empty for cluster-scoped objects.
        name: Its name.
        uid: Which incarnation was looked at.
        version: Its resourceVersion then.
        reason: What the conditions say of it, without what nobody is told of; may be empty.
    """

    resource: resources.Resource
    namespace: str
    name: str
    uid: str
    version: str
    reason: str

    def __str__(self) -> str:
        return f"{self.resource.kind}/{self.namespace}/{self.name}"


class Page(NamedTuple):
    """What was found in one page.

    Attributes:
        looked: How many objects were in it.
        chosen: Those to be deleted.
        problems: Of those that could not be decided, which and why.
    """

    looked: int
    chosen: tuple[Candidate, ...]
    problems: tuple[tuple[str, str], ...]


class Selection:
    """Applies cleanup policies to the objects of a cluster.

    Args:
        source: Lists them.
        facts: Knows what policies ask for.
        spare: What policies leave alone.
        clock: A monotonic clock in nanoseconds.
        hidden: Gives the fields of objects that nobody is told of, beside what Secrets hold.
    """

    def __init__(
        self,
        source: Source,
        facts: Facts,
        spare: spared.Spared,
        clock: Callable[[], int],
        hidden: redaction.Hidden = tuple,
    ) -> None:
        self._source = source
        self._facts = facts
        self._spare = spare
        self._clock = clock
        self._hidden = hidden

    async def pages(self, policy: cleanup.CleanupPolicy, resource: resources.Resource) -> AsyncGenerator[Page, None]:
        """Go through a collection.

        Raises:
            KubernetesError: It cannot be listed.
        """
        async for page in self._source.pages(resource, namespace=policy.namespace):
            facts = needs.Facts()
            chosen, problems = [], []
            items = page.get("items") or ()
            for item in items:
                document = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
                if self._is_spared(resource, document):
                    continue
                outcome, reason = await self.decide(policy, document, facts)
                if outcome not in (cleanup.DELETE, cleanup.ERROR):
                    continue
                found = _candidate(resource, document, self._hide(resource, document, reason))
                if outcome == cleanup.DELETE:
                    chosen.append(found)
                else:
                    problems.append((str(found), found.reason))
            yield Page(len(items), tuple(chosen), tuple(problems))

    async def again(self, policy: cleanup.CleanupPolicy, before: Candidate) -> Candidate | None:
        """Look at an object again that has changed meanwhile; None where it is to stay now.

        Raises:
            NotFound: It is gone, or another one has its name.
            KubernetesError: It cannot be read.
        """
        found = await self._source.get(before.resource, before.name, namespace=before.namespace)
        if found["metadata"]["uid"] != before.uid:
            raise errors.NotFound(404, "NotFound", "another object has its name")
        if self._is_spared(before.resource, found):
            return None
        outcome, reason = await self.decide(policy, found, needs.Facts())
        if outcome != cleanup.DELETE:
            return None
        return _candidate(before.resource, found, self._hide(before.resource, found, reason))

    def unseen(self, resource: resources.Resource) -> AbstractContextManager[None]:
        """Have nothing told of what others say of an object while it is deleted; `told` says more, if it may."""
        return redaction.unseen(resource.group, resource.kind, self._hidden())

    async def told(self, candidate: Candidate, problem: errors.KubernetesError) -> str:
        """Why an object cannot be deleted, as anybody may read it: webhooks that refuse may quote the object.

        What it holds is looked at again where that is needed; where it cannot be, the status has to do.
        """
        said, resource = str(problem), candidate.resource
        if not redaction.is_looked_for(resource.group, resource.kind, self._hidden()):
            return said
        try:
            document = await self._source.get(resource, candidate.name, namespace=candidate.namespace)
        except errors.KubernetesError:
            return str(problem.bare) if isinstance(problem, errors.StatusError) else said
        return self._hide(resource, document, said)

    def _hide(self, resource: resources.Resource, document: Mapping[str, Any], text: str) -> str:
        found = redaction.of_object(resource.group, resource.kind, document, self._hidden()) if text else None
        return text if found is None else found.text(text)

    async def decide(
        self, policy: cleanup.CleanupPolicy, document: dict[str, Any], facts: needs.Facts
    ) -> cleanup.Decision:
        """Decide of one object, fetching whatever that takes."""
        while True:
            try:
                deadline = self._clock() + PATIENCE
                return cleanup.decide(
                    policy, document, budgets.Budget(steps=STEPS, deadline=deadline, clock=self._clock, facts=facts)
                )
            except needs.Needed as lacking:
                need = lacking.need
            if not self._facts.at_hand(need, facts):
                await self._facts.fetch(need, facts)

    def _is_spared(self, resource: resources.Resource, document: Mapping[str, Any]) -> bool:
        """Whether an object is going already, or must be left alone."""
        metadata = document["metadata"]
        return bool(metadata.get("deletionTimestamp")) or self._spare.from_policies(
            resource, metadata.get("namespace") or "", metadata["name"], metadata.get("labels") or {}
        )


def _candidate(resource: resources.Resource, document: Mapping[str, Any], reason: str) -> Candidate:
    metadata = document["metadata"]
    return Candidate(
        resource,
        metadata.get("namespace") or "",
        metadata["name"],
        metadata["uid"],
        metadata["resourceVersion"],
        reason,
    )
