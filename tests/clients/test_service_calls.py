"""Service calls of policies, and what policies must not be able to do by them; against servers on real sockets."""

import asyncio
import contextlib
import gzip
import json
import time

import aiohttp
import pytest
from aiohttp import web

from fakes import httpservice
from fakes.resolving import Resolving
from kymograph.clients.http import errors, guard, services, token, transport
from kymograph.engine import needs
from kymograph.localcluster import pki

LIMIT = 10_000


@pytest.fixture
async def serve():
    async with contextlib.AsyncExitStack() as stack:

        async def start(tls=None):
            return await stack.enter_async_context(httpservice.served(tls))

        yield start


@pytest.fixture
async def service(serve):
    return await serve()


@pytest.fixture
async def caller(spans):
    """Make a client that trusts loopback by default, so that a service there can be called; closed with the test."""
    carriers = []

    def make(*, trusted=("127.0.0.0/8",), resolver=None, limit=LIMIT, shown=lambda _namespace: None):
        resolver = resolver or Resolving(service_shop_svc=[["127.0.0.1"]], other_shop_svc=[["127.0.0.1"]])
        carriers.append(transport.Transport(guard.Trusted(trusted), resolver))
        return services.Services(carriers[-1], spans, limit, shown)

    yield make
    for carrier in carriers:
        await carrier.close()


def call(url, **fields):
    return needs.ServiceCall(url, **fields)


async def test_json_comes_back(service, caller) -> None:
    """Any JSON value, with the header fields that the policy wants."""
    service.says(text='{"allowed": [1, null]}')
    answer = await caller().call(call(service.url("/check?a=b"), headers=(("X-Mine", "yes"),)))
    assert answer == {"allowed": [1, None]}
    (request,) = service.requests
    assert (request.method, request.path_qs, request.headers["X-Mine"]) == ("GET", "/check?a=b", "yes")


async def test_json_is_posted(service, caller) -> None:
    """The body as the engine made it, told to be JSON."""
    await caller().call(call(service.url(), method="POST", body=b'{"images":["a"]}'))
    assert service.bodies == [b'{"images":["a"]}']
    assert service.requests[0].headers["Content-Type"] == "application/json"


async def test_no_other_method_is_used(service, caller) -> None:
    """A policy reads and asks, it does not delete."""
    with pytest.raises(errors.CallInvalid, match="invalid request type DELETE"):
        await caller().call(call(service.url(), method="DELETE"))
    assert not service.requests


@pytest.mark.parametrize("status", [400, 404, 500, 304])
async def test_an_error_status_is_an_error(service, caller, status) -> None:
    """With what the service said, in Kyverno's words."""
    service.says(status=status, text="" if status == 304 else "no such thing")
    with pytest.raises(errors.StatusError, match=f"HTTP {status} .*: {'' if status == 304 else 'no such thing'}"):
        await caller().call(call(service.url()))


async def test_what_is_no_json_is_an_error(service, caller) -> None:
    """A login page, for example."""
    service.says(text="<html>")
    with pytest.raises(errors.AnswerInvalid, match="no JSON"):
        await caller().call(call(service.url()))


async def test_the_span_says_whom_was_called_and_nothing_secret(service, caller, exported) -> None:
    """No query, no header; the status."""
    await caller().call(call(service.url("/check?key=secret"), headers=(("Authorization", "Bearer secret"),)))
    (span,) = exported.get_finished_spans()
    assert span.name == "HTTP GET"
    assert span.attributes["url.full"] == service.url("/check")
    assert span.attributes["server.address"] == "service.shop.svc"
    assert span.attributes["server.port"] == service.port
    assert span.attributes["http.response.status_code"] == 200
    assert "secret" not in span.to_json()


