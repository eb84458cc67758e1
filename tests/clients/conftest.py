"""What tests of the Kubernetes client share: clients of the real API server, and an API server that misbehaves."""

import asyncio
import contextlib
import time

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection
from kymograph.telemetry import current


class Finished(InMemorySpanExporter):
    """Where the spans of clients arrive."""

    def names(self):
        return [span.name for span in self.get_finished_spans()]


@pytest.fixture
def exported():
    return Finished()


@pytest.fixture
def spans(exported):
    """Opens the spans of calls; all are kept."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return current.ClientSpans(provider.get_tracer("test"), time.monotonic_ns)


@pytest.fixture
async def connect(spans):
    """Make clients of connections; they are closed with the test."""
    async with contextlib.AsyncExitStack() as stack:

        def make(connected):
            made = clients.KubernetesClient(connected, spans)
            stack.push_async_callback(made.close)
            return made

        yield make


@pytest.fixture
async def client(connect, kubeconfig):
    """A client of the real API server, as the administrator."""
    return connect(connection.from_kubeconfig(kubeconfig))


@pytest.fixture
def config_map(namespace):
    """Make the document of a ConfigMap in the test's namespace."""

    def make(name, data=None, **metadata):
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, **metadata},
            "data": data or {},
        }

    return make


class Misbehaving:
    """An HTTP server in the API server's place. `answer` is what it does with the next requests.

    Attributes:
        requests: What came, oldest first.
    """

    def __init__(self):
        self.requests = []
        self.answer = None
        self.url = ""

    async def handle(self, request):
        self.requests.append(request)
        return await self.answer(request)

    def connection(self, path=""):
        return connection.Connection(self.url + path, None, lambda: "secret", "default")

    def sends(self, *chunks):
        """Answer every watch with these bytes, each in a chunk of its own, and end it."""

        async def answer(request):
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            for chunk in chunks:
                await response.write(chunk)
                await asyncio.sleep(0)
            return response

        self.answer = answer

    def says(self, status=200, text="{}", **headers):
        """Answer every request with this."""

        async def answer(_):
            return web.Response(status=status, text=text, headers=headers)

        self.answer = answer


@pytest.fixture
async def misbehaving():
    server = Misbehaving()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}"
    yield server
    await runner.cleanup()
