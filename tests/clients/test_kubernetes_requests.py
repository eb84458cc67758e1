"""Calls of the API server whose paths policies write: any JSON comes back, within limits, from the path as written."""

import gzip

import pytest
from aiohttp import web

from kymograph.clients.kubernetes import errors, paths

LIMIT = 1_000


async def test_any_json_comes_back(connect, misbehaving) -> None:
    """Not only objects."""
    client = connect(misbehaving.connection("/prefix"))
    for text, value in (("[1]", [1]), ("null", None), ('"a"', "a"), ("{}", {})):
        misbehaving.says(text=text)
        assert await client.request("/version", limit=LIMIT) == value
    assert misbehaving.requests[0].path == "/prefix/version"


async def test_json_is_posted(connect, misbehaving) -> None:
    """With the operator's identity, as every call."""
    misbehaving.says()
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    await connect(misbehaving.connection()).request(path, limit=LIMIT, method="POST", body=b'{"a":1}')
    (request,) = misbehaving.requests
    assert (request.method, request.headers["Content-Type"]) == ("POST", "application/json")
    assert request.headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/api/v1/pods?labelSelector=app=web,tier!=db", "/api/v1/pods?labelSelector=app=web,tier!=db"),
        ("/api/v1/pods?labelSelector=app in (a, b)", "/api/v1/pods?labelSelector=app+in+(a,+b)"),
        ("/api/v1/pods?labelSelector=a%3Db", "/api/v1/pods?labelSelector=a%3Db"),
        ("/api/v1/namespaces/shop/services/web%3A80/status", "/api/v1/namespaces/shop/services/web:80/status"),
        ("/api/v1/pods?", "/api/v1/pods"),
    ],
)
async def test_a_path_is_sent_as_it_was_written(connect, misbehaving, written, sent) -> None:
    """Characters that URLs do not have are quoted."""
    misbehaving.says()
    await connect(misbehaving.connection()).request(written, limit=LIMIT)
    arrived = misbehaving.requests[0].rel_url
    expected = type(arrived)(sent.replace("+", "%20"), encoded=True)
    assert (arrived.path, dict(arrived.query)) == (expected.path, dict(expected.query))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "api/v1/pods",
        "//evil.example/api",
        "http://evil.example/api",
        "/api/v1/../../secrets",
        "/api/v1/namespaces/./secrets",
        "/api/v1/namespaces/shop/%2e%2e/bank/secrets",
        "/api/v1/namespaces/shop%2f..%2fbank/secrets",
        "/api/v1/pods#fragment",
        "/api/v1/pods HTTP/1.1\r\nX-Mine: yes",
        "/api/v1/pods\n",
    ],
)
async def test_a_path_that_means_another_one_is_refused(connect, misbehaving, path) -> None:
    """Whoever confined it looked at what is sent."""
    misbehaving.says()
    with pytest.raises(errors.PathInvalid):
        await connect(misbehaving.connection()).request(path, limit=LIMIT)
    assert not misbehaving.requests


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_a_large_answer_is_given_up(connect, misbehaving, encoding) -> None:
    """Counted after it was unpacked."""
    content = b'"' + b"x" * 1_000_000 + b'"'

    async def answer(_request):
        body = gzip.compress(content) if encoding else content
        return web.Response(body=body, headers={"Content-Encoding": encoding} if encoding else {})

    misbehaving.answer = answer
    with pytest.raises(errors.AnswerTooLarge, match=f"max allowed response length of {LIMIT}"):
        await connect(misbehaving.connection()).request("/version", limit=LIMIT)


async def test_what_is_no_json_is_invalid(connect, misbehaving) -> None:
    """Logs of a Pod, for example."""
    misbehaving.says(text="a line of a log")
    with pytest.raises(errors.AnswerInvalid, match="no JSON"):
        await connect(misbehaving.connection()).request("/logs", limit=LIMIT)


async def test_an_error_status_keeps_its_message(connect, misbehaving) -> None:
    """The rule's error says it."""
    misbehaving.says(403, '{"reason": "Forbidden", "message": "secrets is forbidden"}')
    with pytest.raises(errors.Forbidden) as error:
        await connect(misbehaving.connection()).request("/api/v1/secrets", limit=LIMIT)
    assert error.value.message == "secrets is forbidden"


@pytest.mark.parametrize(
    ("path", "target", "span"),
    [
        ("/api/v1/pods", ("", "pods", "", ""), "KUBE list pods"),
        ("/api/v1/namespaces", ("", "namespaces", "", ""), "KUBE list namespaces"),
        ("/api/v1/namespaces/shop", ("", "namespaces", "", "shop"), "KUBE get namespaces"),
        ("/api/v1/namespaces/shop/pods", ("", "pods", "shop", ""), "KUBE list pods"),
        ("/api/v1/namespaces/shop/pods/web?a=b", ("", "pods", "shop", "web"), "KUBE get pods"),
        ("/api/v1/namespaces/shop/pods/web/status", ("", "pods/status", "shop", "web"), "KUBE get pods/status"),
        ("/apis/apps/v1/deployments/", ("apps", "deployments", "", ""), "KUBE list deployments"),
        (
            "/apis/apps/v1/namespaces/shop/deployments/web",
            ("apps", "deployments", "shop", "web"),
            "KUBE get deployments",
        ),
        ("/apis/apps/v1", ("", "", "", ""), "KUBE list path"),
        ("/version", ("", "", "", ""), "KUBE list path"),
        ("/", ("", "", "", ""), "KUBE list path"),
    ],
)
async def test_the_span_is_named_by_the_resource(connect, misbehaving, exported, path, target, span) -> None:
    """Names stay few whatever policies call."""
    _, found = paths.read(path)
    assert (found.group, found.plural, found.namespace, found.name) == target
    misbehaving.says()
    await connect(misbehaving.connection()).request(path, limit=LIMIT)
    assert exported.names() == [span]
    (made,) = exported.get_finished_spans()
    assert (made.attributes["kube.client.namespace"], made.attributes["kube.client.kind"]) == (target[2], target[1])


async def test_the_real_api_server_is_called(client, namespace) -> None:
    """A list with a selector, and a review that is posted."""
    listed = await client.request(
        f"/api/v1/namespaces/{namespace}/configmaps?fieldSelector=metadata.name=kube-root-ca.crt", limit=1_000_000
    )
    assert listed["kind"] == "ConfigMapList"
    review = (
        b'{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{}}}'
    )
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = await client.request(path, limit=LIMIT * 10, method="POST", body=review)
    assert answer["status"]["allowed"] is True
