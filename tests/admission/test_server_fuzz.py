"""Whatever bytes arrive, in whatever pieces: the server answers or closes, counts, and goes on."""

import asyncio
import contextlib
import itertools
import time

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kymograph.controllers.admission import server
from kymograph.controllers.admission.server import connection, shared
from support import webhooks

LINES = st.sampled_from(
    [
        b"POST /echo HTTP/1.1\r\n",
        b"POST /nobody HTTP/1.0\r\n",
        b"GET /echo?timeout=1s HTTP/1.1\r\n",
        b"HEAD / HTTP/1.1\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"Host: a\r\n",
        b"Content-Type: application/json\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"traceparent: 00\r\n",
        b" folded\r\n",
        b"\r\n",
        b"hello",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\na: b\r\n\r\n",
        webhooks.post(),
        webhooks.post("/later"),
        webhooks.post("/fail"),
    ]
)
STREAMS = st.lists(LINES | st.binary(max_size=30), max_size=12).map(b"".join)


class Socket:
    def setsockopt(self, *option):
        pass


class Transport:
    """Keeps what is written; never blocks."""

    def __init__(self):
        self.written = b""
        self.closed = False

    def write(self, data):
        assert not self.closed, "nothing is written after the end"
        self.written += data

    def close(self):
        self.closed = True

    abort = close

    def get_extra_info(self, name):
        return {"socket": Socket()}[name]

    def set_write_buffer_limits(self, high):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


async def answers(pieces):
    """What one connection answers, and how often it says that it refused."""
    refused, calls = [], []
    common = shared.Shared(
        routes={"/echo": lambda request: calls.append(request) or bytes(request.body)},
        limits=server.Limits(),
        on_refused=refused.append,
        clock=time.monotonic_ns,
        loop=asyncio.get_running_loop(),
        empty=asyncio.Event(),
    )
    transport = Transport()
    one = connection.Connection(common)
    one.connection_made(transport)
    for piece in pieces:
        common.buffer[: len(piece)] = piece
        one.buffer_updated(len(piece))
    one.connection_lost(None)
    assert common.buffered == 0
    assert not common.connections
    assert transport.written.count(b"HTTP/1.1 200 OK\r\n") == len(calls)
    return transport.written, refused


@pytest.mark.parametrize("pieces", [1, 2, 40])
async def test_bodies_that_are_not_complete_are_bounded_together_however_they_come(pieces):
    """A server that is slow to read gets in one piece what was sent in many."""
    refused = []
    common = shared.Shared(
        routes={"/echo": lambda request: bytes(request.body)},
        limits=server.Limits(buffered=100_000),
        on_refused=refused.append,
        clock=time.monotonic_ns,
        loop=asyncio.get_running_loop(),
        empty=asyncio.Event(),
    )
    sent = webhooks.post(body=b"x" * 60_000)[:-20_000]
    step = -(-len(sent) // pieces)
    for _ in range(3):
        one = connection.Connection(common)
        one.connection_made(Transport())
        for start in range(0, len(sent), step):
            piece = sent[start : start + step]
            common.buffer[: len(piece)] = piece
            one.buffer_updated(len(piece))
    assert refused == ["buffers_full"]
    assert common.buffered < 100_000


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 400), max_size=20))
@settings(max_examples=300, deadline=None)
def test_the_answers_do_not_depend_on_how_the_bytes_are_cut(stream, cuts):
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    whole, refused = asyncio.run(answers([stream]))
    assert asyncio.run(answers(pieces)) == (whole, refused)


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def served(request):
    def fail(_):
        raise RuntimeError

    routes = {"/echo": webhooks.echo, "/later": webhooks.echo_later, "/fail": fail}
    limits = server.Limits(head_timeout=0.1, body_timeout=0.1, linger=0.05)
    with webhooks.serve(request.param, routes, limits) as running:
        yield running


@given(stream=STREAMS, rude=st.booleans())
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_the_server_survives_any_client(served, stream, rude):
    """Some go without waiting for anything. The next client is served as if nothing had been."""
    with served.client() as client, contextlib.suppress(OSError):
        client.socket.settimeout(0.3)  # a connection that goes on has nothing more to say
        client.send(stream)
        while not rude:
            answer = client.answer()
            assert answer.status in {100, 200, 400, 404, 405, 408, 413, 415, 417, 431, 500}
    with served.client() as client:
        assert client.post(body=b"next").body == b"next"
    webhooks.until(lambda: not served.open_connections())
    assert served.server._shared.buffered == 0
    assert not served.server._shared.stragglers
