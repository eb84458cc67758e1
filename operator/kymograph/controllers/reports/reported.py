"""Which policies and rules have a place in reports, and the removal of results of those that lost theirs.

Reports outlive policies. When a policy, or a rule of one, is gone, every stored report is looked through once for its
results; likewise at the start, because policies may have gone while nobody looked.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import policies
from kymograph.controllers.reports import document, queue, writer
from kymograph.controllers.reports.findings import Findings
from kymograph.engine.policy import CompiledPolicy

logger = logging.getLogger(__name__)

SETTLE = 1.0
"""Seconds that a burst of changes is given to end before one sweep answers it."""

RETRY_AFTER = 10.0
"""Seconds until a sweep that failed is tried again."""


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


class ReportedPolicies:
    """Knows which policies and rules there are; keeps reports free of others.

    A policy that does not compile any more keeps its results until it does again; one with the label
    `reports.kyverno.io/disabled`, whatever its value, has none.

    Args:
        store: The policies.
        client: Lists the reports.
        work: Where reports with results of gone policies are put.
    """

    def __init__(self, store: policies.PolicyStore, client: Lister, work: queue.WorkQueue) -> None:
        self._store = store
        self._client = client
        self._work = work
        self._rules: dict[str, frozenset[str] | None] = {}  # None: never compiled here, whatever is stored stays
        self._lost = asyncio.Event()
        store.listen(self._changed)
        for held in store.held:
            self._changed(held.key, held)

    def __call__(self, policy: str, rule: str) -> bool:
        """Whether a policy (`name` or `namespace/name`) and its rule are reported on."""
        if not self._store.complete.is_set():
            return True
        rules = self._rules.get(policy, frozenset())
        return rules is None or rule in rules

    async def sweep(self) -> None:
        """Look through the reports whenever a policy or rule is gone; until cancelled."""
        await self._store.complete.wait()
        self._lost.set()
        while True:
            await self._lost.wait()
            await asyncio.sleep(SETTLE)
            self._lost.clear()
            try:
                for resource in (document.POLICY_REPORTS, document.CLUSTER_POLICY_REPORTS):
                    await self._look_through(resource)
            except errors.KubernetesError as error:
                logger.warning(
                    "Reports cannot be listed to remove results of deleted policies, trying again: %s", error
                )
                self._lost.set()
                await asyncio.sleep(RETRY_AFTER)

    async def _look_through(self, resource: resources.Resource) -> None:
        try:
            async for page in self._client.pages(resource, label_selector="=".join(document.MANAGED_BY)):
                for stored in page.get("items") or []:
                    subject = document.subject_of(stored)
                    if subject is not None and document.is_outdated(stored, self):
                        await self._work.room()
                        self._work.put(Findings(subject))
        except errors.NotFound:  # the kind is not installed: nothing to remove
            return

    def _changed(self, key: policies.Key, held: policies.Held | None) -> None:
        name = f"{key.namespace}/{key.name}" if key.namespace else key.name
        before = self._rules.get(name, frozenset())
        after: frozenset[str] = frozenset()
        if held is None:
            self._rules.pop(name, None)
        elif held.compiled is None:
            self._rules.setdefault(name, None)
            return
        else:
            after = self._rules[name] = _rules(held.compiled)
        if before is None or before - after:
            self._lost.set()


def _rules(compiled: CompiledPolicy) -> frozenset[str]:
    if writer.DISABLED in compiled.labels:
        return frozenset()
    return frozenset(rule.name for rule in compiled.rules)
