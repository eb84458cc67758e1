"""How complete the reports of a cluster are: what the operator wrote about its scans, and what the reports say."""

import collections
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.reports import document, findings, forms, writer
from kymograph.controllers.reports.scans import progress
from kymograph.model import policyreport as model


class Reader(Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""

    def pages(self, resource: resources.Resource, *, metadata_only: bool = False) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection, in pages."""


@dataclasses.dataclass(frozen=True, slots=True)
class OfKind:
    """The scan of one kind.

    Attributes:
        resource: `pods`, `deployments.v1.apps`.
        kind: The kind.
        policies: How many policies its objects are scanned for.
        state: `waiting`, `scanning`, `scanned`, `forbidden` or `failed`.
        scanned: How many objects the scan has looked at.
        objects: How many there were.
        without: How many have no report now; None where they cannot be listed.
    """

    resource: str
    kind: str
    policies: int
    state: str
    scanned: int
    objects: int
    without: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """How complete reports are.

    Attributes:
        started: When the latest scan began, RFC 3339; empty where none did.
        finished: When it ended; empty while it goes on.
        following: When everything is scanned next.
        kinds: The kinds that are scanned.
        reports: How many reports there are.
        results: How many results of each kind, by policy.
    """

    started: str
    finished: str
    following: str
    kinds: tuple[OfKind, ...]
    reports: int
    results: Mapping[str, Mapping[str, int]]


async def read(client: Reader, namespace: str) -> State:
    """Look at a cluster.

    Args:
        client: Reads it.
        namespace: Where the operator is.

    Raises:
        KubernetesError: Something could not be read, other than the objects that are scanned.
    """
    told = await _progress(client, namespace)
    names: set[str] = set()
    results: dict[str, collections.Counter[str]] = {}
    async for stored in _reports(client):
        names.add(stored["metadata"]["name"])
        for row in document.results_of(stored):
            if row.get("source") == findings.SOURCE and row.get("result") in model.RESULTS:
                results.setdefault(row.get("policy", ""), collections.Counter())[row["result"]] += 1
    kinds = [
        OfKind(
            each["resource"],
            each["kind"],
            each["policies"],
            each["state"],
            each["scanned"],
            each["objects"],
            await _without(client, each["resource"], each["kind"], names),
        )
        for each in told.get("resources") or []
    ]
    return State(
        told.get("startedAt") or "",
        told.get("finishedAt") or "",
        told.get("nextAt") or "",
        tuple(kinds),
        len(names),
        {policy: dict(results[policy]) for policy in sorted(results)},
    )


async def _progress(client: Reader, namespace: str) -> Mapping[str, Any]:
    try:
        stored = await client.get(resources.CONFIG_MAPS, progress.NAME, namespace=namespace)
    except errors.NotFound:
        return {}
    told = json.loads((stored.get("data") or {}).get(progress.ENTRY) or "{}")
    return told if isinstance(told, dict) else {}


async def _reports(client: Reader) -> AsyncIterator[Mapping[str, Any]]:
    """The reports, in whichever form the operator writes them."""
    for form in forms.EVERY:
        for resource in form.both:
            try:
                async for stored in _items(client, resource, metadata_only=False):
                    yield stored
            except errors.NotFound:  # the kind is not installed
                continue


async def _without(client: Reader, name: str, kind: str, reported: set[str]) -> int | None:
    """How many objects have no report, of those that may have one."""
    plural, _, rest = name.partition(".")
    version, _, group = rest.partition(".")
    resource = resources.Resource(group, version or "v1", plural, kind, namespaced=True)
    missing = 0
    try:
        async for stored in _items(client, resource, metadata_only=True):
            metadata = stored["metadata"]
            if metadata["uid"] not in reported and writer.DISABLED not in (metadata.get("labels") or {}):
                missing += 1
    except errors.StatusError:
        return None
    return missing


async def _items(
    client: Reader, resource: resources.Resource, *, metadata_only: bool
) -> AsyncIterator[Mapping[str, Any]]:
    async for page in client.pages(resource, metadata_only=metadata_only):
        for item in page.get("items") or []:
            yield item
