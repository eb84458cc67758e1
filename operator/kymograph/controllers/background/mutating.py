"""Mutate rules with targets, applied: objects that exist are changed because of another one.

Each target is read, changed by the engine and patched in the version that was read (a JSON patch that tests the
resourceVersion); who has changed it meanwhile makes us read it again. What does not change is not written, which is
also what ends rules that set each other off.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from kymograph.apimachinery import gvk, jsonpatch, wildcard
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import updaterequests
from kymograph.controllers.background import errors, facts, kinds, triggers
from kymograph.engine import budget as budgets
from kymograph.engine import errors as engine_errors
from kymograph.engine import exceptions, needs
from kymograph.engine import policy as policies
from kymograph.engine.mutate import existing, targets
from kymograph.engine.rules import outcome

STEPS = 2_000_000
"""Steps that one rule may take for its trigger, and for each of its targets."""

MOST_CONFLICTS = 5
"""How often a target is read again because somebody changed it."""


class Cluster(Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""

    async def patch(
        self,
        resource: resources.Resource,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Patch an object by a JSON patch."""

    async def update(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = "", subresource: str = ""
    ) -> dict[str, Any]:
        """Replace an object in the version that the document names."""

    def pages(self, resource: resources.Resource, *, namespace: str = "") -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection in pages."""


class Mutating:
    """Applies mutate rules with targets.

    Args:
        client: Reads and changes objects.
        answers: Answers what rules ask for.
        catalogues: What the API server serves.
        clock: Monotonic nanoseconds.
        excepted: Gives the PolicyExceptions of the moment.
    """

    def __init__(
        self,
        client: Cluster,
        answers: facts.Facts,
        catalogues: kinds.Catalogues,
        clock: Callable[[], int],
        excepted: Callable[[], exceptions.Exceptions],
    ) -> None:
        self._client = client
        self._answers = answers
        self._catalogues = catalogues
        self._clock = clock
        self._excepted = excepted
        self._unpatchable: set[tuple[str, str]] = set()

    async def apply(
        self, policy: policies.CompiledPolicy, rule: policies.CompiledRule, trigger: triggers.Trigger
    ) -> list[updaterequests.Reference]:
        """Apply a rule because of a trigger.

        Returns:
            The objects that were changed.

        Raises:
            Needless: The rule has nothing to do for the trigger.
            Failing: Not all targets could be changed; those that could are.
            KubernetesError: The API server did not do as asked.
        """
        if trigger.request is None:
            raise errors.Needless("the trigger is gone")
        known, request = needs.Facts(), trigger.request
        budget = budgets.Budget(steps=STEPS)
        found = await self._answers.complete(
            lambda: existing.triggered((policy,), request, known, budget, self._clock, None, self._excepted()), known
        )
        of = next((each for each in found if each.rule is rule), None)
        if of is None:
            raise errors.Needless("the policy does not apply to the trigger")
        if of.result is not None:
            if of.result.status == outcome.SKIP:
                raise errors.Needless(of.result.message)
            raise errors.Failing(of.result.message)
        changed: list[updaterequests.Reference] = []
        failures: list[str] = []
        for meant in of.meant:
            if meant.wanted is None:
                failures.append(meant.reason)
                continue
            try:
                await self._change_all(of, meant.target, meant.wanted, known, changed, failures)
            except engine_errors.EvaluationError as error:
                failures.append(str(error))
            except kubernetes_errors.StatusError as error:
                failures.append(str(error))
        if failures:
            raise errors.Failing(f"failed to mutate existing resource, rule {rule.name}: {'; '.join(failures)}")
        return changed

    async def _change_all(
        self,
        of: existing.Triggered,
        target: targets.Target,
        wanted: targets.Wanted,
        known: needs.Facts,
        changed: list[updaterequests.Reference],
        failures: list[str],
    ) -> None:
        is_meant = wanted.matcher()
        for resource in await self._resources(wanted.kind):
            async for document in self._candidates(resource, wanted):
                if not is_meant(document):
                    continue
                metadata = document["metadata"]
                try:
                    if await self._change(of, target, resource, document, wanted.kind.subresource, known):
                        changed.append(
                            updaterequests.Reference(
                                resource.api_version,
                                resource.kind,
                                metadata.get("namespace") or "",
                                metadata["name"],
                                metadata["uid"],
                            )
                        )
                except (errors.Failing, kubernetes_errors.StatusError) as error:
                    failures.append(f"{resource.kind} {metadata['name']}: {error}")

    async def _resources(self, kind: gvk.KindSelector) -> list[resources.Resource]:
        found = _served(self._catalogues, kind)
        if not found:
            await self._catalogues.refresh()
            found = _served(self._catalogues, kind)
        if not found:
            raise errors.Failing(f"the API server serves no {kind.kind}")
        return found

    async def _candidates(self, resource: resources.Resource, wanted: targets.Wanted) -> AsyncIterator[dict[str, Any]]:
        """The objects of a resource that a target may mean."""
        namespace = "" if wildcard.has(wanted.namespace) or not resource.namespaced else wanted.namespace
        if wanted.name and not wildcard.has(wanted.name) and (namespace or not resource.namespaced):
            try:
                yield await self._client.get(resource, wanted.name, namespace=namespace)
            except kubernetes_errors.NotFound:
                return
            return
        async for page in self._client.pages(resource, namespace=namespace):
            for each in page.get("items") or ():
                yield {"apiVersion": resource.api_version, "kind": resource.kind, **each}

    async def _change(
        self,
        of: existing.Triggered,
        target: targets.Target,
        resource: resources.Resource,
        document: dict[str, Any],
        subresource: str,
        known: needs.Facts,
    ) -> bool:
        """Change one object; whether anything was to be changed."""
        conflict: kubernetes_errors.Conflict | None = None
        for _ in range(MOST_CONFLICTS):
            metadata, current = document["metadata"], document
            budget = budgets.Budget(steps=STEPS, facts=known, clock=self._clock)
            after = await self._answers.complete(lambda: existing.change(of, target, current, budget), known)  # noqa: B023 - called before the loop goes on
            if after.outcome.status == outcome.SKIP:
                return False
            if after.outcome.status != outcome.PASS:
                raise errors.Failing(after.outcome.message)
            operations = jsonpatch.make(document, after.resource)
            if not operations:
                return False
            try:
                await self._write(resource, document, after.resource, operations, subresource)
            except kubernetes_errors.Conflict as error:
                conflict = error
            except kubernetes_errors.StatusError as error:
                if error.code != 422 or "testing value" not in error.message:  # the test of the resourceVersion
                    raise
                conflict = kubernetes_errors.Conflict(409, "Conflict", error.message)
            else:
                return True
            namespace = metadata.get("namespace") or ""
            try:
                document = await self._client.get(resource, metadata["name"], namespace=namespace)
            except kubernetes_errors.NotFound:
                return False
        raise errors.Failing(f"it is changed all the time: {conflict}")

    async def _write(
        self,
        resource: resources.Resource,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        operations: Sequence[Mapping[str, Any]],
        subresource: str,
    ) -> None:
        metadata = before["metadata"]
        namespace, place = metadata.get("namespace") or "", (resource.group, resource.plural)
        if place not in self._unpatchable:
            test = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
            try:
                await self._client.patch(
                    resource, metadata["name"], [test, *operations], namespace=namespace, subresource=subresource
                )
            except kubernetes_errors.Forbidden as error:
                if "cannot patch resource" not in error.message:
                    raise
                self._unpatchable.add(place)
            else:
                return
        version = {"resourceVersion": metadata["resourceVersion"]}
        document = {**after, "metadata": {**after["metadata"], **version}}
        await self._client.update(resource, document, namespace=namespace, subresource=subresource)


def _served(catalogues: kinds.Catalogues, kind: gvk.KindSelector) -> list[resources.Resource]:
    """The resources of a kind, each group and plural once."""
    found: dict[tuple[str, str], resources.Resource] = {}
    for each in catalogues.current.find(kind.group, kind.version, kind.kind, ""):
        resource = resources.Resource(each.group, each.version, each.plural, each.kind, namespaced=each.namespaced)
        found.setdefault((each.group, each.plural), resource)
    return list(found.values())
