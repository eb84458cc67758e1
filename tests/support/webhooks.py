"""A real webhook server for tests, on a thread and event loop of its own, and a client that speaks raw bytes to it."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple, Self

from kymograph.controllers.admission import server
from kymograph.runtime import certificates

NOW = dt.datetime.now(dt.UTC)
AUTHORITY = certificates.issue_ca(NOW)
SERVING = certificates.issue_serving(AUTHORITY, ["localhost"], ["127.0.0.1"], NOW)


class Answer(NamedTuple):
    """A response as it was read."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One TLS connection. Reading past the last answer is how a test sees that the server closed it."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> None:
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(60)
        try:
            plain.connect(("127.0.0.1", port))
            self.socket = (context or trusting()).wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Writes bytes as they are."""
        self.socket.sendall(data)

    def answer(self) -> Answer:
        """Reads the next response.

        Raises:
            ConnectionError: The server closed the connection before.
        """
        status = self._line()
        if not status:
            raise ConnectionResetError("closed without an answer")
        headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Answer(int(status.split()[1]), headers, self._file.read(int(headers.get("content-length", "0"))))

    def post(self, path: str = "/echo", body: bytes = b"{}", **headers: str) -> Answer:
        """Sends a review and reads the answer."""
        self.send(post(path, body, **headers))
        return self.answer()

    def is_closed(self) -> bool:
        """Whether nothing more comes; waits for the server to say so."""
        try:
            return self._file.read(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True

    def _line(self) -> str:
        return self._file.readline().decode("latin-1").rstrip("\r\n")


class Served:
    """A server that runs, and what a test wants to know of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: server.Limits | None) -> None:
        self.loop = loop
        self.refused: list[str] = []
        self.routes: dict[str, server.Handler] = {}
        self.tls = server.TLS()
        self.tls.load(SERVING.certificate, SERVING.key)
        self.server = server.Server(self.routes, self.tls, limits=limits, on_refused=self.refused.append)

    @property
    def port(self) -> int:
        return self.server.port

    def client(self, context: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> Client:
        return Client(self.port, context, receive_buffer)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def open_connections(self) -> list[Any]:
        """The server's ends of its connections."""
        return list(self.server._shared.connections)


@contextlib.contextmanager
def serve(
    make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    routes: Mapping[str, server.Handler] | None = None,
    limits: server.Limits | None = None,
) -> Iterator[Served]:
    """Runs a server until the block is left."""
    loop = make_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = Served(loop, limits)
    served.routes.update(routes or {"/echo": echo})
    try:
        served.run(served.server.start("127.0.0.1", 0))
        yield served
    finally:
        served.run(served.server.drain(0))
        served.run(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def echo(request: server.Request) -> bytes:
    """Answers the body itself, as a handler that decides at once."""
    return bytes(request.body)


async def echo_later(request: server.Request) -> bytes:
    """Answers the body itself, as a handler that has to wait first."""
    await asyncio.sleep(0)
    return bytes(request.body)


def post(path: str = "/echo", body: bytes = b"{}", **headers: str) -> bytes:
    """A review's request as an API server writes it."""
    fields = {"Host": "webhook.test", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def trusting(client: certificates.KeyPair | None = None, path: Any = None) -> ssl.SSLContext:
    """A client's TLS that verifies the server, and shows a certificate if given one and a folder to write it to."""
    context = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    if client is not None:
        file = path / "client.pem"
        file.write_bytes(client.certificate + client.key)
        context.load_cert_chain(file)
    return context


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something that happens on the server's thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)
