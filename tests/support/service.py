"""What stands between an API server and the replicas of the operator in a cluster, on loopback: a Service."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

PROBE_EVERY = 0.1
"""Seconds between two readiness probes: the kubelet and the endpoints' controller together, in a hurry."""

PROBE_TAKES = 2.0
"""Seconds that an answer may take."""

UNANSWERED = 3
"""Probes in a row without an answer after which a replica counts as not ready, as for a kubelet: one may come late
because it is the machine that has no time. Who says that it is not ready, or refuses connections, is believed at once.
"""


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
        self._ready: set[Backend] = set()
        self._turn = 0
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def serving(self) -> Iterator["Service"]:
        """Serve while the body runs, on a thread of its own."""
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        probing = loop.create_task(self._probe())
        thread = threading.Thread(target=loop.run_forever, name="service")
        thread.start()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._close(server, probing), loop).result(60)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _probe(self) -> None:
        """Probe each backend apart from the others: one that does not answer keeps nobody from hearing of another."""
        followed: set[Backend] = set()
        async with asyncio.TaskGroup() as probing:
            while True:
                for backend in set(self.backends) - followed:
                    followed.add(backend)
                    probing.create_task(self._follow(backend))
                await asyncio.sleep(PROBE_EVERY)

    async def _follow(self, backend: Backend) -> None:
        unanswered = 0
        while True:
            ready = await _is_ready(backend.health_port)
            unanswered = unanswered + 1 if ready is None else 0
            if ready:
                self._ready.add(backend)
            elif ready is False or unanswered >= UNANSWERED:
                self._ready.discard(backend)
            await asyncio.sleep(PROBE_EVERY)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        with contextlib.closing(writer):
            ready = [backend for backend in self.backends if backend in self._ready]
            self._turn += 1
            for number in range(len(ready)):
                backend = ready[(self._turn + number) % len(ready)]
                try:
                    to_reader, to_writer = await asyncio.open_connection("127.0.0.1", backend.webhook_port)
                except OSError:
                    continue
                with contextlib.closing(to_writer):
                    await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))
                return

    async def _close(self, server: asyncio.Server, probing: "asyncio.Task[None]") -> None:
        server.close()
        tasks = (probing, *self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def _is_ready(port: int) -> bool | None:
    """Whether who listens there says so; None where it says nothing."""
    try:
        async with asyncio.timeout(PROBE_TAKES):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.readline()
    except TimeoutError:
        return None
    except OSError:
        return False
