"""Over a real wire: gRPC to a receiver made from OTLP's official stubs."""

import asyncio
import socket
import threading
import time

import grpc
import pytest
from opentelemetry.proto.trace.v1 import trace_pb2

from kymograph.telemetry import otlp, propagation, providers, settings
from kymograph.telemetry.export import Reason

PATIENCE = 20.0
PARENT = propagation.RemoteParent(0xA << 64, 0xB, sampled=True, tracestate="vendor=1")
PARENT_HEADER = propagation.render(PARENT.trace_id, PARENT.span_id, sampled=True)


@pytest.fixture
async def telemetry():
    made = providers.Telemetry(
        lambda _, subject: (f"RULE {subject}", {"kyverno.rule.name": subject}),
        facts={"service.instance.id": "i"},
        environ={},
    )
    yield made
    await made.shutdown(1.0)


def applied(endpoint, **attributes):
    traces = settings.TraceSettings(endpoint, sampling_rate_per_million=1_000_000)
    return settings.TelemetrySettings(traces=traces, resource_attributes=attributes)


def review(telemetry, name="r"):
    record = telemetry.begin(PARENT_HEADER, PARENT.tracestate, 0)
    record.begin(1, name, 10)
    record.end("error", "no such key", 20)
    record.finish("admission validate CREATE /Pod", {"admission.response.allowed": True}, 30)
    return telemetry.keep(record)


async def flushed(telemetry):
    return await asyncio.to_thread(telemetry.queue.flush, PATIENCE)


@pytest.fixture
def closed_port():
    """A loopback port that refuses connections, for as long as the test holds it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def test_recorded_and_sdk_spans_arrive_with_one_resource(telemetry, receivers):
    receiver = receivers()
    await telemetry.apply(applied(receiver.endpoint, **{"k8s.cluster.name": "prod-1"}))
    review(telemetry)
    with telemetry.tracer.start_as_current_span("background"):
        pass
    assert await flushed(telemetry)

    spans = {span.name: span for span in receiver.spans}
    assert spans.keys() == {"admission validate CREATE /Pod", "RULE r", "background"}
    server, rule = spans["admission validate CREATE /Pod"], spans["RULE r"]
    assert server.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert server.trace_id == rule.trace_id == PARENT.trace_id.to_bytes(16, "big")
    assert server.parent_span_id == PARENT.span_id.to_bytes(8, "big")
    assert server.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    assert server.trace_state == rule.trace_state == "vendor=1"
    assert rule.parent_span_id == server.span_id
    assert not rule.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    assert (rule.status.code, rule.status.message) == (trace_pb2.Status.STATUS_CODE_ERROR, "no such key")
    assert {(attribute.key, attribute.value.string_value) for attribute in rule.attributes} >= {
        ("kyverno.rule.name", "r"),
        ("kymograph.rule.result", "error"),
    }
    (resource,) = receiver.resources
    assert {"service.name": "kymograph", "service.instance.id": "i", "k8s.cluster.name": "prod-1"}.items() <= (
        resource.items()
    )
    assert telemetry.queue.status().sent == 3


async def test_a_dead_endpoint_costs_callers_nothing_and_what_waits_goes_to_a_live_one(
    telemetry, receivers, closed_port
):
    await telemetry.apply(applied(f"127.0.0.1:{closed_port}"))
    began = time.monotonic()
    for _ in range(200):
        assert review(telemetry)
    assert time.monotonic() - began < 1.0
    receiver = receivers()
    await telemetry.apply(applied(receiver.endpoint))
    assert await flushed(telemetry)
    status = telemetry.queue.status()
    assert (len(receiver.spans), status.sent, sum(status.dropped.values())) == (400, 400, 0)


async def test_a_refused_batch_is_dropped_and_counted_and_the_receivers_recovery_is_seen(telemetry, receivers):
    receiver = receivers()
    receiver.answer_with = grpc.StatusCode.PERMISSION_DENIED
    await telemetry.apply(applied(receiver.endpoint))
    review(telemetry)
    assert await flushed(telemetry)
    status = telemetry.queue.status()
    assert (status.sent, status.dropped[Reason.EXPORT_FAILED]) == (0, 2)
    assert status.last_error == "PERMISSION_DENIED: not today"
    receiver.answer_with = None
    review(telemetry)
    assert await flushed(telemetry)
    assert telemetry.queue.status().sent == 2


async def test_what_a_receiver_rejects_of_a_batch_is_counted(telemetry, receivers):
    receiver = receivers()
    receiver.reject = 1
    await telemetry.apply(applied(receiver.endpoint))
    review(telemetry)
    assert await flushed(telemetry)
    status = telemetry.queue.status()
    assert (status.sent, status.dropped[Reason.EXPORT_FAILED], status.last_error) == (1, 1, "too old")


async def test_swapping_between_live_endpoints_under_load_loses_nothing(telemetry, receivers):
    first, second = receivers(), receivers()
    await telemetry.apply(applied(first.endpoint))
    done = threading.Event()
    taken = []

    async def load():
        while not done.is_set():
            if review(telemetry, str(len(taken))):
                taken.append(str(len(taken)))
            await asyncio.sleep(0.001)

    loading = asyncio.create_task(load())
    for endpoint in (second.endpoint, first.endpoint, second.endpoint):
        await asyncio.sleep(0.2)
        await telemetry.apply(applied(endpoint))
    await asyncio.sleep(0.2)
    done.set()
    await loading
    assert await flushed(telemetry)
    arrived = [span.name for span in first.spans + second.spans if span.name.startswith("RULE")]
    assert sorted(arrived) == sorted(f"RULE {name}" for name in taken)
    assert first.spans
    assert second.spans
    assert sum(telemetry.queue.status().dropped.values()) == 0


def test_shutdown_interrupts_the_pause_between_two_attempts(closed_port):
    """Else a dead collector would hold up the end of the process for as long as the exporter retries."""
    exporter = otlp.SpanExporter(settings.TraceSettings(f"127.0.0.1:{closed_port}"))
    failed = threading.Event()

    def export():
        with pytest.raises(Exception, match="UNAVAILABLE"):
            exporter.export([])
        failed.set()

    thread = threading.Thread(target=export)
    thread.start()
    while not exporter.reason:
        assert not failed.wait(0.01)
    began = time.monotonic()
    exporter.shutdown()
    assert failed.wait(PATIENCE)
    assert time.monotonic() - began < 0.5
    thread.join()


def test_an_ipv6_endpoint_can_be_connected_to(receivers):
    exporter = otlp.SpanExporter(settings.TraceSettings("[::1]:4317"))
    assert exporter._endpoint == "[::1]:4317"
    exporter.shutdown()
