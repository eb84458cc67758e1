"""What handlers are given, and how their answers travel: whole bodies, deadlines, order, backpressure."""

import asyncio
import contextlib
import gc
import json
import socket
import ssl
import threading
import time

import aiohttp
import pytest
import uvloop

from kymograph.controllers.admission import server
from kymograph.controllers.admission.server import connection, target
from kymograph.telemetry import propagators
from support import pods, webhooks

SECOND = 1_000_000_000


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def served(request):
    routes = {"/echo": webhooks.echo, "/later": webhooks.echo_later}
    with webhooks.serve(request.param, routes) as running:
        yield running


@pytest.mark.parametrize("path", ["/echo", "/later"])
async def test_any_http_client_is_served(served, path):
    body = pods.encode(pods.update())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=webhooks.trusting())) as session:
        for _ in range(3):
            async with session.post(
                f"https://localhost:{served.port}{path}?timeout=10s",
                data=body,
                headers={"Content-Type": "application/json; charset=utf-8"},
            ) as answer:
                assert (answer.status, answer.content_type) == (200, "application/json")
                assert await answer.read() == body


def test_a_handler_gets_the_path_the_body_and_the_trace_context(served):
    seen = []
    served.routes["/see"] = lambda request: seen.append(request) or b"{}"
    with served.client() as client:
        client.post("/see?timeout=10s", b"{}", traceparent="00-a-b-01", TraceState="x=1")
        client.post("/see", b"")
    first, second = seen
    assert (first.path, first.body, first.content_type) == ("/see", b"{}", b"application/json")
    assert (first.traceparent, first.tracestate) == (b"00-a-b-01", b"x=1")
    assert (second.body, second.traceparent, second.tracestate) == (b"", None, None)


def test_a_handler_gets_what_other_forms_of_the_trace_context_need(served):
    """In the fields of B3 and baggage; nobody's credentials."""
    seen = []
    served.routes["/see"] = lambda request: seen.append(request) or b"{}"
    fields = {name.decode(): "x" for name in propagators.FIELDS}
    with served.client() as client:
        client.post("/see", b"{}", Authorization="Bearer s3cr3t", **fields)
        client.post("/see", b"{}")
    first, second = seen
    assert dict.fromkeys(propagators.FIELDS, b"x").items() <= first.fields.items()
    assert b"authorization" not in first.fields
    assert not propagators.FIELDS & second.fields.keys()


def test_a_header_field_sent_twice_is_joined(served):
    seen = []
    served.routes["/see"] = lambda request: seen.append(request) or b"{}"
    with served.client() as client:
        client.send(webhooks.post("/see").replace(b"Host", b"tracestate: a=1\r\ntracestate: b=2\r\nHost", 1))
        assert client.answer().status == 200
    assert seen[0].tracestate == b"a=1,b=2"


def test_a_handler_may_answer_with_any_status(served):
    served.routes["/odd"] = lambda _: server.Response(422, b"no", b"text/plain")
    served.routes["/unnamed"] = lambda _: server.Response(299, b"")
    with served.client() as client:
        answer = client.post("/odd")
        assert (answer.status, answer.headers["content-type"], answer.body) == (422, "text/plain", b"no")
        assert client.post("/unnamed").status == 299
    assert served.refused == []


@pytest.mark.parametrize("path", ["/echo", "/later"])
def test_a_chunked_body_arrives_in_one_piece_and_trailers_are_nobodys_header_fields(served, path):
    seen = []
    serve = served.routes[path]
    served.routes[path] = lambda request: seen.append(request) or serve(request)
    with served.client() as client:
        client.send(
            b"POST " + path.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b'Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\n{"a\r\n1\r\n"\r\n3\r\n:1}\r\n0\r\ntraceparent: 00\r\n\r\n'
        )
        assert client.answer().body == b'{"a":1}'
        assert client.post(path).status == 200
    assert [request.traceparent for request in seen] == [None, None]


@pytest.mark.parametrize("path", ["/echo", "/later"])
@pytest.mark.parametrize("size", [0, 1, 100_000, 8 * 1024 * 1024])
def test_a_body_arrives_whole_whatever_its_size(served, path, size):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with served.client() as client:
        assert client.post(path, body).body == body


@pytest.mark.parametrize("path", ["/echo", "/later"])
def test_pipelined_requests_are_answered_in_order(served, path):
    """Also those that are refused, and those behind a slower one."""
    with served.client() as client:
        client.send(
            b"".join(webhooks.post(path, str(n).encode()) for n in range(50))
            + webhooks.post("/nobody")
            + webhooks.post("/echo", b"last", Connection="close")
            + webhooks.post("/echo", b"never")
        )
        assert [client.answer().body for _ in range(50)] == [str(n).encode() for n in range(50)]
        assert client.answer().status == 404
        last = client.answer()
        assert (last.body, last.headers["connection"]) == (b"last", "close")
        assert client.is_closed()
    assert served.refused == ["unknown_path"]


