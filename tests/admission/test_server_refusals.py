"""What no handler answers is refused with a reason, counted once, and can never be read as an allowed."""

import asyncio
import contextlib
import json
import time

import pytest
import uvloop

from kymograph.controllers.admission import server
from support import webhooks

LIMITS = server.Limits(head=2048, body=10_000, head_timeout=0.2, body_timeout=0.3, linger=0.2, connections=3)
LOOPS = pytest.mark.parametrize(
    "served", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"], indirect=True
)


@pytest.fixture
def served(request):
    with webhooks.serve(getattr(request, "param", uvloop.new_event_loop), limits=LIMITS) as running:
        yield running


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


KEPT = {
    "unknown path": (webhooks.post("/nobody"), 404, "unknown_path"),
    "root path": (webhooks.post("/"), 404, "unknown_path"),
    "no path": (head("POST * HTTP/1.1", "Host: a", "Content-Length: 0"), 404, "unknown_path"),
    "longer path": (webhooks.post("/echo/more"), 404, "unknown_path"),
    "unknown path with a body of its own": (webhooks.post("/nobody", b"x" * 9_999), 404, "unknown_path"),
    "GET on a path": (head("GET /echo HTTP/1.1", "Host: a"), 405, "method"),
    "GET on an unknown path": (head("GET /healthz HTTP/1.1", "Host: a"), 404, "unknown_path"),
    "PUT": (head("PUT /echo HTTP/1.1", "Host: a", "Content-Length: 0"), 405, "method"),
    "no content type": (head("POST /echo HTTP/1.1", "Host: a", "Content-Length: 0"), 415, "content_type"),
    "protobuf": (webhooks.post(Content_Type="application/vnd.kubernetes.protobuf"), 415, "content_type"),
    "two content types": (
        head("POST /echo HTTP/1.1", "Host: a", *["Content-Type: application/json"] * 2, "Content-Length: 0"),
        415,
        "content_type",
    ),
}

