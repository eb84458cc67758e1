"""The objects of a live cluster that policies match, page by page, and what the policies ask of it on the way.

Each process has an event loop and a session of its own, made when it first asks: neither survives a fork.
"""

import asyncio
import os
import pathlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import orjson
from opentelemetry.trace import NoOpTracer

from kymograph.cli.applying import stream
from kymograph.cli.offline import errors, simulated
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, discovery, resources
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.engine import policy
from kymograph.telemetry import current

_LARGEST = 64 * 1024 * 1024
_Answer = TypeVar("_Answer")


class Cluster(simulated.Cluster):
    """A live cluster, read through its API server.

    Args:
        kubeconfig: The kubeconfig; empty for `$KUBECONFIG`, else `~/.kube/config`.
        context: The context of it; empty for the current one.

    Raises:
        InputInvalid: The kubeconfig cannot be used.
    """

    def __init__(self, kubeconfig: str, context: str) -> None:
        super().__init__(())
        default = os.environ.get("KUBECONFIG") or "~/.kube/config"
        path = pathlib.Path(kubeconfig or default).expanduser()
        try:
            self._connection = connection.from_kubeconfig(path, context)
        except kubernetes_errors.KubernetesError as error:
            raise errors.InputInvalid((errors.InputProblem(str(path), 0, "", str(error)),)) from error
        self._of_process: tuple[int, asyncio.AbstractEventLoop, clients.KubernetesClient] | None = None
        self._labels: dict[str, Mapping[str, str]] = {}

    def close(self) -> None:
        """Close the connections of this process."""
        if self._of_process is not None:
            _, loop, client = self._of_process
            loop.run_until_complete(client.close())
            loop.close()
            self._of_process = None

    def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        """A ConfigMap: its `metadata` and `data`."""
        found = self._ask(self._client().get(resources.CONFIG_MAPS, name, namespace=namespace))
        return {"metadata": found.get("metadata") or {}, "data": found.get("data") or {}}

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """The labels of a namespace; asked for once."""
        if name not in self._labels:
            found = self._ask(self._client().get(resources.NAMESPACES, name, metadata_only=True))
            self._labels[name] = found["metadata"].get("labels") or {}
        return self._labels[name]

    def get(self, path: str) -> Any:
        """What the API server answers to a GET."""
        return self._ask(self._client().request(path, limit=_LARGEST))

    def parts(
        self, policies: Iterable[policy.CompiledPolicy], namespace: str, *, only_cluster_wide: bool
    ) -> Iterator[stream.Part]:
        """The objects that policies match, as parts of a file.

        Args:
            policies: The policies.
            namespace: Only objects in this namespace, and those without one; empty for all.
            only_cluster_wide: Only objects without a namespace.

        Raises:
            InputInvalid: The API server cannot be asked.
        """
        client = self._client()
        loop = self._loop()
        try:
            catalogue = loop.run_until_complete(discovery.discover(client))
            for resource in _matched(policies, catalogue):
                if only_cluster_wide and resource.namespaced:
                    continue
                pages = client.pages(resource, namespace=namespace if resource.namespaced else "")
                for page in _each(loop, pages):
                    yield _part(resource, page)
        except kubernetes_errors.KubernetesError as error:
            raise errors.InputInvalid((errors.InputProblem("cluster", 0, "", str(error)),)) from error

    def _ask(self, answer: Coroutine[Any, Any, _Answer]) -> _Answer:
        try:
            return self._loop().run_until_complete(answer)
        except kubernetes_errors.KubernetesError as error:
            raise simulated.NotThere(str(error)) from error

    def _loop(self) -> asyncio.AbstractEventLoop:
        self._client()
        if self._of_process is None:
            raise AssertionError("a client has a loop")
        return self._of_process[1]

    def _client(self) -> clients.KubernetesClient:
        if self._of_process is None or self._of_process[0] != os.getpid():
            loop = asyncio.new_event_loop()
            self._of_process = os.getpid(), loop, loop.run_until_complete(_made(self._connection))
        return self._of_process[2]


async def _made(to: connection.Connection) -> clients.KubernetesClient:
    return clients.KubernetesClient(to, current.ClientSpans(NoOpTracer(), time.monotonic_ns))


def _each(loop: asyncio.AbstractEventLoop, pages: AsyncIterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    async def following() -> dict[str, Any] | None:
        return await anext(pages, None)

    while (page := loop.run_until_complete(following())) is not None:
        yield page


def _matched(policies: Iterable[policy.CompiledPolicy], catalogue: discovery.Catalogue) -> list[resources.Resource]:
    """The resources that rules select and that can be listed; each kind once, in the version served first."""
    selectors = {
        selector
        for each in policies
        for rule in each.rules
        for scope in rule.match.scopes
        for selector in scope.kinds
        if not selector.subresource
    }
    found: dict[tuple[str, str], resources.Resource] = {}
    for served in catalogue.served:
        if served.subresource or "list" not in served.verbs or (served.group, served.kind) in found:
            continue
        if any(selector.matcher()(served.group, served.version, served.kind, "") for selector in selectors):
            found[served.group, served.kind] = resources.Resource(
                served.group, served.version, served.plural, served.kind, served.namespaced
            )
    return list(found.values())


def _part(resource: resources.Resource, page: Mapping[str, Any]) -> stream.Part:
    """A page as lines of JSON; items of a list lack the kind and version that the list implies."""
    implied = {"apiVersion": resource.api_version, "kind": resource.kind}
    lines = (orjson.dumps({**implied, **item}) for item in page.get("items") or ())
    return stream.Part(resource.plural, 1, b"\n".join(lines).decode(), stream.LINES)