def test_one_request_of_a_connection_is_served_at_a_time(served):
    running, most = 0, 0

    async def count(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return b"{}"

    served.routes["/count"] = count
    with served.client() as client:
        client.send(webhooks.post("/count") * 20)
        assert [client.answer().status for _ in range(20)] == [200] * 20
    assert most == 1


def test_connections_do_not_wait_for_each_other(served):
    gate = asyncio.Event()

    async def wait(_):
        await gate.wait()
        return b"{}"

    served.routes["/wait"] = wait
    with served.client() as slow, served.client() as quick:
        slow.send(webhooks.post("/wait"))
        assert quick.post().status == 200
        served.loop.call_soon_threadsafe(gate.set)
        assert slow.answer().status == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_ends_when_its_client_says_so(served, version):
    with served.client() as client:
        close = {"Connection": "close"} if version == "1.1" else {"Connection": "keep-alive"}
        client.send(webhooks.post(**close).replace(b"HTTP/1.1", b"HTTP/" + version.encode()))
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.is_closed()


def test_a_client_that_expects_100_continue_gets_it_before_it_sends_the_body(served):
    with served.client() as client:
        request = webhooks.post("/later", b"body", Expect="100-continue")
        client.send(request[:-4])
        assert client.answer().status == 100
        client.send(request[-4:])
        assert client.answer().body == b"body"


def test_100_continue_waits_for_the_answer_before_it(served):
    gate = asyncio.Event()

    async def wait(_):
        await gate.wait()
        return b"first"

    served.routes["/wait"] = wait
    with served.client() as client:
        request = webhooks.post("/echo", b"second", Expect="100-continue")
        client.send(webhooks.post("/wait") + request[:-6])
        served.loop.call_soon_threadsafe(gate.set)
        assert [client.answer()[0::2] for _ in range(2)] == [(200, b"first"), (100, b"")]
        client.send(request[-6:])
        assert client.answer().body == b"second"


@pytest.mark.parametrize(
    ("url", "path", "seconds"),
    [
        (b"/validate", "/validate", 9.5),
        (b"/validate?timeout=10s", "/validate", 9.5),
        (b"/validate?timeout=1s", "/validate", 0.8),
        (b"/validate?timeout=30s", "/validate", 29.5),
        (b"/validate?a=b&timeout=2s&c", "/validate", 1.6),
        (b"/validate?timeout=10m0s", "/validate", 29.5),
        (b"/validate?timeout=0s", "/validate", 9.5),
        (b"/validate?timeout=-5s", "/validate", 9.5),
        (b"/validate?timeout=soon", "/validate", 9.5),
        (b"/validate?xtimeout=1s", "/validate", 9.5),
        (b"https://a:9443/validate?timeout=1s", "/validate", 0.8),
        (b"https://a:9443", "/", 9.5),
    ],
)
def test_the_answer_leaves_before_the_api_server_gives_up(url, path, seconds):
    """A fifth of its time is kept back, at most half a second; nothing a client writes buys more than 30 s."""
    assert target.parse(url) == (path, int(seconds * SECOND))


def test_the_deadline_counts_from_the_arrival_of_the_request(served):
    seen = []
    served.routes["/see"] = lambda request: seen.append(request) or b"{}"
    request = webhooks.post("/see?timeout=30s")
    with served.client() as client:
        before = time.monotonic_ns()
        client.send(request[:30])
        webhooks.until(lambda: any(open_._phase for open_ in served.open_connections()))
        arrived = time.monotonic_ns()
        client.send(request[30:])
        client.answer()
    assert before < seen[0].deadline - int(29.5 * SECOND) < arrived


def test_a_handler_that_is_not_done_by_its_deadline_is_cancelled_and_answered_for(served):
    cancelled = threading.Event()

    async def dawdle(_):
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return b"{}"

    served.routes["/dawdle"] = dawdle
    with served.client() as client:
        begin = time.monotonic()
        client.send(webhooks.post("/dawdle?timeout=1s") + webhooks.post())
        assert client.answer().status == 504
        assert 0.5 < time.monotonic() - begin < 30
        assert client.answer().status == 200
    assert cancelled.wait(30)
    assert served.refused == ["deadline"]


def test_a_handler_that_refuses_to_be_cancelled_does_not_hold_the_answer(served):
    gate = asyncio.Event()

    async def stubborn(_):
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return b"{}"

    served.routes["/stubborn"] = stubborn
    with served.client() as client:
        assert client.post("/stubborn?timeout=1s").status == 504
        assert len(served.server._shared.stragglers) == 1
        served.loop.call_soon_threadsafe(gate.set)
        webhooks.until(lambda: not served.server._shared.stragglers)
        assert client.post().status == 200


def test_a_request_that_waited_past_its_deadline_is_not_served(served):
    calls = []

    async def slow(_):
        await asyncio.sleep(1)
        return b"{}"

    served.routes["/slow"] = slow
    served.routes["/count"] = lambda request: calls.append(request) or b"{}"
    with served.client() as client:
        client.send(webhooks.post("/slow?timeout=10s") + webhooks.post("/count?timeout=1s"))
        assert [client.answer().status for _ in range(2)] == [200, 504]
    assert calls == []


def test_nobody_decides_for_a_client_that_has_gone(served):
    started, cancelled = threading.Event(), threading.Event()

    async def wait(_):
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    served.routes["/wait"] = wait
    with served.client() as client:
        client.send(webhooks.post("/wait"))
        assert started.wait(30)
    assert cancelled.wait(30)
    webhooks.until(lambda: served.server.connections == 0)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a task"])
def test_nothing_more_is_taken_from_a_client_that_does_not_read(served, later):
    calls = []

    def big(request):
        calls.append(request)
        return b"%d" % len(calls) + b" " * 500_000

    async def big_later(request):
        return big(request)

    served.routes["/big"] = big_later if later else big
    with served.client(receive_buffer=4096) as client:
        client.send(webhooks.post("/big?timeout=30s") * 40)  # as little as this fits into the buffers on the way
        webhooks.until(lambda: any(not open_._writable for open_ in served.open_connections()))
        assert len(calls) < 20
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)  # the rest may come fast
        answers = [int(client.answer().body) for _ in range(40)]
    assert answers == list(range(1, 41))


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_client_that_never_reads_is_cut(make_loop):
    calls = []
    limits = server.Limits(body_timeout=0.2)
    routes = {"/big": lambda request: calls.append(request) or b" " * 10_000_000}
    with webhooks.serve(make_loop, routes, limits) as served, served.client(receive_buffer=4096) as client:
        client.send(webhooks.post("/big") * 3)
        webhooks.until(lambda: calls and served.server.connections == 0)


