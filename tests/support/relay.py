"""A TCP relay that a test can cut: what a client sees when the network or the API server goes away."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Self

from support import ports


class Relay:
    """Relays to a port of this machine. Use as an asynchronous context manager; `port` is where it listens.

    Args:
        target: The port.
        delay: Seconds for which it keeps whatever is sent, in each direction.
    """

    def __init__(self, target: int, delay: float = 0.0) -> None:
        self._target = target
        self._delay = delay
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = contextlib.ExitStack()
        self.port = 0

    async def __aenter__(self) -> Self:
        self.port = self._held.enter_context(ports.held())
        await self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._held:
            await self.cut()

    async def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._pairs):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def restore(self) -> None:
        """Relay again, on the same port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port, reuse_address=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pairs.add(writer)  # from now on: who connects while the relay is cut is cut as well
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self._pairs.discard(writer)
            writer.close()
            return
        if writer.transport.is_closing():
            self._pairs.discard(writer)
            back.close()
            return
        self._pairs.add(back)
        both = [asyncio.create_task(_copy(*ends, self._delay)) for ends in ((reader, back), (there, writer))]
        self._tasks |= set(both)
        await asyncio.wait(both)
        self._pairs -= {writer, back}
        self._tasks -= set(both)


class Line:
    """A relay that serves on a thread of its own, for tests that are not asynchronous."""

    def __init__(self, relay: Relay, loop: asyncio.AbstractEventLoop) -> None:
        self._relay = relay
        self._loop = loop

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._relay.port

    def cut(self) -> None:
        """See `Relay.cut`."""
        self.run(self._relay.cut())

    def restore(self) -> None:
        """See `Relay.restore`."""
        self.run(self._relay.restore())

    def run(self, doing: Coroutine[Any, Any, object]) -> None:
        """Have it done on the thread."""
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(30)


@contextlib.contextmanager
def line(target: int, delay: float = 0.0) -> Iterator[Line]:
    """Relay to a port of this machine while the body runs; see `Relay`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relay")
    thread.start()
    relay = Relay(target, delay)
    made = Line(relay, loop)
    try:
        made.run(relay.__aenter__())
        try:
            yield made
        finally:
            made.run(relay.__aexit__())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            if delay:
                await asyncio.sleep(delay)
            sink.write(data)
            await sink.drain()
    sink.close()
