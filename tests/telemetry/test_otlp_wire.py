"""Over a real wire, by gRPC and HTTP, to receivers made from OTLP's official messages."""

import asyncio
import socket
import threading
import time

import pytest
from opentelemetry.proto.trace.v1 import trace_pb2

from kymograph.telemetry import delivery, destination, errors, otlp, propagation, providers, settings
from kymograph.telemetry.export import Reason
from support import receivers as fakes

PATIENCE = 30.0
PARENT = propagation.RemoteParent(0xA << 64, 0xB, sampled=True, tracestate="vendor=1")
PARENT_HEADER = propagation.render(PARENT.trace_id, PARENT.span_id, sampled=True)


@pytest.fixture
async def telemetry():
    made = providers.Telemetry(
        lambda _, subject: (f"RULE {subject}", {"kyverno.rule.name": subject}),
        facts={"service.instance.id": "i"},
        environ={"OTEL_BSP_SCHEDULE_DELAY": "50"},
    )
    yield made
    await made.shutdown(1.0)


@pytest.fixture(params=fakes.PROTOCOLS)
def protocol(request):
    return destination.Protocol(request.param)


def applied(endpoint, protocol, **attributes):
    traces = settings.TraceSettings(
        endpoint, protocol=protocol, sampling_rate_per_million=1_000_000, timeout=4 * PATIENCE
    )
    return settings.TelemetrySettings(traces=traces, resource_attributes=attributes)


def review(telemetry, name="r"):
    record = telemetry.begin(PARENT_HEADER, PARENT.tracestate, 0)
    record.begin(1, name, 10)
    record.end("error", "no such key", 20)
    record.finish("admission validate CREATE /Pod", {"admission.response.allowed": True}, 30)
    return telemetry.keep(record)


async def flushed(telemetry):
    return await asyncio.to_thread(telemetry.queue.flush, PATIENCE)


async def test_recorded_and_sdk_spans_arrive_with_one_resource(telemetry, receivers, protocol):
    receiver = receivers(protocol)
    await telemetry.apply(applied(receiver.endpoint, protocol, **{"k8s.cluster.name": "prod-1"}))
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
    telemetry, receivers, port, protocol
):
    await telemetry.apply(applied(f"127.0.0.1:{port}", protocol))
    began = time.monotonic()
    for _ in range(200):
        assert review(telemetry)
    assert time.monotonic() - began < PATIENCE, "a batch may take four times as long, and there are many reviews"
    receiver = receivers(protocol)
    await telemetry.apply(applied(receiver.endpoint, protocol))
    assert await flushed(telemetry)
    status = telemetry.queue.status()
    assert (len(receiver.spans), status.sent, sum(status.dropped.values())) == (400, 400, 0)


async def test_a_refused_batch_is_dropped_and_counted_and_the_receivers_recovery_is_seen(
    telemetry, receivers, protocol
):
    receiver = receivers(protocol)
    receiver.refuse = fakes.FORBIDDEN
    await telemetry.apply(applied(receiver.endpoint, protocol))
    review(telemetry)
    assert await flushed(telemetry)
    status = telemetry.queue.status()
    assert (status.sent, status.dropped[Reason.EXPORT_FAILED]) == (0, 2)
    assert status.last_error in {"PERMISSION_DENIED: not today", "HTTP 403: not today"}
    assert len(receiver.headers) == 1, "what is refused for good is not tried again"
    receiver.refuse = None
    review(telemetry)
    assert await flushed(telemetry)
    assert telemetry.queue.status().sent == 2


async def test_what_a_receiver_rejects_of_a_batch_is_counted(telemetry, receivers, protocol):
    receiver = receivers(protocol)
    receiver.reject, receiver.words = 1, "too old"
    await telemetry.apply(applied(receiver.endpoint, protocol))
    review(telemetry)
    assert await flushed(telemetry)
    status = telemetry.queue.status()
    assert (status.sent, status.dropped[Reason.EXPORT_FAILED], status.last_error) == (1, 1, "too old")


