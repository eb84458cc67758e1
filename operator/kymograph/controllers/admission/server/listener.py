"""The server: what it listens on, whom it holds, how it leaves."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping

from kymograph.controllers.admission.server import connection, errors, messages, shared
from kymograph.controllers.admission.server import limits as bounds
from kymograph.controllers.admission.server import tls as certificates

_UNTIL_CUT = 0.1
"""Seconds that connections get to report that they were cut."""


class Server:
    """An HTTPS server for webhooks, on the running event loop.

    Args:
        routes: Handlers by path. It is looked at for every request: what is changed there applies to the next one. An
            unknown path is refused, never allowed.
        tls: The certificate to present; may be loaded anew at any time.
        limits: What a connection may cost.
        on_refused: Told the reason (one of `REASONS`) of every answer that no handler gave. Must not raise.
        clock: Monotonic nanoseconds; deadlines are on it.
    """

    def __init__(
        self,
        routes: Mapping[str, messages.Handler],
        tls: certificates.TLS,
        *,
        limits: bounds.Limits | None = None,
        on_refused: Callable[[str], None] = lambda _: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._routes = routes
        self._tls = tls
        self._limits = limits if limits is not None else bounds.Limits()
        self._on_refused = on_refused
        self._clock = clock
        self._listening: asyncio.Server | None = None
        self._shared: shared.Shared | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            NotServing: It was not started.
        """
        if self._port is None:
            raise errors.NotServing("the webhook server was not started")
        return self._port

    @property
    def connections(self) -> int:
        """How many connections are open, TLS handshake done."""
        return len(self._shared.connections) if self._shared is not None else 0

    async def start(self, host: str = "::", port: int = 9443) -> None:
        """Begins to serve.

        Args:
            host: The address to bind. `::` means every address of both families, or of IPv4 where there is no IPv6.
            port: The port; 0 lets the kernel choose, see `port`.

        Raises:
            OSError: The address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        listening = _listen(host, port, self._limits.backlog)
        self._port = listening.getsockname()[1]
        self._shared = common = shared.Shared(
            routes=self._routes,
            limits=self._limits,
            on_refused=self._on_refused,
            clock=self._clock,
            loop=loop,
            empty=asyncio.Event(),
        )
        common.empty.set()
        self._listening = await loop.create_server(
            lambda: connection.Connection(common),
            sock=listening,
            backlog=self._limits.backlog,
            ssl=self._tls.context,
            ssl_handshake_timeout=self._limits.handshake_timeout,
            ssl_shutdown_timeout=self._limits.linger,
        )
        self._tick(loop, common)

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109 - the time to leave in, not a time-out of this call
        """Leaves without losing a request that was received, and returns when everyone is gone.

        New connections are no longer accepted. Each connection's next answer is its last and says so. A connection that
        seems idle may have a request on its way, so it is given half of the time, two seconds at most, before it is
        closed. What is in flight may take all of it.

        Args:
            timeout: Seconds until connections are cut.

        Returns:
            How many requests were cut off.
        """
        common = self._shared
        if common is None:
            return 0
        end = common.loop.time() + timeout
        common.draining = True
        if self._listening is not None:
            self._listening.close()
        await _wait(common.empty, min(timeout / 2, 2.0))
        for open_ in tuple(common.connections):
            open_.close_if_idle()
        await _wait(common.empty, end - common.loop.time())
        cut = sum([open_.abort() for open_ in tuple(common.connections)])
        await _wait(common.empty, _UNTIL_CUT)
        if self._ticker is not None:
            self._ticker.cancel()
        return cut

    def _tick(self, loop: asyncio.AbstractEventLoop, common: shared.Shared) -> None:
        """Ends the connections whose time is up. One timer for all costs less than arming one per request."""
        now = self._clock()
        for open_ in tuple(common.connections):
            open_.expire(now)
        self._ticker = loop.call_later(self._limits.resolution(), self._tick, loop, common)


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    if host == "::":
        if socket.has_dualstack_ipv6():
            return socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
        host = "0.0.0.0"  # noqa: S104 - every address was asked for
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=backlog)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0)):
            await event.wait()
