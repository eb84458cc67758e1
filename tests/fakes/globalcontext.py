"""What a global context is about: entries and objects of a cluster, what it serves, and whoever answers calls."""

import asyncio

from opentelemetry import trace

from fakes.collection import Collection
from kymograph.clients.kubernetes import discovery

UNTRACED = trace.NoOpTracer()
DEPLOYMENTS = {"kubernetesResource": {"group": "apps", "version": "v1", "resource": "deployments"}}


class Cluster:
    """Entries, and objects by plural, each a collection of its own; satisfies `informer.Source`."""

    def __init__(self):
        self.collections = {"globalcontextentries": Collection(), "deployments": Collection("a", "b")}

    def pages(self, resource, **given):
        return self.collections[resource.plural].pages(resource, **given)

    def watch(self, resource, resource_version, **given):
        return self.collections[resource.plural].watch(resource, resource_version, **given)

    @property
    def deployments(self):
        return self.collections["deployments"]

    async def define(self, name, spec, **fields):
        entries = self.collections["globalcontextentries"]
        version = {"namespace": "ns", "resourceVersion": str(entries.version + 1), "generation": 1}
        await entries.put(name, metadata={"name": name, "uid": f"uid-{name}", **version}, spec=spec, **fields)

    async def delete(self, name):
        await self.collections["globalcontextentries"].remove(name)


class Catalogues:
    """What the API server serves: Deployments."""

    def __init__(self):
        self.current = discovery.Catalogue(
            (discovery.Served("apps", "v1", "deployments", "Deployment", "", True, frozenset({"list"})),)
        )
        self.refreshed = 0

    async def refresh(self):
        self.refreshed += 1
        return self.current


class Caller:
    """Answers calls, oldest answer first, the last one again and again; an exception is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, need):
        self.asked.append(need)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def unseen():
    """The span of a question that nobody looks at."""
    return UNTRACED.start_as_current_span("unseen")


def calling(path="/api", **fields):
    return {"apiCall": {"urlPath": path, "refreshInterval": "1h", "retryLimit": 1, **fields}}


async def until(look):
    """Wait until something is true."""
    async with asyncio.timeout(30):
        while not look():  # noqa: ASYNC110  # what is looked at has no event
            await asyncio.sleep(0.005)
