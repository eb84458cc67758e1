"""Mutate rules with targets, applied: objects that exist are changed because of another one.

Each target is read, changed by the engine and patched in the version that was read (a JSON patch that tests the
resourceVersion); who has changed it meanwhile makes us read it again. What does not change is not written, which is
also what ends rules that set each other off. A change that would change its own result again (a counter, an element
that is appended) leaves a mark in the same write, so that a try after a crash sees that it is done.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from opentelemetry import trace

from kymograph.apimachinery import gvk, jsonpatch, wildcard
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import redaction, steptraces, updaterequests
from kymograph.controllers.background import effects, errors, facts, kinds, triggers
from kymograph.engine import budget as budgets
from kymograph.engine import errors as engine_errors
from kymograph.engine import exceptions, needs, results
from kymograph.engine import policy as policies
from kymograph.engine.mutate import body, existing, targets
from kymograph.engine.rules import outcome
from kymograph.telemetry import subject

STEPS = 2_000_000
"""Steps that one rule may take for its trigger, and for each of its targets."""

MOST_CONFLICTS = 5
"""How often a target is read again because somebody changed it."""


MOST_TOLD = 100
"""Targets that the report on a trigger tells of."""

APPLIED = "kymograph.dev/applied"
"""Annotation on a target: which UpdateRequests have changed it, where doing so again would change it again."""

_MOST_MARKS = 16
_MARK = 16
"""Marks on one object, oldest forgotten first, and their hexadecimal digits."""


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
        steps: Makes spans of the steps of evaluations, below that of the rule.
        hidden: Gives the fields of objects that nobody is told of.
    """

    def __init__(
        self,
        client: Cluster,
        answers: facts.Facts,
        catalogues: kinds.Catalogues,
        clock: Callable[[], int],
        excepted: Callable[[], exceptions.Exceptions],
        steps: steptraces.StepTraces,
        hidden: redaction.Hidden = tuple,
    ) -> None:
        self._client = client
        self._answers = answers
        self._catalogues = catalogues
        self._clock = clock
        self._excepted = excepted
        self._steps = steps
        self._hidden = hidden
        self._unpatchable: set[tuple[str, str]] = set()

    async def apply(
        self,
        policy: policies.CompiledPolicy,
        rule: policies.CompiledRule,
        trigger: triggers.Trigger,
        seed: bytes,
        done: effects.Effects,
    ) -> None:
        """Apply a rule because of a trigger.

        Args:
            policy: The policy.
            rule: Its rule.
            trigger: The trigger as it is.
            seed: 32 bytes that stand for the UpdateRequest: they decide all that is random, and tell what it has done.
            done: Is told what is changed.

        Raises:
            Needless: The rule has nothing to do for the trigger.
            Failing: Not all targets could be changed; those that could are.
            KubernetesError: The API server did not do as asked.
        """
        if trigger.request is None:
            raise errors.Needless("the trigger is gone")
        known, request = needs.Facts(), trigger.request
        known.add(needs.Seed(), seed)
        budget = budgets.Budget(steps=STEPS)
        trail = self._steps.trail()
        found = await self._answers.complete(
            lambda: existing.triggered((policy,), request, known, budget, self._clock, trail, self._excepted()), known
        )
        if trail is not None:
            self._steps.tell(trail, trace.get_current_span(), rule)
        of = next((each for each in found if each.rule is rule), None)
        if of is None:
            raise errors.Needless("the policy does not apply to the trigger")
        if of.result is not None:
            done.results = [of.result]
            if of.result.status == outcome.SKIP:
                raise errors.Needless(of.result.message)
            raise errors.Failing(of.result.message)
        work = _Work(of, known, seed.hex()[:_MARK], done, [])
        failures: list[str] = []
        for position, meant in enumerate(of.meant):
            if meant.wanted is None:
                failures.append(meant.reason)
                continue
            try:
                await self._change_all(work, position, meant.target, meant.wanted)
            except kubernetes_errors.Throttled:
                raise
            except (engine_errors.EvaluationError, errors.Failing, kubernetes_errors.StatusError) as error:
                failures.append(str(error))
        done.results = work.results[:MOST_TOLD]
        failures += [f"{each.kind} {each.name}: {reason}" for each, reason in done.failures]
        if failures:
            raise errors.Failing(f"failed to mutate existing resource, rule {rule.name}: {'; '.join(failures)}")

    async def _change_all(self, work: "_Work", position: int, target: targets.Target, wanted: targets.Wanted) -> None:
        is_meant = wanted.matcher()
        for resource in await self._resources(wanted.kind):
            async for document in self._candidates(resource, wanted):
                if not is_meant(document):
                    continue
                metadata = document["metadata"]
                where = metadata.get("namespace") or ""
                about = updaterequests.Reference(
                    resource.api_version, resource.kind, where, metadata["name"], metadata["uid"]
                )
                mark = f"{work.mark}.{position}"
                found = redaction.of_object(resource.group, resource.kind, document, self._hidden())
                try:
                    with redaction.hiding(found):
                        after = await self._change(
                            work, target, resource, about, document, wanted.kind.subresource, mark
                        )
                        if after is not None:
                            after = after._replace(message=subject.current().told(after.message))
                except kubernetes_errors.Throttled:
                    raise
                except (errors.Failing, kubernetes_errors.StatusError) as error:
                    work.done.failures.append((about, str(error)))
                    work.tell(about, outcome.Outcome(outcome.ERROR, str(error)))
                    continue
                if after is None:
                    continue
                work.tell(about, after)
                if after.status == outcome.PASS:
                    work.done.objects.append(about)
                    work.done.changed.append(about)

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
        work: "_Work",
        target: targets.Target,
        resource: resources.Resource,
        about: updaterequests.Reference,
        document: dict[str, Any],
        subresource: str,
        mark: str,
    ) -> outcome.Outcome | None:
        """Change one object; what came of it, None where it is gone.

        Raises:
            Failing: It could not be changed.
            StatusError: The API server refused.
        """
        conflict: kubernetes_errors.Conflict | None = None
        for _ in range(MOST_CONFLICTS):
            if mark in _marks(document):
                return outcome.Outcome(outcome.PASS, _message(document))  # by a try of which nobody has heard
            after = await self._changed(work, target, document)
            if after.outcome.status == outcome.SKIP:
                return after.outcome
            if after.outcome.status != outcome.PASS:
                raise errors.Failing(after.outcome.message)
            wanted = after.resource
            if not jsonpatch.make(document, wanted):
                return outcome.Outcome(outcome.SKIP, "no patches applied")
            if not subresource and (await self._changed(work, target, wanted)).outcome.status != outcome.SKIP:
                wanted = _marked(wanted, mark)
            work.done.writing(about)
            try:
                await self._write(resource, document, wanted, jsonpatch.make(document, wanted), subresource)
            except kubernetes_errors.Conflict as error:
                conflict = error
            except kubernetes_errors.StatusError as error:
                if error.code != 422 or "testing value" not in error.message:  # the test of the resourceVersion
                    raise
                conflict = kubernetes_errors.Conflict(409, "Conflict", error.message)
            else:
                return after.outcome
            try:
                document = await self._client.get(resource, about.name, namespace=about.namespace)
            except kubernetes_errors.NotFound:
                return None
        raise errors.Failing(f"it is changed all the time: {conflict}")

    async def _changed(self, work: "_Work", target: targets.Target, document: dict[str, Any]) -> body.Changed:
        """What becomes of an object."""
        budget = budgets.Budget(steps=STEPS, facts=work.known, clock=self._clock)
        return await self._answers.complete(lambda: existing.change(work.of, target, document, budget), work.known)

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


