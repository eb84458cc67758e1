"""A collector in trouble, as a process of its own, so that what it does takes no time from those who are measured.

    with Collector() as collector:
        collector.tell("reset", protocol="grpc")

It has an OTLP receiver over gRPC and one over HTTP. Before each is a front which callers connect to and which stays
where it is whatever becomes of the receiver behind it: it passes everything on, or refuses, resets, swallows or delays
it. Orders come as lines of JSON on its standard input, an answer to each goes to its standard output.
"""

import asyncio
import json
import pathlib
import socket
import struct
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

import grpc

from kymograph.keypairs import issuing
from kymograph.localcluster import ports
from support import receivers

SLOWNESS = 0.4
"""Seconds by which every piece of an answer comes late, where the collector is slow."""

_ABORT = struct.pack("ii", 1, 0)


class Collector:
    """The process, as whoever started it sees it; a context manager.

    Attributes:
        endpoints: `host:port` of the fronts, by protocol.
    """

    def __enter__(self) -> Self:
        tests = pathlib.Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from benchmarks import collector; collector.main()"],
            cwd=tests,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.endpoints: dict[str, str] = self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()

    def tell(self, order: str, **given: Any) -> Any:
        """Have it do something, a method of `_Protocol`, and return what it says when that is done.

        Args:
            order: The method.
            given: `protocol` and the method's arguments.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"order": order, **given}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the collector has ended"
        return json.loads(line)


def main() -> None:
    """Serve until the standard input ends."""
    asyncio.run(_serve())


async def _serve() -> None:
    protocols = {name: _Protocol(name) for name in receivers.PROTOCOLS}
    for each in protocols.values():
        await each.healthy()
    addresses = {name: f"127.0.0.1:{each.port}" for name, each in protocols.items()}
    print(json.dumps(addresses), flush=True)  # noqa: T201 - whoever started this reads it
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        answer = await getattr(protocols[order.pop("protocol")], order.pop("order"))(**order)
        print(json.dumps(answer), flush=True)  # noqa: T201 - whoever started this reads it
    for each in protocols.values():
        await each.down()
        await asyncio.to_thread(each.receiver.stop)


class _Protocol:
    """A receiver and its front."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.port = ports.keep()  # while nobody listens there, too
        self.receiver = receivers.start(protocol)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()
        self._spans: set[bytes] = set()
        self._rejected = 0
        self.mode = ""

    async def healthy(self) -> None:
        """Pass everything on, and take it."""
        self.receiver.refuse, self.receiver.reject = None, 0
        await self._be("pass")

    async def down(self) -> None:
        """Refuse connections, and break off those there are."""
        await self._be("down")

    async def reset(self) -> None:
        """Take connections, and break each off when something is said."""
        await self._be("reset")

    async def silent(self) -> None:
        """Take connections and all that is said, and never answer."""
        await self._be("silent")

    async def slow(self) -> None:
        """Answer late."""
        self.mode = "slow"

    async def refuse(self, code: str, status: int, retry_after: int | None = None) -> None:
        """Answer every request with a gRPC code or HTTP status."""
        self.receiver.refuse = receivers.Refusal(grpc.StatusCode[code], status, retry_after)

    async def reject(self, spans: int) -> None:
        """Take every request, but not so many of its spans."""
        self.receiver.reject = spans

    async def demand(self, token: str) -> None:
        """Take requests with this token only; an empty one takes all."""
        receiver = self.receiver

        def refusal() -> receivers.Refusal | None:
            said = receiver.headers[-1].get("authorization", "")
            receiver.headers.clear()
            return None if said == token else receivers.UNAUTHENTICATED

        if token:
            receiver.refusal = refusal  # type: ignore[method-assign] # of this receiver, for as long as it is asked
        else:
            receiver.__dict__.pop("refusal", None)

    async def present(self, certificate: str, key: str) -> None:
        """Be another receiver, with this certificate; an empty one is plaintext."""
        self._count()
        pair = issuing.KeyPair(certificate.encode(), key.encode()) if certificate else None
        await asyncio.to_thread(self.receiver.stop)
        self.receiver = await asyncio.to_thread(receivers.start, self.protocol, tls=pair)
        self._break_off()

    async def count(self) -> dict[str, int]:
        """How many different spans were received so far, and how many were said to be rejected."""
        self._count()
        return {"spans": len(self._spans), "rejected": self._rejected}

    def _count(self) -> None:
        receiver = self.receiver
        requests, receiver.requests = receiver.requests, []
        for request in requests:
            self._rejected += receiver.reject
            self._spans |= {
                span.span_id
                for of_resource in request.resource_spans
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            }

    async def _be(self, mode: str) -> None:
        if mode == self.mode:
            return
        self.mode = mode
        if mode == "down":
            if self._server is not None:
                self._server.close()
                self._server = None
        elif self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Front(self), "127.0.0.1", self.port)
        self._break_off()

    def _break_off(self) -> None:
        for transport in tuple(self._open):
            abort(transport)


class _Front(asyncio.Protocol):
    """One connection of a caller, and the one to the receiver that belongs to it."""

    def __init__(self, of: _Protocol) -> None:
        self._of = of
        self._early: list[bytes] = []
        self._behind: asyncio.Transport | None = None
        self._last = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # a stream
        self._of._open.add(self._transport)
        self._connecting = asyncio.ensure_future(self._connect())

    def data_received(self, data: bytes) -> None:
        if self._of.mode == "reset":
            abort(self._transport)
        elif self._of.mode == "silent":
            return
        elif self._behind is None:
            self._early.append(data)
        else:
            self._behind.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._of._open.discard(self._transport)
        self._connecting.cancel()
        if self._behind is not None:
            self._behind.abort()

    def answer(self, data: bytes) -> None:
        """The receiver answers."""
        loop = asyncio.get_running_loop()
        self._last = max(self._last, time.monotonic() + (SLOWNESS if self._of.mode == "slow" else 0.0))
        loop.call_at(self._last, self._transport.write, data)  # in the order they came, whatever the mode is now

    def end(self) -> None:
        """The receiver has broken off."""
        self._transport.abort()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            behind, _ = await loop.create_connection(lambda: _Behind(self), "127.0.0.1", self._of.receiver.port)
        except OSError:
            abort(self._transport)
            return
        self._behind = behind
        for data in self._early:
            behind.write(data)
        self._early.clear()


class _Behind(asyncio.Protocol):
    """The connection to the receiver."""

    def __init__(self, front: _Front) -> None:
        self._front = front

    def data_received(self, data: bytes) -> None:
        self._front.answer(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.end()


def abort(transport: asyncio.Transport) -> None:
    """Break a connection off with a reset."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    transport.abort()
