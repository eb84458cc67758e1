"""A look at the objects of a live cluster, with the rights of whoever looks. Nothing is written."""

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any, Self

from opentelemetry.trace import NoOpTracer

from kymograph.cli.cleaning import entries, found
from kymograph.cli.offline import errors
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, discovery, resources
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers.cleanup import collections, selection, spared
from kymograph.controllers.configuration import filters, reading
from kymograph.engine import cleanup, needs
from kymograph.telemetry import current

_LARGEST = 64 * 1024 * 1024
_RESOURCES = {
    "CleanupPolicy": resources.CLEANUP_POLICIES,
    "ClusterCleanupPolicy": resources.CLUSTER_CLEANUP_POLICIES,
}


class Cluster:
    """A live cluster; use it as a context.

    Args:
        kubeconfig: The kubeconfig; empty for `$KUBECONFIG`, else `~/.kube/config`.
        context: The context of it; empty for the current one.

    Raises:
        InputInvalid: The kubeconfig cannot be used.
    """

    def __init__(self, kubeconfig: str, context: str) -> None:
        path = pathlib.Path(kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
        try:
            self._connection = connection.from_kubeconfig(path, context)
        except kubernetes_errors.KubernetesError as error:
            raise _unusable(str(path), error) from error
        self._client: clients.KubernetesClient | None = None

    async def __aenter__(self) -> Self:
        spans = current.ClientSpans(NoOpTracer(), time.monotonic_ns)
        self._client = clients.KubernetesClient(self._connection, spans)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def client(self) -> clients.KubernetesClient:
        """The client, inside of the context."""
        if self._client is None:
            raise AssertionError("a cluster is used as a context")
        return self._client

    async def stored(self, policy: cleanup.CleanupPolicy) -> Mapping[str, Any] | None:
        """The policy as the cluster has it; None if it has none of that name, or does not say."""
        try:
            return await self.client.get(_RESOURCES[policy.kind], policy.name, namespace=policy.namespace)
        except kubernetes_errors.KubernetesError:
            return None

    async def named(self, name: str) -> Mapping[str, Any]:
        """A policy of the cluster, `name` of a ClusterCleanupPolicy or `namespace/name` of a CleanupPolicy.

        Raises:
            InputInvalid: It cannot be read.
        """
        namespace, _, last = name.rpartition("/")
        resource = resources.CLEANUP_POLICIES if namespace else resources.CLUSTER_CLEANUP_POLICIES
        try:
            document = await self.client.get(resource, last, namespace=namespace)
        except kubernetes_errors.KubernetesError as error:
            raise _unusable(name, f"neither a file nor a {resource.kind} of the cluster: {error}") from error
        return {**document, "apiVersion": resource.api_version, "kind": resource.kind}

    async def filters(self, namespace: str, name: str) -> filters.Filters:
        """The `resourceFilters` of the operator's ConfigMap; none where there is no such ConfigMap.

        Raises:
            InputInvalid: It cannot be read: more would be listed than the operator deletes.
        """
        try:
            document = await self.client.get(resources.CONFIG_MAPS, name, namespace=namespace)
        except kubernetes_errors.NotFound:
            return filters.Filters()
        except kubernetes_errors.KubernetesError as error:
            raise _unusable(f"ConfigMap {namespace}/{name}", error) from error
        read, _ = reading.read(document.get("data") or {})
        return read.filters

    async def look(self, policy: cleanup.CleanupPolicy, spare: spared.Spared) -> found.Found:
        """What a policy would delete.

        Args:
            policy: The policy.
            spare: What the operator leaves alone.

        Raises:
            InputInvalid: The API server does not say what it serves.
        """
        seen = found.Found()
        choosing = selection.Selection(self.client, _Facts(self.client), spare, time.monotonic_ns)
        try:
            catalogue = await discovery.discover(self.client)
            wanted = await collections.all_of(policy, catalogue, self.client)
        except kubernetes_errors.KubernetesError as error:
            raise _unusable("cluster", error) from error
        for resource in wanted:
            try:
                async for page in choosing.pages(policy, resource):
                    seen.looked += page.looked
                    seen.deleted += [(resource.kind, each.namespace, each.name, each.reason) for each in page.chosen]
                    seen.problems += [f"{name}: {reason}" for name, reason in page.problems]
            except kubernetes_errors.KubernetesError as error:
                seen.problems.append(f"{resource.plural} cannot be listed: {error}")
        return seen


class _Facts:
    """Answers what a policy asks for by the API server alone."""

    def __init__(self, client: clients.KubernetesClient) -> None:
        self._client = client
        self._entries = entries.Entries(client)

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Time and chance are."""
        match need:
            case needs.Now():
                facts.add(need, time.time_ns())
            case needs.Seed():
                facts.add(need, os.urandom(32))
            case _:
                return False
        return True

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Ask the API server."""
        try:
            match need:
                case needs.NamespaceLabels(namespace):
                    document = await self._client.get(resources.NAMESPACES, namespace, metadata_only=True)
                    facts.add(need, document["metadata"].get("labels") or {})
                case needs.APICall(path, method, body):
                    answer = await self._client.request(path, limit=_LARGEST, method=method, body=body)
                    facts.add(need, answer)
                case needs.GlobalEntry(name):
                    facts.add(need, await self._entries.look_up(name))
                case _:
                    facts.fail(need, f"{type(need).__name__} is known to the operator alone, not to a preview")
        except (kubernetes_errors.KubernetesError, LookupError) as error:
            facts.fail(need, str(error))


def _unusable(name: str, reason: object) -> errors.InputInvalid:
    return errors.InputInvalid((errors.InputProblem(name, 0, "", str(reason)),))
