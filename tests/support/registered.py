"""A registration of webhook configurations that runs, with what is around it."""

import asyncio

from fakes import configurations
from kymograph.clients.kubernetes import discovery
from kymograph.controllers import policies
from kymograph.controllers.admission import registration, webhooks

PODS = discovery.Served("", "v1", "pods", "Pod", "", namespaced=True)
ADDRESS = webhooks.Address(ca_pem=b"PEM", url="https://10.0.0.1:9443", namespace="kymograph", service="kymograph")


class Registered:
    """A registration that runs, and what is around it."""

    def __init__(self, telemetry):
        self.cluster = configurations.Configurations()
        self.catalogues = configurations.Catalogues(PODS)
        self.store = policies.PolicyStore()
        self.registration = registration.Registration(self.cluster, self.store, self.catalogues, telemetry)
        self._task = None

    def start(self, *documents, address=ADDRESS):
        for document in documents:
            self.store.put(document)
        self.store.complete.set()
        if address is not None:
            self.registration.address(address)
        self._task = asyncio.create_task(self.registration.run())

    async def covered(self):
        """Wait until all policies are covered."""
        async with asyncio.timeout(60):
            await self.registration.covers(self.store.policies.generation)

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.001)

    async def stop(self):
        if self._task is not None:
            assert not self._task.done(), self._task
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
