"""How far the scan for each policy is, in the policy's status.

A field beside those that Kyverno writes, `status.scan`, and not a condition among them: tools compare the conditions.
Nothing is written but a scan's begin, if it lasts, and its end.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from opentelemetry import trace

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import policies, policyspans
from kymograph.telemetry import roots

logger = logging.getLogger(__name__)

PUBLISH_EVERY = 5.0
"""Seconds between two looks at what is to be written."""


class Merger(Protocol):
    """What writing a status asks of a Kubernetes client."""

    async def merge(
        self,
        resource: resources.Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Patch an object by a JSON merge patch."""


@dataclasses.dataclass(slots=True)
class _Scan:
    """The latest scan for a policy."""

    began: str
    ended: str | None = None
    objects: int = 0


class PolicyScans:
    """Remembers the scans of this replica, and tells of them.

    Args:
        client: Writes the statuses.
        store: The policies.
        now: The time.
        tracer: For a root span per status that is written.
        compilation: Gives the span of the compilation of a policy, to link to.
    """

    def __init__(
        self,
        client: Merger,
        store: policies.PolicyStore,
        now: Callable[[], dt.datetime],
        tracer: trace.Tracer,
        compilation: Callable[[policies.Key], trace.SpanContext | None] = lambda _: None,
    ) -> None:
        self._client = client
        self._tracer = tracer
        self._compilation = compilation
        self._store = store
        self._now = now
        self._scans: dict[str, _Scan] = {}
        self._untold: set[str] = set()

    def begin(self, keys: Iterable[str]) -> None:
        """A scan for the policies with these keys begins."""
        at = self._stamp()
        begun = {key: _Scan(at) for key in keys}
        self._scans |= begun
        self._untold |= begun.keys()

    def looked_at(self, keys: Iterable[str], objects: int) -> None:
        """So many objects of a kind have been looked at for the policies with these keys."""
        for key in keys:
            if key in self._scans:
                self._scans[key].objects += objects

    def end(self) -> None:
        """The scan is over."""
        at = self._stamp()
        for key, scan in self._scans.items():
            if scan.ended is None:
                scan.ended = at
                self._untold.add(key)
        gone = self._scans.keys() - {held.compiled.key for held in self._store.held if held.compiled is not None}
        for key in gone:
            del self._scans[key]

    async def run(self) -> None:
        """Keep the statuses up to date until cancelled."""
        while True:
            await self.publish()
            await asyncio.sleep(PUBLISH_EVERY)

    async def publish(self) -> None:
        """Write what is new; what cannot be written is tried again the next time."""
        held = {each.compiled.key: each for each in self._store.held if each.compiled is not None}
        for key in tuple(self._untold):
            policy, scan = held.get(key), self._scans.get(key)
            self._untold.discard(key)
            if policy is None or scan is None:
                continue
            told = {"startedAt": scan.began, "finishedAt": scan.ended, "objects": scan.objects if scan.ended else None}
            resource = policies.RESOURCES[policy.key.kind]
            about = policyspans.attributes(resource, policy.key.namespace, policy.key.name)
            try:
                gone = contextlib.suppress(errors.NotFound, errors.Conflict)  # deleted, or made anew, meanwhile
                causes = (self._compilation(policy.key),)
                with roots.root(self._tracer, "SCAN policy status", about, causes), gone:
                    await self._client.merge(
                        resource,
                        policy.key.name,
                        {"metadata": {"uid": policy.uid}, "status": {"scan": told}},
                        namespace=policy.key.namespace,
                        subresource="status",
                    )
            except errors.KubernetesError as error:
                logger.debug("The scan for policy %s is not in its status yet: %s", key, error)
                self._untold.add(key)

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
