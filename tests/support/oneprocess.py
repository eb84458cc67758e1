"""The TracingConfiguration as one process applies it, in a cluster that is none."""

import asyncio
import base64
import datetime as dt

import aiohttp
import pytest

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.runtime import metricserver, telemetrysecrets, tracing, tracingreport
from kymograph.telemetry import defaults, providers

NOW = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)


class Cluster:
    """Holds the TracingConfiguration, or not, and Secrets for exporters.

    Attributes:
        failures: What the next calls of any kind raise instead.
        statuses: The statuses written, oldest first.
        applied: The entries of replicas that were applied, each with the field manager.
    """

    def __init__(self):
        self.document = None
        self.failures = []
        self.statuses = []
        self.applied = []
        self.created = 0
        self._secrets = {}

    def put_secret(self, name, **data):
        """Make a Secret that exporters may use, or another one of it."""
        version = int(self._secrets[name]["metadata"]["resourceVersion"]) + 1 if name in self._secrets else 1
        self._secrets[name] = {
            "metadata": {"labels": {"kymograph.dev/telemetry": "true"}, "resourceVersion": str(version)},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }

    def _fail(self):
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure

    async def get(self, resource, name, *, namespace=None, metadata_only=False):
        self._fail()
        found = self._secrets.get(name) if resource is resources.SECRETS else self.document
        if found is None:
            raise kubernetes_errors.NotFound(404, "NotFound", name)
        return found

    async def create(self, resource, document):
        self._fail()
        self.created += 1
        self.document = {**document, "metadata": {**document["metadata"], "generation": 1, "uid": "made"}}
        return self.document

    async def merge(self, resource, name, patch, *, subresource):
        self._fail()
        assert (name, subresource) == ("default", "status")
        self.statuses.append(patch["status"])
        return {}

    async def apply(self, resource, document, *, subresource, field_manager):
        self._fail()
        assert (document["metadata"]["name"], subresource) == ("default", "status")
        self.applied.append((field_manager, document["status"].get("replicas", [])))
        return {}


class Exporter:
    """Takes spans."""

    def export(self, spans):
        pass

    def shutdown(self):
        pass


class Here:
    """A process.

    Attributes:
        unusable: Whether exporters of spans cannot be made.
        destinations: Where those that were made lead to, oldest first.
        logs: The settings of its log, oldest first.
        tasks: What is to run to the end of the test.
    """

    def __init__(self):
        self.cluster = Cluster()
        self.unusable = False
        self.destinations = []
        self.telemetry = providers.Telemetry(lambda *_: ("", {}), facts={}, environ={}, make_exporter=self._make)
        self.metrics = metricserver.MetricServer(self.telemetry)
        self.logs = []
        self.started_with(defaults.NONE)
        self.tasks = []

    def started_with(self, given, environ=None):
        """Begin anew with other flags and variables."""
        secrets = telemetrysecrets.TelemetrySecrets(self.cluster, "kymograph")
        under = tracing.StartedWith(environ or {}, given)
        self.tracing = tracing.Tracing(
            self.cluster, self.telemetry, self.metrics, secrets, under, self.logs.append, lambda: NOW
        )
        self.reports = tracingreport.TracingReport(
            self.cluster, self.tracing, "one", lambda: NOW, self.telemetry.tracer
        )

    def _make(self, to):
        if self.unusable:
            raise ValueError("bad certificate")
        self.destinations.append(to)
        return Exporter()

    @property
    def endpoint(self):
        """Where spans go."""
        traces = self.telemetry.in_force.traces
        return traces and traces.endpoint

    def report(self):
        """Write the status, as the leader."""
        self.tasks.append(asyncio.create_task(self.reports.report()))

    def tell(self):
        """Write its own entry, as a replica."""
        self.tasks.append(asyncio.create_task(self.reports.tell()))

    async def until(self, condition):
        """Wait for what nobody announces."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.001)

    async def written(self, count):
        """The statuses, once there are so many."""
        await self.until(lambda: len(self.cluster.statuses) >= count)
        return self.cluster.statuses

    async def close(self):
        """End it; what was to run still does."""
        for task in self.tasks:
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.metrics.serve(None)
        await self.telemetry.shutdown(1)


def document(port, generation=1, uid="u", **traces):
    """A resource that serves metrics on a port, or nowhere, and says this of traces."""
    spec = {"metrics": {"prometheus": {"enabled": port is not None, "port": port or 8000}}}
    if traces:
        spec["traces"] = traces
    return {"metadata": {"name": "default", "generation": generation, "uid": uid}, "spec": spec}


async def scraped(port):
    """What is served there."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def refused(port):
    """Whether nobody listens there."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{port}/metrics")
    return True
