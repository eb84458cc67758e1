"""What an API server never answers, and what stands between one and us may: each is an error of ours, none a crash."""

import asyncio

import pytest
from aiohttp import web

from kymograph.clients.kubernetes import answers, connection, errors, resources, sessions
from kymograph.clients.kubernetes import client as clients
from kymograph.telemetry import propagation
from support import ports

BOOKMARK = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}\n'
ADDED = b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"8"}}}\n'


async def read(client):
    return await client.get(resources.NAMESPACES, "a")


async def watch(client):
    return [event["type"] async for event in client.watch(resources.NAMESPACES, "1")]


@pytest.mark.parametrize("text", ["<html>log in</html>", "[]", "", '"text"'])
async def test_an_answer_that_is_no_object_is_invalid(connect, misbehaving, text) -> None:
    """A proxy's page with status 200 is no object."""
    misbehaving.says(text=text)
    with pytest.raises(errors.AnswerInvalid):
        await read(connect(misbehaving.connection()))


@pytest.mark.parametrize("call", [read, watch])
async def test_an_error_without_a_status_object_keeps_its_code(connect, misbehaving, call) -> None:
    """A proxy's 502 comes with HTML."""
    misbehaving.says(502, "<html>bad gateway</html>")
    with pytest.raises(errors.StatusError) as error:
        await call(connect(misbehaving.connection()))
    assert (error.value.code, error.value.reason, error.value.message) == (502, "", "no message")


@pytest.mark.parametrize("call", [read, watch])
async def test_redirects_are_not_followed(connect, misbehaving, call) -> None:
    """The API server sends none for what we ask; who else does would get our token."""
    misbehaving.says(302, "", Location="/elsewhere")
    with pytest.raises(errors.StatusError) as error:
        await call(connect(misbehaving.connection()))
    assert error.value.code == 302
    assert len(misbehaving.requests) == 1


async def test_the_token_goes_to_no_other_server(misbehaving) -> None:
    """Also where somebody else (Kopf) uses the session and follows a redirect."""
    misbehaving.says()
    connected = connection.Connection("http://api.example:6443", None, lambda: "secret", "default")
    async with sessions.begin(connected) as session, session.get(misbehaving.url):
        pass
    async with sessions.begin(misbehaving.connection()) as session, session.get(misbehaving.url + "/x"):
        pass
    elsewhere, there = misbehaving.requests
    assert "Authorization" not in elsewhere.headers
    assert there.headers["Authorization"] == "Bearer secret"


async def test_the_path_of_the_server_url_is_kept(connect, misbehaving) -> None:
    """Management planes serve many clusters on one host: `https://host/k8s/clusters/<id>`."""
    misbehaving.says()
    await read(connect(misbehaving.connection(path="/k8s/clusters/c-1")))
    misbehaving.sends(BOOKMARK)
    await watch(connect(misbehaving.connection(path="/k8s/clusters/c-1")))
    assert [request.path for request in misbehaving.requests] == [
        "/k8s/clusters/c-1/api/v1/namespaces/a",
        "/k8s/clusters/c-1/api/v1/namespaces",
    ]


async def test_the_context_of_the_trace_is_sent_along(connect, misbehaving, exported) -> None:
    """The API server's spans become children of ours: for a call and for a watch."""
    client = connect(misbehaving.connection())
    misbehaving.says()
    await read(client)
    misbehaving.sends(BOOKMARK)
    await watch(client)
    for request, span in zip(misbehaving.requests, exported.get_finished_spans(), strict=True):
        parent = propagation.parse(request.headers["traceparent"])
        assert (parent.trace_id, parent.span_id, parent.sampled) == (span.context.trace_id, span.context.span_id, True)


async def test_a_watch_gives_bookmarks_and_ends_when_the_server_ends_it(connect, misbehaving) -> None:
    """Bookmarks are asked for and handed on; an event cut off by the end is left to the next watch."""
    misbehaving.sends(BOOKMARK, ADDED[:20], ADDED[20:] + ADDED, b"\n", ADDED[:-10])
    assert await watch(connect(misbehaving.connection())) == ["BOOKMARK", "ADDED", "ADDED"]
    query = misbehaving.requests[0].query
    assert (query["allowWatchBookmarks"], query["resourceVersion"], query["watch"]) == ("true", "1", "1")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (b'{"code":410,"reason":"Expired","message":"too old"}', errors.Expired),
        (b'{"code":403,"reason":"Forbidden"}', errors.Forbidden),
        (b"{}", errors.StatusError),
    ],
)
async def test_an_error_within_a_watch_is_raised(connect, misbehaving, status, error) -> None:
    """The API server notices some errors when its 200 has been sent."""
    misbehaving.sends(BOOKMARK, b'{"type":"ERROR","object":' + status + b"}\n")
    with pytest.raises(error):
        await watch(connect(misbehaving.connection()))


