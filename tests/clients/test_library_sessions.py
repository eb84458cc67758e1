"""A library that is given a session of ours calls the API server in spans that it knows nothing of."""

import pytest
from opentelemetry.trace import SpanKind

from kymograph.clients.kubernetes import sessions
from kymograph.telemetry import propagation

PODS = "/api/v1/namespaces/shop/pods"


@pytest.fixture
async def opened(misbehaving, spans):
    """A session, and the URL of the API server, which has a path of its own."""
    connected = misbehaving.connection("/prefix")
    async with sessions.begin(connected, spans) as session:
        yield session, connected.server


@pytest.mark.parametrize(
    ("method", "path", "name", "template"),
    [
        ("GET", PODS, "KUBE list pods", "/api/v1/namespaces/{namespace}/pods"),
        ("GET", f"{PODS}?limit=2&continue=secret", "KUBE list pods", "/api/v1/namespaces/{namespace}/pods"),
        ("GET", f"{PODS}?watch=true&resourceVersion=1", "KUBE watch pods", "/api/v1/namespaces/{namespace}/pods"),
        ("GET", f"{PODS}/web", "KUBE get pods", "/api/v1/namespaces/{namespace}/pods/{name}"),
        (
            "PATCH",
            "/apis/kyverno.io/v1/clusterpolicies/p/status",
            "KUBE patch clusterpolicies/status",
            "/apis/kyverno.io/v1/clusterpolicies/{name}/status",
        ),
        ("POST", PODS, "KUBE create pods", "/api/v1/namespaces/{namespace}/pods"),
        ("DELETE", f"{PODS}/web", "KUBE delete pods", "/api/v1/namespaces/{namespace}/pods/{name}"),
        ("GET", "/apis", "KUBE get path", None),
    ],
)
async def test_each_request_is_a_client_span(opened, misbehaving, exported, method, path, name, template):
    """Named by verb and resource; of the query nothing is told, and of the identity nothing either."""
    session, server = opened
    misbehaving.says()
    async with session.request(method, f"{server}{path}") as response:
        await response.read()
    (span,) = exported.get_finished_spans()
    (request,) = misbehaving.requests
    assert (span.name, span.kind) == (name, SpanKind.CLIENT)
    assert span.attributes["url.full"] == f"{server}{path.partition('?')[0]}"
    assert span.attributes.get("url.template") == template
    assert span.attributes["http.response.status_code"] == 200
    assert "secret" not in span.to_json()
    assert request.headers["Authorization"] == "Bearer secret"
    assert propagation.parse(request.headers["traceparent"]).span_id == span.context.span_id


async def test_who_is_not_the_api_server_is_not_told(opened, misbehaving, exported):
    """Wherever a library may be led."""
    session, server = opened
    misbehaving.says()
    elsewhere = server.replace("127.0.0.1", "localhost")
    assert elsewhere != server
    async with session.get(f"{elsewhere}{PODS}"):
        pass
    assert "traceparent" not in misbehaving.requests[0].headers
    assert exported.get_finished_spans() == ()