@pytest.mark.parametrize(
    ("host", "trusted", "told"),
    [
        ("service.shop.svc", ("127.0.0.0/8",), True),
        ("service.shop.svc.cluster.local", ("127.0.0.0/8",), True),
        ("api.example.org", ("127.0.0.0/8",), False),
        ("service.shop.svc.example.org", ("127.0.0.0/8",), False),
        ("api.example.org", ("*.example.org",), True),
        ("127.0.0.1", ("127.0.0.0/8",), True),
    ],
)
async def test_only_the_cluster_is_told_the_trace_context(service, caller, host, trusted, told) -> None:
    """And who is trusted: others learn nothing of what happens here."""
    resolver = Resolving(**{host.replace(".", "_"): [["127.0.0.1"]]})
    await caller(resolver=resolver, trusted=trusted).call(call(service.url(host=host)))
    assert ("traceparent" in service.requests[0].headers) == told


async def test_the_certificate_must_be_of_the_bundle(serve, caller, tmp_path) -> None:
    """`caBundle` is trusted, and nothing else instead."""
    authority = pki.Authority("services")
    pair = authority.server("service", ["service.shop.svc"])
    service = await serve(httpservice.server_context(pair, tmp_path))
    url = service.url().replace("http:", "https:")
    bundle = authority.pair.certificate.decode()
    assert await caller().call(call(url, ca_bundle=bundle)) == {"fine": True}
    with pytest.raises(errors.Unreachable, match="certificate"):
        await caller().call(call(url))
    with pytest.raises(errors.Unreachable, match="certificate"):
        await caller().call(call(url, ca_bundle=pki.Authority("others").pair.certificate.decode()))
    with pytest.raises(errors.CallInvalid, match="caBundle"):
        await caller().call(call(url, ca_bundle="no certificate"))


# Attacks


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://127.0.0.1.:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://[::127.0.0.1]:{port}/",
        "http://[64:ff9b::127.0.0.1]:{port}/",
        "http://[fe80::1%25lo]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://0:{port}/",
        "http://[::]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://localhost:{port}/",
        "http://①②⑦.⓪.⓪.①:{port}/",
        "http://127。0。0。1:{port}/",
    ],
)
async def test_the_operator_itself_and_its_node_cannot_be_called(service, caller, url) -> None:
    """In no spelling of their addresses; the resolver here is the system's."""
    with pytest.raises((errors.AddressRefused, errors.CallInvalid)):
        await caller(trusted=(), resolver=aiohttp.ThreadedResolver()).call(call(url.format(port=service.port)))
    assert not service.requests


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0"])  # noqa: S104 - refused, not bound
async def test_a_name_that_resolves_to_them_is_refused_without_telling_the_address(service, caller, address) -> None:
    """Errors reach whoever made the request, who must not learn what the cluster's DNS says."""
    resolver = Resolving(rebound_example=[["8.8.8.8", address]])
    with pytest.raises(errors.AddressRefused, match=r"connection to rebound\.example refused") as refused:
        await caller(trusted=(), resolver=resolver).call(call(service.url(host="rebound.example")))
    assert address not in str(refused.value)


async def test_the_address_that_was_checked_is_the_one_that_is_called(service, caller) -> None:
    """A DNS that answers differently the second time is not asked a second time."""
    resolver = Resolving(service_shop_svc=[["127.0.0.1"], ["127.0.0.2"]])
    await caller(resolver=resolver, trusted=("127.0.0.1",)).call(call(service.url()))
    assert resolver.asked == ["service.shop.svc"]
    assert service.requests[0].transport.get_extra_info("sockname")[0] == "127.0.0.1"


async def test_an_answer_that_changes_is_checked_each_time(service, caller) -> None:
    """Connections that are closed are made anew, past the guard."""
    resolver = Resolving(service_shop_svc=[["127.0.0.1"], ["127.0.0.2"]])
    client = caller(resolver=resolver, trusted=("127.0.0.1",))
    service.says(text="1", headers={"Connection": "close"})
    await client.call(call(service.url()))
    with pytest.raises(errors.AddressRefused):
        await client.call(call(service.url()))
    assert len(service.requests) == 1