class _Work(NamedTuple):
    """One rule at work.

    Attributes:
        of: What the trigger set off.
        known: The facts so far.
        mark: Stands for the UpdateRequest.
        done: Is told what is changed.
        results: What became of the targets so far.
    """

    of: existing.Triggered
    known: needs.Facts
    mark: str
    done: effects.Effects
    results: list[results.RuleResult]

    def tell(self, target: updaterequests.Reference, after: outcome.Outcome) -> None:
        """Note what became of a target, as Kyverno's reports say it."""
        rule = self.of.rule
        properties = {**rule.plain_properties, "patched-target": effects.described(target)}
        self.results.append(
            results.RuleResult(rule, after.status, after.message, rule.fixed_action, 0, 0, properties, None)
        )


def _marks(document: Mapping[str, Any]) -> list[str]:
    annotations = document["metadata"].get("annotations") or {}
    return [each for each in (annotations.get(APPLIED) or "").split(",") if each]


def _marked(document: Mapping[str, Any], mark: str) -> dict[str, Any]:
    metadata = document["metadata"]
    marks = ",".join([*_marks(document)[1 - _MOST_MARKS :], mark])
    annotations = {**(metadata.get("annotations") or {}), APPLIED: marks}
    return {**document, "metadata": {**metadata, "annotations": annotations}}


def _message(document: Mapping[str, Any]) -> str:
    metadata = document["metadata"]
    where = f" in namespace {metadata['namespace']}" if metadata.get("namespace") else ""
    return f"mutated {document.get('kind') or ''}/{metadata['name']}{where}"


def _served(catalogues: kinds.Catalogues, kind: gvk.KindSelector) -> list[resources.Resource]:
    """The resources of a kind, each group and plural once."""
    found: dict[tuple[str, str], resources.Resource] = {}
    for each in catalogues.current.find(kind.group, kind.version, kind.kind, ""):
        resource = resources.Resource(each.group, each.version, each.plural, each.kind, namespaced=each.namespaced)
        found.setdefault((each.group, each.plural), resource)
    return list(found.values())