ENDED = {
    "Content-Length over the limit": (
        head("POST /echo HTTP/1.1", "Host: a", "Content-Type: application/json", "Content-Length: 10001"),
        413,
        "body_too_large",
    ),
    "Content-Length over the limit, unknown path": (
        head("POST /nobody HTTP/1.1", "Host: a", "Content-Length: 99999999999"),
        413,
        "body_too_large",
    ),
    "chunks over the limit": (
        head("POST /echo HTTP/1.1", "Host: a", "Content-Type: application/json", "Transfer-Encoding: chunked")
        + b"1388\r\n"
        + b"x" * 5000
        + b"\r\n1389\r\n"
        + b"x" * 5001,
        413,
        "body_too_large",
    ),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed"),
    "no host": (head("POST /echo HTTP/1.1", "Content-Length: 0"), 400, "malformed"),
    "path beyond ASCII": ("POST /écho HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode(), 400, "malformed"),
    "length and chunks": (
        head("POST /echo HTTP/1.1", "Host: a", "Content-Length: 3", "Transfer-Encoding: chunked"),
        400,
        "malformed",
    ),
    "two lengths": (head("POST /echo HTTP/1.1", "Host: a", "Content-Length: 3", "Content-Length: 4"), 400, "malformed"),
    "negative length": (head("POST /echo HTTP/1.1", "Host: a", "Content-Length: -1"), 400, "malformed"),
    "broken chunk": (
        head("POST /echo HTTP/1.1", "Host: a", "Content-Type: application/json", "Transfer-Encoding: chunked")
        + b"z\r\n",
        400,
        "malformed",
    ),
    "upgrade": (
        head("POST /echo HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 0"),
        400,
        "upgrade",
    ),
    "CONNECT": (head("CONNECT a:443 HTTP/1.1", "Host: a"), 405, "method"),
    "HEAD": (head("HEAD /echo HTTP/1.1", "Host: a"), 405, "method"),
    "large field": (head("POST /echo HTTP/1.1", "Host: a", f"X: {'x' * 2100}"), 431, "head_too_large"),
    "many fields": (head("POST /echo HTTP/1.1", "Host: a", *["X: y"] * 1200), 431, "head_too_large"),
    "large target": (head(f"POST /{'x' * 2100} HTTP/1.1", "Host: a"), 431, "head_too_large"),
    "field without an end": (b"POST /echo HTTP/1.1\r\nX: " + b"x" * 3000, 431, "head_too_large"),
    "endless trailers": (
        head("POST /echo HTTP/1.1", "Host: a", "Content-Type: application/json", "Transfer-Encoding: chunked")
        + b"0\r\n"
        + b"X: y\r\n" * 1200,
        431,
        "head_too_large",
    ),
    "other expectation": (webhooks.post(Expect="a-miracle"), 417, "expectation"),
    "expectation for nobody": (
        head("POST /nobody HTTP/1.1", "Host: a", "Content-Length: 100", "Expect: 100-continue"),
        404,
        "unknown_path",
    ),
    "slow head": (b"POST /echo HTTP/1.1\r\nHo", 408, "head_timeout"),
    "first byte only": (b"P", 408, "head_timeout"),
    "slow body": (webhooks.post(body=b"x" * 100)[:-1], 408, "body_timeout"),
}


@LOOPS
@pytest.mark.parametrize(("sent", "status", "reason"), KEPT.values(), ids=KEPT.keys())
def test_a_refused_request_does_not_cost_its_connection(served, sent, status, reason):
    with served.client() as client:
        client.send(sent)
        answer = client.answer()
        assert (answer.status, served.refused) == (status, [reason])
        assert json.loads(answer.body)["error"].startswith(f"{reason}: ")
        assert "connection" not in answer.headers
        assert client.post(body=b'{"a":1}').body == b'{"a":1}'


@LOOPS
@pytest.mark.parametrize(("sent", "status", "reason"), ENDED.values(), ids=ENDED.keys())
def test_what_cannot_be_read_on_ends_the_connection(served, sent, status, reason):
    with served.client() as client:
        client.send(sent)
        answer = client.answer()
        assert (answer.status, served.refused) == (status, [reason])
        assert answer.headers["connection"] == "close"
        if not sent.startswith(b"HEAD"):
            assert json.loads(answer.body)["error"].startswith(f"{reason}: ")
        assert client.is_closed()
    with served.client() as client:
        assert client.post().status == 200


def test_a_slow_client_gains_no_time_by_sending_a_byte_now_and_then(served):
    with served.client() as client:
        begin = time.monotonic()
        client.socket.settimeout(0.02)
        for byte in b"POST /echo HTTP/1.1\r\n" + b"X: y\r\n" * 1000:
            try:
                client.send(bytes([byte]))
                client.socket.recv(1, 0)
            except TimeoutError:
                continue
            except OSError:  # it has had its answer, and is cut for sending on
                break
            break
        assert time.monotonic() - begin < 30
        assert served.refused == ["head_timeout"]


def test_every_reason_is_among_the_published_ones():
    used = {reason for _, _, reason in [*KEPT.values(), *ENDED.values()]}
    assert used <= server.REASONS
    assert server.REASONS - used == {"failed", "deadline", "too_many_connections", "buffers_full"}


@LOOPS
def test_a_body_at_the_limit_is_served_and_one_byte_more_is_not(served):
    with served.client() as client:
        assert client.post(body=b"x" * 10_000).body == b"x" * 10_000
        assert client.post(body=b"x" * 10_001).status == 413
        assert client.is_closed()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_client_that_sends_on_still_reads_why_its_body_is_refused(make_loop):
    """Closed at once, the socket would be reset under the unread input, and the answer lost."""
    limits = server.Limits(body=10_000, linger=30)
    with webhooks.serve(make_loop, limits=limits) as served, served.client() as client:
        client.send(webhooks.post(body=b"x" * 1_000_000))
        assert client.answer().status == 413


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def small(request):
    with webhooks.serve(request.param, limits=server.Limits(connections=3, head_timeout=60)) as running:
        yield running


def test_more_connections_than_allowed_are_answered_503_and_far_more_are_cut(small):
    served = small
    clients = [served.client() for _ in range(3)]
    assert [client.post().status for client in clients] == [200] * 3
    surplus = [served.client() for _ in range(3)]
    webhooks.until(lambda: served.server.connections == 6)
    with served.client() as cut:
        assert cut.is_closed()
    answer = surplus[0].post()
    assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
    assert set(served.refused) == {"too_many_connections"}
    assert [client.post().status for client in clients] == [200] * 3
    for client in clients + surplus:
        client.__exit__()
    webhooks.until(lambda: served.server.connections == 0)
    with served.client() as client:
        assert client.post().status == 200


def test_bodies_that_arrive_slowly_cannot_fill_the_memory():
    limits = server.Limits(buffered=100_000, linger=0.1)
    with webhooks.serve(limits=limits) as served, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(served.client()) for _ in range(3)]
        for client in slow:
            client.send(webhooks.post(body=b"x" * 60_000)[:-20_000])
        webhooks.until(lambda: "buffers_full" in served.refused)
        with served.client() as client:
            assert client.post().status == 200, "a request in one piece needs no buffer"
        for client in slow:
            client.__exit__()
        webhooks.until(lambda: served.server.connections == 0)
        assert served.server._shared.buffered == 0
        with served.client() as client:
            assert len(client.post(body=b"x" * 90_000).body) == 90_000


def told(caplog):
    """What the server logged: threads that other tests left may have something to say, too."""
    return [record for record in caplog.records if record.name.startswith(server.__name__)]


@LOOPS
@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a task"])
def test_a_failing_handler_is_answered_500_and_logged_once_and_its_connection_goes_on(served, later, caplog):
    async def fail_later(_):
        await asyncio.sleep(0)
        raise RuntimeError("secret")

    def fail(_):
        raise RuntimeError("secret")

    served.routes["/fail"] = fail_later if later else fail
    with served.client() as client:
        answer = client.post("/fail")
        assert (answer.status, served.refused) == (500, ["failed"])
        assert b"secret" not in answer.body
        assert client.post().status == 200
    [record] = told(caplog)
    assert record.exc_info[0] is RuntimeError


@pytest.mark.parametrize("wrong", [None, "text", {"a": 1}, 7], ids=str)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a task"])
def test_a_handler_that_answers_nonsense_is_a_failing_handler(served, wrong, later, caplog):
    async def answer_later(_):
        return wrong

    served.routes["/wrong"] = answer_later if later else lambda _: wrong
    with served.client() as client:
        assert client.post("/wrong").status == 500
        assert client.post().status == 200
    assert len(told(caplog)) == 1
