"""What stands between an API server and the replicas of the operator in a cluster, on loopback: a Service."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

PROBE_EVERY = 0.1
"""Seconds between two readiness probes: the kubelet and the endpoints' controller together, in a hurry."""


class Backend(Protocol):
    """A replica."""

    webhook_port: int
    health_port: int


class Service:
    """Passes TCP connections on to replicas that are ready, in turn. Connections stay where they are, as kube-proxy's.

    Attributes:
        port: On 127.0.0.1, from `serving` on.
    """

    def __init__(self) -> None:
        self.backends: Sequence[Backend] = ()
        self.port = 0
        self._ready: list[Backend] = []
        self._turn = 0
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def serving(self) -> Iterator["Service"]:
        """Serve while the body runs, on a thread of its own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="service")
        thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, "127.0.0.1", 0), loop).result(30)
        self.port = server.sockets[0].getsockname()[1]
        probing = asyncio.run_coroutine_threadsafe(self._probe(), loop)
        try:
            yield self
        finally:
            probing.cancel()
            asyncio.run_coroutine_threadsafe(self._close(server), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _probe(self) -> None:
        while True:
            probes = await asyncio.gather(*(_is_ready(backend.health_port) for backend in self.backends))
            self._ready = [backend for backend, ready in zip(self.backends, probes, strict=True) if ready]
            await asyncio.sleep(PROBE_EVERY)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        with contextlib.closing(writer):
            for _ in range(len(self._ready)):
                self._turn += 1
                backend = self._ready[self._turn % len(self._ready)]
                try:
                    to_reader, to_writer = await asyncio.open_connection("127.0.0.1", backend.webhook_port)
                except OSError:
                    continue
                with contextlib.closing(to_writer):
                    await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))
                return

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def _is_ready(port: int) -> bool:
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.readline()
    except (OSError, TimeoutError):
        return False