@pytest.mark.parametrize("line", [b"<html>\n", b"[]\n", b'{"type":"ADDED"}\n', b'{"object":[]}\n', b"{\xff}\n"])
async def test_a_line_that_is_no_event_is_invalid(connect, misbehaving, line) -> None:
    """It ends the watch, not the process."""
    misbehaving.sends(line)
    with pytest.raises(errors.AnswerInvalid):
        await watch(connect(misbehaving.connection()))


def forgetful(tokens):
    """An API server whose first page is 1, and which knows the second only by the last of these tokens.

    With any other it says that its snapshot is gone, and how to go on: by the next.
    """

    async def answer(request):
        token = request.query.get("continue")
        if token is None:
            return web.json_response({"metadata": {"resourceVersion": "5", "continue": tokens[0]}, "items": [1]})
        if token == tokens[-1]:
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": [2]})
        following = {"continue": tokens[tokens.index(token) + 1]}
        status = {"kind": "Status", "code": 410, "reason": "Expired", "metadata": following}
        return web.json_response(status, status=410)

    return answer


async def test_a_list_whose_snapshot_is_gone_goes_on_where_it_was(connect, misbehaving) -> None:
    """By the token that the API server offers: nothing that was read is read again."""
    misbehaving.answer = forgetful(["token=&", "inconsistent"])
    pages = connect(misbehaving.connection()).pages(resources.NAMESPACES)
    assert [page["items"] async for page in pages] == [[1], [2]]
    asked = [request.query.get("continue") for request in misbehaving.requests]
    assert asked == [None, "token=&", "inconsistent"]
    assert {request.query["limit"] for request in misbehaving.requests} == {str(clients.PAGE_SIZE)}


@pytest.mark.parametrize(
    ("tokens", "snapshot"),
    [
        (["first", "inconsistent"], True),
        (["first", "", "never reached"], False),
        (["first", "inconsistent", "never reached"], False),
    ],
    ids=["who needs one moment", "no token is offered", "the offered token is not taken"],
)
async def test_a_list_that_cannot_go_on_is_expired(connect, misbehaving, tokens, snapshot) -> None:
    """It ends, whatever the API server says: nobody asks for ever."""
    misbehaving.answer = forgetful(tokens)
    pages = connect(misbehaving.connection()).pages(resources.NAMESPACES, snapshot=snapshot)
    await anext(pages)
    with pytest.raises(errors.Expired):
        await anext(pages)
    assert len(misbehaving.requests) <= 3


async def test_a_line_without_end_is_given_up(connect, misbehaving, monkeypatch) -> None:
    """Memory has a bound, whoever sends."""
    monkeypatch.setattr(answers, "LINE_LIMIT", 1000)
    misbehaving.sends(*[b"x" * 600] * 2)
    with pytest.raises(errors.AnswerInvalid, match="larger than 1000"):
        await watch(connect(misbehaving.connection()))


@pytest.fixture
def nobodys_port():
    with ports.held() as port:
        yield port


async def test_a_connection_refused_or_cut_or_silent_is_unreachable(
    connect, misbehaving, exported, monkeypatch, nobodys_port
) -> None:
    """No answer is one kind of error, whatever the reason; its span says which."""
    nobody = connect(connection.Connection(f"http://127.0.0.1:{nobodys_port}", None, lambda: None, ""))
    client = connect(misbehaving.connection())

    async def cut(request):
        request.transport.abort()
        return web.Response()

    async def silent(request):
        await asyncio.sleep(30)
        return web.Response()

    for call in (read, watch):
        with pytest.raises(errors.Unreachable):
            await call(nobody)
        misbehaving.answer = cut
        with pytest.raises(errors.Unreachable):
            await call(client)
    monkeypatch.setattr(clients, "CALL_TIMEOUT", clients.aiohttp.ClientTimeout(total=0.05))
    misbehaving.answer = silent
    with pytest.raises(errors.Unreachable, match="TimeoutError"):
        await read(client)
    assert {span.attributes["error.type"] for span in exported.get_finished_spans()} == {"Unreachable"}


async def test_a_watch_cut_in_the_middle_is_unreachable(connect, misbehaving) -> None:
    """What came before has been given."""

    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(ADDED)
        request.transport.abort()
        return response

    misbehaving.answer = answer
    watched = connect(misbehaving.connection()).watch(resources.NAMESPACES, "1")
    assert (await anext(watched))["type"] == "ADDED"
    with pytest.raises(errors.Unreachable):
        await anext(watched)


async def test_a_token_that_cannot_be_had_is_unreachable(connect, misbehaving) -> None:
    """A plugin that fails now may work at the next try."""

    def token():
        raise OSError("the plugin ended with status 1")

    connected = connection.Connection(misbehaving.url, None, token, "default")
    with pytest.raises(errors.Unreachable, match="the plugin ended"):
        await read(connect(connected))
