"""The cluster as checks see it: an object, or the reason why it cannot be seen."""

import asyncio
import dataclasses
import datetime as dt
import time
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
from opentelemetry.trace import NoOpTracer

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, errors, resources, sessions
from kymograph.runtime import telemetrysecrets
from kymograph.telemetry import current

PODS = resources.Resource("", "v1", "pods", "Pod", namespaced=True)
ACCESS_REVIEWS = resources.Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)

_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=35)
"""A little more than an API server waits for a webhook at most."""


class Unseen(Exception):
    """It cannot be seen; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the API server answered to a probe.

    Attributes:
        status: The HTTP status.
        message: Of a refusal, its message.
        audit_id: The id of the request in the audit log; empty where there is none.
        seconds: How long it took.
    """

    status: int
    message: str
    audit_id: str
    seconds: float


class Cluster:
    """Reads with the caller's own identity.

    Args:
        to: Where and as whom.
        namespace: The operator's namespace.
    """

    def __init__(self, to: connection.Connection, namespace: str) -> None:
        self.namespace = namespace
        self._to = to
        self._client = clients.KubernetesClient(to, current.ClientSpans(NoOpTracer(), time.monotonic_ns))
        self._session = sessions.begin(to)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(self._client.close(), self._session.close())

    @property
    def now(self) -> dt.datetime | None:
        """The API server's clock, to the second; None before its first answer."""
        return self._client.server_time

    async def version(self) -> str:
        """The API server's version.

        Raises:
            KubernetesError: It does not answer, or not as one.
        """
        return str((await self._client.read("/version")).get("gitVersion"))

    async def get(self, resource: resources.Resource, name: str, *, namespaced: bool = False) -> dict[str, Any] | None:
        """An object, in the operator's namespace where it is in one; None where there is none.

        Raises:
            Unseen: It cannot be read.
        """
        try:
            return await self._client.get(resource, name, namespace=self.namespace if namespaced else "")
        except errors.NotFound:
            return None
        except errors.KubernetesError as error:
            raise Unseen(str(error)) from error

    async def listed(self, resource: resources.Resource, *, namespaced: bool = False, labels: str = "") -> list[Any]:
        """The objects of a collection.

        Raises:
            Unseen: It cannot be read.
        """
        found: list[Any] = []
        try:
            pages = self._client.pages(resource, namespace=self.namespace if namespaced else "", label_selector=labels)
            async for page in pages:
                found += page.get("items") or ()
        except errors.KubernetesError as error:
            raise Unseen(str(error)) from error
        return found

    async def telemetry_secrets(self, names: Iterable[str]) -> Mapping[str, Mapping[str, bytes]]:
        """The data of Secrets that exporters use, by the operator's own rules of which may leave the cluster.

        Raises:
            SettingsInvalid: One of them is missing, or may not.
            Unseen: One of them cannot be read.
        """
        try:
            return await telemetrysecrets.TelemetrySecrets(self._client, self.namespace).read(names)
        except errors.KubernetesError as error:
            raise Unseen(f"Secrets of the exporter cannot be read: {error}") from error

    async def create(self, resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object that is a question.

        Raises:
            Unseen: It may not be asked.
        """
        try:
            return await self._client.create(resource, document)
        except errors.KubernetesError as error:
            raise Unseen(str(error)) from error

    async def text(self, path: str) -> str:
        """What is at a path of the API server, such as a Pod's own server.

        Raises:
            Unseen: It cannot be read.
        """
        return await self.fetched(f"{self._to.server}{path}")

    async def fetched(self, url: str) -> str:
        """What is at a URL; the caller's token goes to the API server and to nobody else.

        Raises:
            Unseen: It cannot be read.
        """
        try:
            async with self._session.get(url, timeout=clients.CALL_TIMEOUT, allow_redirects=False) as response:
                content = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unseen(f"{url}: {type(error).__name__}: {error}") from error
        if response.status != 200:
            raise Unseen(f"{url} answers {response.status}")
        return content

    async def probe(self, path: str, document: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        """Ask whether an object could be created (`dryRun=All`).

        Raises:
            Unseen: Nobody answers.
        """
        began = time.monotonic()
        try:
            async with self._session.post(
                f"{self._to.server}{path}?dryRun=All",
                json=document,
                headers=headers,
                timeout=_PROBE_TIMEOUT,
                allow_redirects=False,
            ) as response:
                content = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unseen(f"{type(error).__name__}: {error}") from error
        message = str(content.get("message") or "") if isinstance(content, dict) else ""
        audit_id = response.headers.get("Audit-Id", "")
        return Answer(response.status, message if response.status >= 300 else "", audit_id, time.monotonic() - began)
