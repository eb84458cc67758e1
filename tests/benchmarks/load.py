"""Load for an HTTPS webhook, from a process that costs little itself.

A client that decodes, re-encodes or makes tasks per request measures itself. Here a request is bytes prepared once, a
connection is one protocol object that writes them again as soon as the answer is complete, and of an answer only the
status, the length and the presence of some bytes are looked at. What the *server* costs is read from `/proc/<pid>`.

    server = load.Process(pid)
    result = await load.run(port, load.request("/validate", body), concurrency=8, count=20_000, server=server)
    print(result, server.used().cpu / result.count)
"""

import asyncio
import dataclasses
import os
import pathlib
import ssl
import time
from collections.abc import Sequence

WINDOW = 200
"""Answers that have a p99 of their own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a run saw. Times are seconds.

    Attributes:
        count: Requests answered.
        failed: How many of them were not answered as they should be.
        duration: From the first request to the last answer; connections and handshakes before it are not counted.
        p50: Half of the answers took no longer.
        p99: 99 % of the answers took no longer.
        usual_p99: The median of what the p99 is of every `WINDOW` answers in turn: a machine that does something else
            for a moment spoils the slowest hundredth of everything, but one window only.
    """

    count: int
    failed: int
    duration: float
    p50: float
    p99: float
    usual_p99: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.count / self.duration

    def __str__(self) -> str:
        p50, p99 = self.p50 * 1e3, self.p99 * 1e3
        return f"{self.rate:8.0f} req/s   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   {self.failed} failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Used:
    """What a process used.

    Attributes:
        cpu: Seconds of user and system time.
        resident: Bytes of resident memory now.
    """

    cpu: float
    resident: int


class Process:
    """CPU time and memory of a process, from `begin` on (Linux)."""

    def __init__(self, pid: int) -> None:
        self._folder = pathlib.Path("/proc") / str(pid)
        self._before = 0.0

    def begin(self) -> None:
        """Count CPU time from now on; until this is called it counts from the process's start."""
        self._before = self._cpu_now()

    def used(self) -> Used:
        """What was used since."""
        pages = int((self._folder / "statm").read_text().split()[1])
        return Used(self._cpu_now() - self._before, pages * os.sysconf("SC_PAGE_SIZE"))

    def _cpu_now(self) -> float:
        """Nanosecond accounting of every thread: `stat` counts in ticks of 10 ms."""
        tasks = (self._folder / "task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def request(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A webhook call as an API server writes it.

    Args:
        path: The request target, with its query.
        body: The encoded review.
        headers: More header fields, such as `traceparent`.
    """
    fields = {
        "Host": "kymograph.kymograph-system.svc:443",
        "User-Agent": "kube-apiserver-admission",
        "Content-Length": str(len(body)),
        "Accept": "application/json, */*",
        "Content-Type": "application/json",
        "Accept-Encoding": "gzip",
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


async def run(
    port: int,
    requests: bytes | Sequence[bytes],
    *,
    concurrency: int,
    count: int,
    host: str = "127.0.0.1",
    context: ssl.SSLContext | None = None,
    expected: bytes = b"",
    server: Process | None = None,
    pace: float = 0.0,
) -> Result:
    """Sends requests over so many keep-alive connections, each waiting for its answer before the next.

    Args:
        port: The server's port.
        requests: What to send; of several, one after the other in turn.
        concurrency: Connections.
        count: Requests in total.
        host: The server's address.
        context: TLS; without it, any certificate is accepted.
        expected: What each answer has to contain, beside the status 200.
        server: Begins to be measured once all connections stand: a handshake costs as much as several requests.
        pace: Requests per second at most; 0 for as many as are answered. What has to wait for a connection is counted
            from when it was due: a server that stops answers as late as its callers see it.

    Raises:
        ConnectionError: The server closed a connection.
    """
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    every = (requests,) if isinstance(requests, bytes) else tuple(requests)
    work = _Work(every, count, loop.create_future(), expected, pace)
    clients = []
    for _ in range(concurrency):
        _, client = await loop.create_connection(lambda: _Client(work), host, port, ssl=context)
        clients.append(client)
    if server is not None:
        server.begin()
    begin = time.perf_counter()
    for client in clients:
        client.send()
    try:
        await work.done
    finally:
        for client in clients:
            client.close()
        await asyncio.gather(*(client.gone for client in clients))
    times = work.times
    windows = [times[first : first + WINDOW] for first in range(0, max(len(times) - WINDOW, 0) + 1, WINDOW)]
    return Result(
        count=len(times),
        failed=work.failed,
        duration=time.perf_counter() - begin,
        p50=_slowest(times, 50),
        p99=_slowest(times, 99),
        usual_p99=_slowest([_slowest(window, 99) for window in windows], 50),
    )


def _slowest(times: Sequence[float], percent: int) -> float:
    """What so many of a hundred take no longer than."""
    return sorted(times)[len(times) * percent // 100]


class _Work:
    """What is left to send and what came back."""

    def __init__(
        self, requests: tuple[bytes, ...], count: int, done: asyncio.Future[None], expected: bytes, pace: float
    ) -> None:
        self.requests = requests
        self.count = count
        self.expected = expected
        self.sent = 0
        self.failed = 0
        self.times: list[float] = []
        self.done = done
        self.between = 1.0 / pace if pace else 0.0
        self.due = 0.0


class _Client(asyncio.Protocol):
    def __init__(self, work: _Work) -> None:
        self._work = work
        self._received = b""
        self._closed = False
        self.gone: asyncio.Future[None] = work.done.get_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # a stream

    def send(self) -> None:
        work = self._work
        if work.sent < work.count:
            self._since = time.perf_counter()
            request = work.requests[work.sent % len(work.requests)]
            work.sent += 1
            if work.between:
                early = (work.due or self._since) - self._since
                self._since += early
                work.due = self._since + work.between
                if early > 0:
                    work.done.get_loop().call_later(early, self._transport.write, request)
                    return
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0 or len(received) < end + 4 + _content_length(received, end):
            self._received = received
            return
        self._received = b""
        work = self._work
        work.times.append(time.perf_counter() - self._since)
        if not received.startswith(b"HTTP/1.1 200") or work.expected not in received:
            work.failed += 1
        if len(work.times) == work.count:
            work.done.set_result(None)
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set_result(None)
        if not self._closed and not self._work.done.done():
            self._work.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def close(self) -> None:
        self._closed = True
        self._transport.close()


def _content_length(received: bytes, end: int) -> int:
    found = received.lower().find(b"content-length:", 0, end)
    return int(received[found + 15 : received.find(b"\r", found)]) if found >= 0 else 0
