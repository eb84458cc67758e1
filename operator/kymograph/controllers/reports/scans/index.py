"""What the reports of the cluster say, in 16 bytes each: so that a scan that finds nothing new asks and writes nothing.

Read in pages at the beginning of a scan, and compared with what policies find. Bodies are not kept.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.reports import document, findings, forms
from kymograph.model import policyreport as model

ODD = b""
"""Stands for a report that is to be written again whatever its results say."""


class Lister(Protocol):
    """What the index asks of a Kubernetes client."""

    def pages(
        self,
        resource: resources.Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection, in pages."""


class ReportIndex:
    """The reports as they were when the scan began.

    Args:
        policies: The keys of the policies that the scan is about; results of others do not matter here.
        reported: Which policies and rules are reported on.
        allowed: The results that get into reports.
    """

    def __init__(
        self, policies: Collection[str], reported: document.Reported, allowed: Collection[str] = model.RESULTS
    ) -> None:
        self._reported = reported
        self._allowed = allowed
        self._policies = frozenset(policies)
        self._digests: dict[str, bytes] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._digests

    def add(self, stored: Mapping[str, Any]) -> None:
        """Take in a report."""
        results = document.results_of(stored)
        sound = document.is_ours(stored) and stored.get("summary") == document.summary(results)
        name = stored["metadata"]["name"]
        self._digests[name] = document.digest(results, self._policies, self._reported) if sound else ODD

    def says(self, uid: str, found: findings.ByPolicy) -> bool:
        """Whether the report on an object says already what all these policies found, or there is none to say it."""
        known = self._digests.get(uid)
        if known is None:
            return not any(
                self._reported(key, rule.rule.name)
                for key, each in found.items()
                if each.result is not None
                for rule in each.result.rules
                if rule.status in self._allowed
            )
        rows = [
            row
            for key, each in found.items()
            for row in findings.rows(each, self._allowed)
            if self._reported(key, row["rule"])
        ]
        return known == document.digest(rows, self._policies, self._reported)


async def pages(client: Lister, form: forms.Form, namespace: str = "") -> AsyncIterator[list[dict[str, Any]]]:
    """All reports that are ours, in pages; none of a kind that is not installed.

    Args:
        client: Lists them.
        form: The API that they are written in.
        namespace: Only those on objects of this namespace; empty is all, those on objects outside included.

    Raises:
        KubernetesError: They could not be listed.
    """
    for resource in (form.namespaced,) if namespace else form.both:
        try:
            async for page in client.pages(resource, namespace=namespace, label_selector="=".join(document.MANAGED_BY)):
                yield page.get("items") or []
        except errors.NotFound:
            continue
