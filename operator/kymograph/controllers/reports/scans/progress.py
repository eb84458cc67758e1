"""How far scans are: in the log, and in a ConfigMap that `kymograph reports status` reads.

By kind of objects; what concerns one policy is in that policy's status (`policystatus`).
"""

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from opentelemetry import trace

from kymograph.clients.kubernetes import errors, resources
from kymograph.telemetry import roots

logger = logging.getLogger(__name__)

NAME = "kymograph-scans"
"""The ConfigMap, in the operator's namespace."""

ENTRY = "progress.json"
"""Its entry: `{startedAt, finishedAt, nextAt, resources: [{resource, ...}]}`, each with the fields of `OfResource`."""

PUBLISH_EVERY = 5.0
"""Seconds between two writes of the ConfigMap, if there is anything new."""

LOG_EVERY = 10.0
"""Seconds between two lines about a scan that takes long."""


class Writer(Protocol):
    """What publishing asks of a Kubernetes client."""

    async def apply(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = "", subresource: str = ""
    ) -> dict[str, Any]:
        """Apply the fields of a document."""


@dataclasses.dataclass(slots=True)
class OfResource:
    """How far the scan of a resource is.

    Attributes:
        kind: The kind of its objects.
        policies: How many policies its objects are scanned for.
        objects: How many there are, as far as known.
        scanned: How many have been looked at.
        news: How many reports are to be written for it.
        state: `waiting`, `scanning`, `scanned`; `forbidden`, the operator may not list them; or `failed`, it cannot.
    """

    kind: str
    policies: int
    objects: int = 0
    scanned: int = 0
    news: int = 0
    state: str = "waiting"


class Progress:
    """How far the scans of this replica are.

    Args:
        client: Writes the ConfigMap.
        namespace: The operator's namespace.
        now: The time.
        monotonic: Monotonic seconds.
        tracer: For a root span each time that it is written down.
    """

    def __init__(
        self,
        client: Writer,
        namespace: str,
        now: Callable[[], dt.datetime],
        monotonic: Callable[[], float],
        tracer: trace.Tracer,
    ) -> None:
        self._client = client
        self._tracer = tracer
        self._namespace = namespace
        self._now = now
        self._monotonic = monotonic
        self._resources: dict[resources.Resource, OfResource] = {}
        self._started = self._finished = self._next = ""
        self._began = self._told = 0.0

    def begin(self, covered: Mapping[resources.Resource, int], scanned: frozenset[resources.Resource]) -> None:
        """A scan begins.

        Args:
            covered: All resources that are scanned at any time, each with the number of its policies.
            scanned: Those that this scan lists.
        """
        self._resources = {
            resource: OfResource(resource.kind, number)
            if resource in scanned or resource not in self._resources
            else self._resources[resource]
            for resource, number in covered.items()
        }
        self._started, self._finished = self._stamp(), ""
        self._began = self._told = self._monotonic()

    def of(self, resource: resources.Resource) -> OfResource:
        """How far a resource is; to be kept up to date by whoever scans it."""
        return self._resources[resource]

    def went_on(self, resource: resources.Resource) -> None:
        """Some objects of a resource have been looked at: say so now and then."""
        now = self._monotonic()
        if now - self._told >= LOG_EVERY:
            self._told = now
            told = self._resources[resource]
            logger.info("Scanned %d of %d objects of kind %s", told.scanned, told.objects, told.kind)

    def end(self, seconds_to_next: float) -> None:
        """The scan is over."""
        self._finished = self._stamp()
        self._next = (self._now() + dt.timedelta(seconds=seconds_to_next)).isoformat(timespec="seconds")
        told = self._resources.values()
        logger.info(
            "Scanned %d objects of %d kinds in %.1f s: %d reports are to be written",
            sum(each.scanned for each in told),
            len(told),
            self._monotonic() - self._began,
            sum(each.news for each in told),
        )

    def document(self) -> dict[str, Any]:
        """What the ConfigMap says."""
        return {
            "startedAt": self._started,
            "finishedAt": self._finished,
            "nextAt": self._next,
            "resources": [
                {"resource": _name(resource), **dataclasses.asdict(each)} for resource, each in self._resources.items()
            ],
        }

    async def publish(self) -> None:
        """Keep the ConfigMap up to date until cancelled."""
        published = b""
        refused = ""
        while True:
            written = orjson.dumps(self.document())
            if written != published and self._started:
                try:
                    with roots.root(self._tracer, "SCAN progress"):
                        await self._client.apply(
                            resources.CONFIG_MAPS, self._config_map(written.decode()), namespace=self._namespace
                        )
                    published, refused = written, ""
                except errors.KubernetesError as error:
                    if refused != str(error):
                        logger.warning("How far scans are cannot be written down: %s", error)
                    refused = str(error)
            await asyncio.sleep(PUBLISH_EVERY)

    def _config_map(self, text: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/managed-by": "kymograph"},
            },
            "data": {ENTRY: text},
        }

    def _stamp(self) -> str:
        return self._now().isoformat(timespec="seconds")


def _name(resource: resources.Resource) -> str:
    return f"{resource.plural}.{resource.version}.{resource.group}" if resource.group else resource.plural
