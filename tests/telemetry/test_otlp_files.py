"""Telemetry for development: what would be sent is written, as OpenTelemetry's file exporter does."""

import asyncio
import json
import logging

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from kymograph.telemetry import defaults, delivery, destination, otlpfile, providers, settings
from support import waiting

PATIENCE = 30.0
PARENT = f"00-{7:032x}-{9:016x}-01"
SPEC = {
    "traces": {
        "endpoint": "collector:4317",
        "headers": [{"name": "authorization", "value": "s3cr3t"}],
        "additional": [{"name": "vendor", "endpoint": "vendor:4317"}],
    },
    "metrics": {"otlp": {"endpoint": "collector:4317", "tls": {}, "interval": "1s"}},
    "logs": {"otlp": {"endpoint": "collector:4317"}},
}


@pytest.fixture
async def telemetry():
    made = providers.Telemetry(lambda _, subject: (f"RULE {subject}", {}), facts={}, environ={})
    yield made
    await made.shutdown(PATIENCE)


def written_to(output):
    return settings.from_spec(SPEC, {}, defaults.Defaults(output=str(output)))


def review(telemetry):
    record = telemetry.begin(PARENT, None, 0)
    record.begin(1, "r", 1)
    record.end("pass", "", 2)
    record.finish("admission", {"a": 1}, 3)
    assert telemetry.keep(record)


async def line_of(path, said=""):
    def whole():
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [line for line in lines if line.endswith("\n") and said in line]

    return await asyncio.to_thread(waiting.until, f"a line in {path}", whole)


async def test_each_signal_is_written_to_its_file_and_sent_to_nobody(telemetry, tmp_path):
    """One request a line, with ids in hexadecimal, as OTLP has it in JSON."""
    wanted = written_to(tmp_path)
    assert [each.output for each in wanted.exporters] == [str(tmp_path)] * 3, "and none to an additional one"
    await telemetry.apply(wanted)
    review(telemetry)
    logging.getLogger("kymograph.test").warning("hello")
    request = json.loads((await line_of(tmp_path / "traces.jsonl"))[0])
    spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    by_name = {span["name"]: span for span in spans}
    assert by_name["admission"]["traceId"] == f"{7:032x}"
    assert by_name["admission"]["parentSpanId"] == f"{9:016x}"
    assert by_name["RULE r"]["parentSpanId"] == by_name["admission"]["spanId"]
    assert by_name["admission"]["kind"] == 2
    records = json.loads((await line_of(tmp_path / "logs.jsonl", "hello"))[0])["resourceLogs"][0]["scopeLogs"]
    (ours,) = (each for each in records if each["scope"]["name"] == "kymograph.test")  # others log when they like
    assert ours["logRecords"][0]["body"] == {"stringValue": "hello"}
    metrics = json.loads((await line_of(tmp_path / "metrics.jsonl"))[0])
    assert metrics["resourceMetrics"][0]["scopeMetrics"]


async def test_standard_output_is_a_place_to_write_to(telemetry, capfdbinary):
    """For a look in passing."""
    await telemetry.apply(written_to(destination.STANDARD_OUTPUT))
    review(telemetry)
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert any("resourceSpans" in line for line in lines)


async def test_a_file_may_be_moved_away(telemetry, tmp_path):
    """What follows is in a new one."""
    await telemetry.apply(written_to(tmp_path))
    path = tmp_path / "traces.jsonl"
    review(telemetry)
    await line_of(path)
    path.rename(tmp_path / "old.jsonl")
    review(telemetry)
    assert len(await line_of(path)) == 1


async def test_a_directory_that_is_not_there_shows_as_any_failure(telemetry, tmp_path):
    """Spans are counted as lost, with the reason."""
    await telemetry.apply(written_to(tmp_path / "missing"))
    review(telemetry)
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    assert "No such file or directory" in telemetry.queue.status().last_error


def test_a_file_is_refused_for_good(tmp_path):
    """Trying again would not help."""
    transport = otlpfile.FileTransport(str(tmp_path / "missing"), destination.Signal.TRACES)
    with pytest.raises(delivery.Refused) as refused:
        transport.attempt(b"", 1.0)
    assert not refused.value.passing


def test_what_is_written_can_be_read_back():
    """Every field that a span of ours has; bytes that are no ids stay base64."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, name="a")
    span.links.add(trace_id=b"\3" * 16, span_id=b"\4" * 8)
    span.attributes.add(key="traceId").value.string_value = "text"
    span.attributes.add(key="b").value.bytes_value = b"\xff"
    document = json.loads(otlpfile.as_json(request))
    found = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert (found["traceId"], found["links"][0]["spanId"]) == ("01" * 16, "04" * 8)
    assert found["attributes"] == [
        {"key": "traceId", "value": {"stringValue": "text"}},
        {"key": "b", "value": {"bytesValue": "/w=="}},
    ]
    for each in (found, found["links"][0]):
        for name in ("traceId", "spanId"):
            each[name] = ""
    json_format.ParseDict(document, trace_service_pb2.ExportTraceServiceRequest())
