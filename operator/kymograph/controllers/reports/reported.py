"""Which policies and rules have a place in reports, and the removal of results of those that lost theirs.

Reports outlive policies. When a policy, or a rule of one, is gone, every stored report is looked through once for its
results; likewise at the start, because policies may have gone while nobody looked.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from opentelemetry import trace

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import policies
from kymograph.controllers.reports import document, findings, forms, queue, writer
from kymograph.engine.policy import CompiledPolicy
from kymograph.telemetry import roots

logger = logging.getLogger(__name__)

_NOBODY = trace.NoOpTracer()

UNKNOWN = "unknown"
"""The type of a rule of which nothing is known."""

SETTLE = 1.0
"""Seconds that a burst of changes is given to end before one sweep answers it."""

RETRY_AFTER = 10.0
"""Seconds until a sweep that failed is tried again."""

DELETIONS_PER_SECOND = 50.0
"""Reports of another form that are deleted a second."""


class Lister(Protocol):
    """What a sweep asks of a Kubernetes client."""

    def pages(
        self,
        resource: resources.Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection, in pages."""

    async def delete(
        self, resource: resources.Resource, name: str, *, namespace: str = "", uid: str | None = None
    ) -> None:
        """Delete an object, only the one with that uid."""


class ReportedPolicies:
    """Knows which policies and rules there are; keeps reports free of others.

    A policy that does not compile any more keeps its results until it does again; one with the label
    `reports.kyverno.io/disabled`, whatever its value, has none.

    Args:
        store: The policies.
        client: Lists the reports.
        work: Where reports with results of gone policies are put.
        form: The API that reports are written in.
        tracer: For a root span per sweep.
    """

    def __init__(
        self,
        store: policies.PolicyStore,
        client: Lister,
        work: queue.WorkQueue,
        form: forms.Form = forms.POLICY_REPORTS,
        tracer: trace.Tracer = _NOBODY,
    ) -> None:
        self._store = store
        self._form = form
        self._client = client
        self._tracer = tracer
        self._work = work
        self._rules: dict[str, Mapping[str, str] | None] = {}  # None: never compiled here, whatever is stored stays
        self._lost = asyncio.Event()
        self._pace = queue.Pace(DELETIONS_PER_SECOND)
        store.listen(self._changed)
        for held in store.held:
            self._changed(held.key, held)

    def __call__(self, policy: str, rule: str) -> str:
        """The type of a rule of a policy (`name` or `namespace/name`); empty where it is not reported on.

        `validate`, `mutate`, `generate`; `unknown` where that is not known (yet), which is to be treated like a rule
        that is reported on.
        """
        rules = self._rules.get(policy, {})
        if rules is None or not self._store.complete.is_set():
            return (rules or {}).get(rule, UNKNOWN)
        return rules.get(rule, "")

    async def sweep(self) -> None:
        """Look through the reports whenever a policy or rule is gone; until cancelled."""
        await self._store.complete.wait()
        with roots.root(self._tracer, "REPORTS sweep"):
            await self._leave_other_forms()
        self._lost.set()
        while True:
            await self._lost.wait()
            await asyncio.sleep(SETTLE)
            self._lost.clear()
            try:
                with roots.root(self._tracer, "REPORTS sweep"):
                    for resource in self._form.both:
                        await self._look_through(resource)
            except errors.KubernetesError as error:
                logger.warning(
                    "Reports cannot be listed to remove results of deleted policies, trying again: %s", error
                )
                self._lost.set()
                await asyncio.sleep(RETRY_AFTER)

    async def _leave_other_forms(self) -> None:
        """Delete what was written when reports had another form: nobody keeps that true any more.

        Reports that hold results of others as well are let be, and so are those that may not be deleted.
        """
        for form in forms.EVERY:
            for resource in form.both if form.namespaced != self._form.namespaced else ():
                try:
                    async for page in self._client.pages(resource, label_selector="=".join(document.MANAGED_BY)):
                        for stored in page.get("items") or []:
                            await self._delete(resource, stored)
                except errors.KubernetesError as error:  # most often because the kind is not installed
                    logger.debug("Reports of %s are left as they are: %s", resource.api_version, error)

    async def _delete(self, resource: resources.Resource, stored: Mapping[str, Any]) -> None:
        sources = {row.get("source") for row in document.results_of(stored)}
        if document.subject_of(stored) is None or sources - {findings.SOURCE}:
            return
        metadata = stored["metadata"]
        await self._pace.turn()
        with contextlib.suppress(errors.NotFound, errors.Conflict):
            await self._client.delete(
                resource, metadata["name"], namespace=metadata.get("namespace", ""), uid=metadata["uid"]
            )

    async def _look_through(self, resource: resources.Resource) -> None:
        sweep = roots.cause()
        asked_by = () if sweep is None else (sweep,)
        try:
            async for page in self._client.pages(resource, label_selector="=".join(document.MANAGED_BY)):
                for stored in page.get("items") or []:
                    subject = document.subject_of(stored)
                    if subject is not None and document.is_outdated(stored, self):
                        await self._work.room()
                        self._work.put(findings.Findings(subject, requests=asked_by))
        except errors.NotFound:  # the kind is not installed: nothing to remove
            return

    def _changed(self, key: policies.Key, held: policies.Held | None) -> None:
        name = key.text
        before = self._rules.get(name, {})
        after: Mapping[str, str] = {}
        if held is None:
            self._rules.pop(name, None)
        elif held.compiled is None:
            self._rules.setdefault(name, None)
            return
        else:
            after = self._rules[name] = _rules(held.compiled)
        if before is None or before.items() - after.items():
            self._lost.set()


def _rules(compiled: CompiledPolicy) -> Mapping[str, str]:
    """The types of the rules that are reported on, by their names."""
    if writer.DISABLED in compiled.labels:
        return {}
    return {rule.name: rule.type for rule in compiled.rules}
