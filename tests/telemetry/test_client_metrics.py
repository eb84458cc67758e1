"""Calls to other processes are counted once each, with what became of them, whether or not anything is traced."""

import itertools

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NoOpTracer

from kymograph.telemetry import cells, clientmetrics, current, instruments, metricsettings, semconv

POD = {
    semconv.KUBE_CLIENT_GROUP: "",
    semconv.KUBE_CLIENT_KIND: "Pod",
    semconv.KUBE_CLIENT_NAMESPACE: "shop",
    semconv.KUBE_CLIENT_OPERATION: "get",
}
SERVICE = {semconv.HTTP_REQUEST_METHOD: "GET", semconv.SERVER_ADDRESS: "prices.shop.svc"}
REGISTRY = {**SERVICE, semconv.SERVER_ADDRESS: "registry.example", semconv.REGISTRY_REPOSITORY: "app"}


@pytest.fixture
def registry():
    return cells.Cells(InstrumentationScope("test"), lambda: 0)


@pytest.fixture
def spans(registry):
    ticks = itertools.count(0, 250_000_000)
    counted = clientmetrics.ClientMetrics(instruments.declare(registry))
    registry.configure(metricsettings.MetricSettings(by_namespace=True))
    return current.ClientSpans(NoOpTracer(), lambda: next(ticks), counted.called)


def points(registry, name):
    """Label values and count, or value, of each series."""
    metrics = {metric.name: metric for metric in registry.read()}
    if name not in metrics:
        return {}
    found = metrics[name].data.data_points
    return {tuple(each.attributes.values()): getattr(each, "count", getattr(each, "value", None)) for each in found}


def test_a_call_to_the_api_server_is_timed_and_counted_by_its_answer_and_as_kyverno_counts(registry, spans):
    with spans.start("KUBE get pods", POD) as call:
        call.set_status(200)
    assert points(registry, "kubernetes_client_requests") == {("get", "", "Pod", "200"): 1}
    assert points(registry, "kubernetes_client_request_duration_seconds") == {("get",): 1}
    assert points(registry, "client_queries") == {("get", "kubeclient", "Pod", "shop"): 1}
    assert points(registry, "kubernetes_client_throttled") == {}
    (metric,) = (each for each in registry.read() if each.name == "kubernetes_client_request_duration_seconds")
    assert metric.data.data_points[0].sum == 0.25


def test_calls_are_timed_by_kind_and_answer_where_that_is_asked_for(registry, spans):
    """A histogram for each verb, kind and status would be two thirds of a small installation's scrape."""
    name = "kubernetes_client_request_duration_seconds"
    shown = {name: metricsettings.Exposure(drop_labels=frozenset({"resource_group"}))}
    registry.configure(metricsettings.MetricSettings(exposure=shown))
    with spans.start("KUBE get pods", POD) as call:
        call.set_status(200)
    assert points(registry, name) == {("get", "Pod", "200"): 1}


def test_a_call_that_is_about_no_resource_is_discovery_as_with_kyverno(registry, spans):
    with spans.start(
        "KUBE get /apis", {**POD, semconv.KUBE_CLIENT_KIND: "", semconv.KUBE_CLIENT_NAMESPACE: ""}
    ) as call:
        call.set_status(200)
    assert points(registry, "client_queries") == {("get", "kubeclient", "Discovery", ""): 1}


def test_calls_that_are_sent_away_are_counted_apart(registry, spans):
    for _ in range(2):
        with spans.start("KUBE get pods", POD) as call:
            call.set_status(429)
    assert points(registry, "kubernetes_client_throttled") == {("get", "Pod"): 2}


def test_a_call_without_an_answer_has_its_failure_for_a_status(registry, spans):
    with pytest.raises(ConnectionResetError), spans.start("KUBE get pods", POD):
        raise ConnectionResetError("cut")
    assert points(registry, "kubernetes_client_requests") == {("get", "", "Pod", "ConnectionResetError"): 1}


def test_looks_that_make_no_spans_are_calls_all_the_same(registry, spans):
    with current.untraced(), spans.start("KUBE get pods", POD) as call:
        call.set_status(404)
    assert points(registry, "kubernetes_client_requests") == {("get", "", "Pod", "404"): 1}


@pytest.mark.parametrize(
    ("attributes", "name"),
    [(SERVICE, "http_client_request_duration_seconds"), (REGISTRY, "registry_client_request_duration_seconds")],
)
def test_services_and_registries_are_timed_by_host(registry, spans, attributes, name):
    with spans.start("GET", attributes) as call:
        call.set_status(503)
    assert points(registry, name) == {("GET", attributes[semconv.SERVER_ADDRESS], "503"): 1}
    assert points(registry, "client_queries") == {}


@pytest.mark.parametrize(
    ("group", "client"),
    [
        ("", "kubeclient"),
        ("apps", "kubeclient"),
        ("rbac.authorization.k8s.io", "kubeclient"),
        ("kyverno.io", "kyverno"),
        ("reports.kyverno.io", "kyverno"),
        ("notkyverno.io", "dynamic"),
        ("example.com", "dynamic"),
    ],
)
def test_the_client_type_is_that_of_the_group(registry, spans, group, client):
    with spans.start("KUBE get", {**POD, semconv.KUBE_CLIENT_GROUP: group}) as call:
        call.set_status(200)
    assert points(registry, "client_queries") == {("get", client, "Pod", "shop"): 1}
