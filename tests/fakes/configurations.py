"""The webhook configurations of a cluster, and what it serves, for what derives the ones from the other."""

import asyncio

from kymograph.clients.kubernetes import discovery, errors
from kymograph.controllers.admission import webhooknames


class Configurations:
    """The webhook configurations of a cluster.

    Attributes:
        calls: What was done, oldest first.
        failures: What the next calls raise instead.
    """

    def __init__(self):
        self.documents = {}
        self.calls = []
        self.failures = []
        self.version = 0

    async def apply(self, resource, document):
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        name = document["metadata"]["name"]
        self.calls.append(("apply", name))
        before = self.documents.get(name)
        if before is None or before != _versioned(document, before["metadata"]["resourceVersion"]):
            self.version += 1
            self.documents[name] = _versioned(document, str(self.version))
        return self.documents[name]

    async def delete(self, resource, name):
        await asyncio.sleep(0)
        self.calls.append(("delete", name))
        if self.documents.pop(name, None) is None:
            raise errors.NotFound(404, "NotFound", name)

    def resources(self):
        """What the API server is to ask about."""
        webhooks_of = self.documents[webhooknames.KYMOGRAPH.validation]["webhooks"]
        return sorted(name for webhook in webhooks_of for rule in webhook["rules"] for name in rule["resources"])


def _versioned(document, version):
    return {**document, "metadata": {**document["metadata"], "resourceVersion": version}}


class Catalogues:
    """What the API server serves; `during` is called while it answers."""

    def __init__(self, *served):
        self.served = served
        self.current = discovery.Catalogue()
        self.during = None
        self.asked = 0

    async def refresh(self):
        self.asked += 1
        answer = discovery.Catalogue(self.served)
        await asyncio.sleep(0)
        if self.during is not None:
            during, self.during = self.during, None
            during()
        self.current = answer
        return answer