async def test_a_redirect_to_them_is_not_followed(service, serve, caller) -> None:
    """Each hop passes the guard."""
    victim = await serve()
    service.redirects(f"http://127.0.0.2:{victim.port}/latest/meta-data")
    with pytest.raises(errors.AddressRefused):
        await caller(trusted=("127.0.0.1",)).call(call(service.url()))
    assert not victim.requests


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://service.shop.svc/", "http://[::1"])
async def test_a_redirect_to_what_is_no_call_is_not_followed(service, caller, target) -> None:
    """Only http and https, only with a host."""
    service.redirects(target)
    with pytest.raises(errors.CallError):
        await caller().call(call(service.url()))
    assert len(service.requests) == 1


async def test_a_harmless_redirect_is_followed_without_what_was_for_the_first_host(service, serve, caller) -> None:
    """Header fields of the policy, credentials among them, stay with the host that they were written for."""
    elsewhere = await serve()
    service.redirects(elsewhere.url("/end", host="other.shop.svc"))
    elsewhere.says(text='"arrived"')
    mine = (("Authorization", "Bearer mine"), ("X-Mine", "yes"))
    client = caller(shown=lambda _namespace: "operator")
    assert await client.call(call(service.url(), headers=mine)) == "arrived"
    assert await client.call(call(service.url())) == "arrived"
    for request in elsewhere.requests:
        assert "Authorization" not in request.headers
        assert "X-Mine" not in request.headers


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
async def test_a_redirected_post_becomes_what_go_makes_of_it(service, caller, status, method) -> None:
    """Policies behave as with Kyverno."""
    service.redirects("/end", status)
    assert await caller().call(call(service.url(), method="POST", body=b"{}")) == "arrived"
    assert service.requests[-1].method == method
    assert service.bodies[-1] == (b"{}" if method == "POST" else b"")


async def test_redirects_end(service, caller) -> None:
    """A loop is not gone round for ever."""
    service.redirects("/again")
    with pytest.raises(errors.AnswerInvalid, match="stopped after 10 redirects"):
        await caller().call(call(service.url()))
    assert len(service.requests) == services.MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "url",
    [
        "http://user:password@service.shop.svc:{port}/",
        "http://service.shop.svc@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@service.shop.svc/",
        "file:///etc/passwd",
        "ftp://service.shop.svc/",
        "service.shop.svc",
        "http://",
        "http://[::1",
        "http://service.shop.svc:99999/",
        "",
    ],
)
async def test_a_url_that_means_something_else_is_refused(service, caller, url) -> None:
    """Users and passwords in it above all: what stands before the @ looks like the host."""
    with pytest.raises(errors.CallError):
        await caller().call(call(url.replace("{port}", str(service.port))))
    assert not service.requests


@pytest.mark.parametrize(
    "header",
    [
        ("X-Mine", "a\r\nAuthorization: Bearer b"),
        ("X-Mine", "a\nb"),
        ("X-Mine", "a\0b"),
        ("X-Mine\r\nHost", "a"),
        ("X Mine", "a"),
        ("", "a"),
        ("X-Mine:", "a"),
    ],
)
async def test_headers_cannot_be_split(service, caller, header) -> None:
    """Nothing reaches the wire that is not one header field."""
    with pytest.raises(errors.CallInvalid, match="header"):
        await caller().call(call(service.url(), headers=(header,)))
    assert not service.requests


async def test_headers_cannot_change_the_message_itself(service, caller) -> None:
    """Where it goes, where it ends and what is accepted is not up to the policy."""
    mine = (("Host", "victim"), ("Content-Length", "1"), ("Transfer-Encoding", "chunked"), ("Accept-Encoding", "br"))
    await caller().call(call(service.url(), method="POST", body=b"{}", headers=mine))
    (request,) = service.requests
    assert request.headers["Host"] == f"service.shop.svc:{service.port}"
    assert request.headers["Content-Length"] == "2"
    assert request.headers["Accept-Encoding"] == "identity"
    assert service.bodies == [b"{}"]


@pytest.mark.parametrize("length", [LIMIT, None], ids=["declared", "chunked"])
async def test_a_huge_body_is_not_read(service, caller, length) -> None:
    """Neither where it says how long it is nor where it does not."""
    sent = 0

    async def endless(request):
        nonlocal sent
        response = web.StreamResponse()
        if length is not None:
            response.content_length = 1 << 40
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            sent += 65_536

    service.answer = endless
    with pytest.raises(errors.AnswerInvalid, match=f"max allowed response length of {LIMIT}"):
        await caller().call(call(service.url()))
    assert sent < 16 * 1024 * 1024