def test_a_hundred_idle_connections_are_kept(served):
    clients = [served.client() for _ in range(120)]
    try:
        for _ in range(2):
            assert [client.post().status for client in clients] == [200] * 120
        assert served.server.connections == 120
        nodelay = [
            open_._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for open_ in served.open_connections()
        ]
        assert all(nodelay)
    finally:
        for client in clients:
            client.__exit__()


def test_an_idle_connection_is_closed_when_its_time_is_up_without_an_answer():
    """On a machine that stands still that may be before the first request: then another connection is asked."""
    with webhooks.serve(limits=server.Limits(idle_timeout=0.2)) as served:

        def answered_and_closed():
            with contextlib.suppress(OSError), served.client() as client:
                return client.post().status == 200 and client.is_closed()

        webhooks.until(answered_and_closed)
        assert served.refused == []


def test_it_listens_on_both_families_where_there_are_two():
    async def check():
        tls = server.TLS()
        tls.load(webhooks.SERVING.certificate, webhooks.SERVING.key)
        https = server.Server({"/echo": webhooks.echo}, tls)
        with pytest.raises(server.errors.NotServing):
            _ = https.port
        await https.start("::", 0)
        answers = []
        for host in ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]:
            reader, writer = await asyncio.open_connection(host, https.port, ssl=_unverified())
            writer.write(webhooks.post(Connection="close"))
            answers.append((await reader.read()).startswith(b"HTTP/1.1 200"))
            writer.close()
            await writer.wait_closed()
        await https.drain(1)
        return answers

    assert all(asyncio.run(check()))


def test_routes_are_looked_up_for_every_request(served):
    with served.client() as client:
        assert client.post("/new").status == 404
        served.routes["/new"] = lambda _: json.dumps({"new": True}).encode()
        assert client.post("/new").body == b'{"new": true}'
        del served.routes["/new"]
        assert client.post("/new").status == 404


def _unverified() -> ssl.SSLContext:
    context = webhooks.trusting()
    context.check_hostname = False
    return context


@pytest.mark.parametrize("end", ["client", "server", "refused", "cut", "in flight"])
def test_a_connection_that_ended_leaves_nothing_to_the_garbage_collector(served, end):
    """That counts objects, of which there are few: a buffer of TLS has 256 KiB and is none of them."""
    common = served.server._shared
    served.routes["/never"] = lambda _: asyncio.Event().wait()

    def converse(client: webhooks.Client) -> None:
        client.post("/later", b"x" * 100_000)
        if end == "server":
            client.post("/later", Connection="close")
            assert client.is_closed()
        elif end == "refused":
            client.send(b"no HTTP\r\n\r\n")
            assert client.answer().status == 400
        elif end == "cut":
            served.loop.call_soon_threadsafe(served.open_connections()[0].abort)
            assert client.is_closed()
        elif end == "in flight":
            client.send(webhooks.post("/never"))

    def held() -> int:
        return sum(type(each) is connection.Connection and each._shared is common for each in gc.get_objects())

    gc.disable()
    try:
        for _ in range(3):
            with served.client() as client:
                converse(client)
            webhooks.until(lambda: not served.open_connections())
        webhooks.until(lambda: not held())
    finally:
        gc.enable()