async def test_swapping_between_live_endpoints_under_load_loses_nothing(telemetry, receivers, protocol):
    first, second = receivers(protocol), receivers(protocol)
    await telemetry.apply(applied(first.endpoint, protocol))
    done = threading.Event()
    taken = []

    async def load():
        while not done.is_set():
            if review(telemetry, str(len(taken))):
                taken.append(str(len(taken)))
            await asyncio.sleep(0.001)

    async def reached(receiver, before):
        while len(receiver.requests) == before:  # noqa: ASYNC110 - it receives in threads of its own
            await asyncio.sleep(0.001)

    telemetry.queue._grace = PATIENCE  # a receiver that is slow has time: what it got is not sent to the next as well
    loading = asyncio.create_task(load())
    async with asyncio.timeout(PATIENCE):
        await reached(first, 0)
        for receiver in (second, first, second):
            before = len(receiver.requests)
            await telemetry.apply(applied(receiver.endpoint, protocol))
            await reached(receiver, before)
    done.set()
    await loading
    assert await flushed(telemetry)
    arrived = [span.name for span in first.spans + second.spans if span.name.startswith("RULE")]
    assert sorted(arrived) == sorted(f"RULE {name}" for name in taken)
    assert first.spans
    assert second.spans
    assert sum(telemetry.queue.status().dropped.values()) == 0


def test_shutdown_interrupts_the_pause_between_two_attempts(protocol, raw_server, monkeypatch):
    """Else a dead collector would hold up the end of the process for as long as the exporter retries."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 4 * PATIENCE)
    resetting = raw_server(fakes.reset)
    to = destination.Destination(resetting.endpoint, protocol, plaintext=True, timeout=8 * PATIENCE)
    exporter = otlp.SpanExporter(to, fakes.ORIGIN)
    failed = threading.Event()

    def export():
        with pytest.raises(errors.ExportFailed):
            exporter.export([])
        failed.set()

    thread = threading.Thread(target=export)
    thread.start()
    while not resetting.connections:
        assert not failed.wait(0.01)
    exporter.shutdown()
    assert failed.wait(PATIENCE)
    thread.join()


def test_an_ipv6_endpoint_can_be_connected_to(protocol):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        endpoint = f"[::1]:{listener.getsockname()[1]}"
        to = destination.Destination(endpoint, protocol, plaintext=True, timeout=PATIENCE)
        exporter = otlp.SpanExporter(to, fakes.ORIGIN)

        def export():
            with pytest.raises(errors.ExportFailed):
                exporter.export([])

        thread = threading.Thread(target=export)
        thread.start()
        listener.accept()[0].close()
        exporter.shutdown()
        thread.join()


@pytest.mark.usefixtures("one_try")
def test_http_exports_share_a_connection_and_survive_its_end(receivers):
    """A receiver may close a connection that is idle whenever it likes: that is no failure, and no pause."""
    receiver = receivers(fakes.HTTP)
    protocol = destination.Protocol.HTTP
    to = destination.Destination(receiver.endpoint, protocol, plaintext=True, path="/tenant/v1/traces")
    exporter = otlp.SpanExporter(to, fakes.ORIGIN)
    exporter.export([])
    exporter.export([])
    assert receiver.connections == 1
    receiver._server.close_connections()
    exporter.export([])
    assert receiver.connections == 2
    assert receiver.paths == ["/tenant/v1/traces"] * 3
    exporter.shutdown()


def test_headers_and_compression_are_sent(receivers, protocol):
    receiver = receivers(protocol)
    to = destination.Destination(
        receiver.endpoint,
        protocol,
        plaintext=True,
        gzip=True,
        headers=(("authorization", "Bearer t"), ("x-scope", "a")),
    )
    exporter = otlp.SpanExporter(to, fakes.ORIGIN)
    exporter.export([])
    exporter.shutdown()
    assert {"authorization": "Bearer t", "x-scope": "a"}.items() <= receiver.headers[0].items()
    assert len(receiver.requests) == 1


def test_a_redirect_is_refused(raw_server):
    """What is in a header goes to the endpoint and nowhere else."""
    elsewhere = raw_server(fakes.silence)

    def redirect(connection):
        connection.recv(65_536)
        lines = ("HTTP/1.1 307 Elsewhere", f"Location: http://{elsewhere.endpoint}/", "Content-Length: 0", "", "")
        connection.sendall("\r\n".join(lines).encode())

    to = destination.Destination(raw_server(redirect).endpoint, destination.Protocol.HTTP, plaintext=True)
    exporter = otlp.SpanExporter(to, fakes.ORIGIN)
    with pytest.raises(errors.ExportFailed, match="HTTP 307: Elsewhere"):
        exporter.export([])
    assert elsewhere.connections == 0
    exporter.shutdown()