async def test_a_body_of_just_the_limit_is_read(service, caller) -> None:
    """One byte more is not."""
    service.says(text=json.dumps("x" * (LIMIT - 2)))
    assert await caller().call(call(service.url())) == "x" * (LIMIT - 2)
    service.says(text=json.dumps("x" * (LIMIT - 1)))
    with pytest.raises(errors.AnswerInvalid):
        await caller().call(call(service.url()))


async def test_a_bomb_is_not_unpacked(service, caller) -> None:
    """What was compressed is refused: its size says nothing about what is in it."""
    service.says(body=gzip.compress(b"1" * 10_000_000), headers={"Content-Encoding": "gzip"})
    with pytest.raises(errors.AnswerInvalid, match="encoded"):
        await caller(limit=1_000_000).call(call(service.url()))


@pytest.mark.parametrize("slow", ["head", "body"])
async def test_a_slow_answer_is_given_up_with_the_review(service, caller, slow) -> None:
    """Whoever calls bounds the time; a byte now and then does not extend it."""

    async def trickle(request):
        response = web.StreamResponse()
        if slow == "body":
            await response.prepare(request)
        while True:
            await asyncio.sleep(0.01)
            if slow == "body":
                await response.write(b" ")

    service.answer = trickle
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await caller().call(call(service.url()))
    assert time.monotonic() - began < 30


async def test_nobody_at_the_other_end_says_no_address(serve, caller) -> None:
    """Why there is no connection, but not to where a name leads."""
    gone = await serve()
    gone_port = gone.port
    resolver = Resolving(service_shop_svc=[["127.0.0.3"]])
    with pytest.raises(errors.Unreachable, match=r"no connection to service\.shop\.svc") as refused:
        await caller(resolver=resolver).call(call(f"http://service.shop.svc:{gone_port}/"))
    assert "127.0.0.3" not in str(refused.value)


async def test_an_unknown_name_is_said_to_be_unknown(service, caller) -> None:
    """No timeout, no traceback."""
    with pytest.raises(errors.Unreachable, match=r"unknown\.example does not resolve"):
        await caller().call(call(service.url(host="unknown.example")))


@pytest.mark.parametrize(
    ("listed", "namespace", "shown"),
    [
        ((), "", False),
        ((), "shop", False),
        (("shop",), "shop", True),
        (("shop",), "bank", False),
        (("shop",), "", False),
        (("ClusterPolicy",), "", True),
        (("ClusterPolicy",), "shop", False),
        (("*",), "", True),
        (("*",), "shop", True),
    ],
)
async def test_the_token_is_shown_for_listed_policies_only(service, caller, tmp_path, listed, namespace, shown) -> None:
    """No policy gets the operator's credentials out of the cluster unless somebody decided so."""
    path = tmp_path / "token"
    path.write_text("scoped\n")
    client = caller(shown=token.Token(path, listed))
    await client.call(call(service.url(), policy_namespace=namespace))
    assert service.requests[0].headers.get("Authorization") == ("Bearer scoped" if shown else None)


async def test_a_policy_with_credentials_of_its_own_gets_no_token(service, caller, tmp_path) -> None:
    """Nor does a missing file stop the call."""
    client = caller(shown=token.Token(tmp_path / "missing", ("*",)))
    await client.call(call(service.url()))
    assert "Authorization" not in service.requests[0].headers
    (tmp_path / "missing").write_text("scoped")
    await client.call(call(service.url(), headers=(("authorization", "Basic mine"),)))
    assert service.requests[1].headers["Authorization"] == "Basic mine"


@pytest.mark.parametrize("entry", ["http://host/", "a b", "", "host:80", "10.0.0.1/8"])
def test_what_is_trusted_has_to_be_a_host_an_address_or_a_network(entry) -> None:
    """A slip of the pen is found at the start."""
    with pytest.raises(ValueError, match="neither"):
        guard.Trusted([entry])
