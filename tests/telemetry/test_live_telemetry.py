"""One telemetry object for the process, changed while it runs."""

import asyncio
import itertools
import os
import pathlib
import subprocess
import sys
import threading

import pytest
from opentelemetry import metrics, trace

from kymograph.telemetry import destination, errors, propagation, providers, settings
from support import scraped

ALL = settings.TraceSettings("collector:4317", sampling_rate_per_million=1_000_000)
PARENT = f"00-{7:032x}-{9:016x}-01"
PATIENCE = 30.0
SOURCES = str(pathlib.Path(providers.__file__).parents[2])


class Factory:
    """Makes fake exporters, and remembers for what and in which thread."""

    def __init__(self, fake_exporter):
        self.made = []
        self.threads = []
        self.fail = False
        self._fake_exporter = fake_exporter

    def __call__(self, to):
        self.threads.append(threading.get_ident())
        if self.fail:
            raise ValueError("bad certificate")
        self.made.append((to, self._fake_exporter()))
        return self.made[-1][1]


@pytest.fixture
def factory(fake_exporter):
    return Factory(fake_exporter)


@pytest.fixture
async def telemetry(factory, ids):
    ticks = itertools.count(1_000)
    made = providers.Telemetry(
        lambda _, subject: (f"RULE {subject}", {}),
        facts={"service.version": "1"},
        environ={"OTEL_BSP_SCHEDULE_DELAY": "3600000"},  # nothing leaves before it is asked for
        make_exporter=factory,
        ids=ids,
        clock=lambda: next(ticks),
        wall_clock=lambda: 1_000_000,
    )
    yield made
    await made.shutdown(PATIENCE)


def applied(traces=ALL, **attributes):
    return settings.TelemetrySettings(traces=traces, resource_attributes=attributes)


def review(telemetry, traceparent=PARENT):
    record = telemetry.begin(traceparent, None, 0)
    if record.recording:
        record.begin(1, "r", 1)
        record.end("pass", "", 2)
        record.finish("admission", {}, 3)
    return record


async def delivered(telemetry):
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)


async def test_until_traces_are_configured_no_span_is_made_and_the_callers_header_is_passed_on(telemetry, factory):
    record = review(telemetry)
    with telemetry.tracer.start_as_current_span("background") as span:
        assert not span.is_recording()
    assert not record.recording
    assert not telemetry.keep(record)
    assert record.traceparent == PARENT
    assert factory.made == []


async def test_recorded_and_sdk_spans_leave_by_the_same_queue(telemetry, factory):
    await telemetry.apply(applied())
    assert telemetry.keep(review(telemetry))
    with telemetry.tracer.start_as_current_span("background"):
        pass
    await delivered(telemetry)
    ((to, exporter),) = factory.made
    assert to == destination.Destination("collector:4317")
    assert factory.threads != [threading.get_ident()]
    assert sorted(span.name for span in exporter.spans) == ["RULE r", "admission", "background"]
    assert len({span.instrumentation_scope for span in exporter.spans}) == 1


async def test_the_server_span_starts_when_the_request_arrived(telemetry):
    """40 ns before the only look at the wall clock: the fixture's monotonic clock then says 1,000."""
    await telemetry.apply(applied())
    assert telemetry.begin(PARENT, None, 960).wall_ns == 1_000_000 - 40


async def test_another_endpoint_is_another_exporter_and_what_waits_goes_there(telemetry, factory):
    await telemetry.apply(applied())
    telemetry.keep(review(telemetry))
    await telemetry.apply(applied(settings.TraceSettings("other:4317")))
    await delivered(telemetry)
    (_, old), (_, new) = factory.made
    assert len(old.spans) + len(new.spans) == 2
    assert await asyncio.to_thread(old.stopped.wait, PATIENCE)


async def test_what_does_not_concern_the_exporter_leaves_it_alone(telemetry, factory):
    await telemetry.apply(applied())
    await telemetry.apply(applied(settings.TraceSettings("collector:4317", sampling_rate_per_million=0), team="x"))
    assert len(factory.made) == 1
    assert not review(telemetry, traceparent=None).recording
    assert review(telemetry).recording


async def test_a_changed_resource_is_on_spans_and_metrics_from_then_on(telemetry, factory):
    await telemetry.apply(applied(**{"k8s.cluster.name": "a"}))
    telemetry.keep(review(telemetry))
    await telemetry.apply(applied(**{"k8s.cluster.name": "b"}))
    with telemetry.tracer.start_as_current_span("background"):
        pass
    await delivered(telemetry)
    ((_, exporter),) = factory.made
    assert {span.resource.attributes["k8s.cluster.name"] for span in exporter.spans} == {"b"}
    assert len({id(span.resource) for span in exporter.spans}) == 1
    text = scraped.text(telemetry)
    assert 'k8s_cluster_name="b"' in text
    assert 'service_version="1"' in text


async def test_traces_taken_away_stop_spans_and_let_the_exporter_go(telemetry, factory):
    await telemetry.apply(applied())
    await telemetry.apply(applied(None))
    assert not telemetry.queue.enabled
    assert not review(telemetry).recording
    assert await asyncio.to_thread(factory.made[0][1].stopped.wait, PATIENCE)


async def test_settings_without_a_working_exporter_change_nothing(telemetry, factory):
    await telemetry.apply(applied())
    factory.fail = True
    with pytest.raises(errors.ExporterInvalid, match=r"other:4317.*bad certificate"):
        await telemetry.apply(applied(settings.TraceSettings("other:4317"), team="x"))
    assert telemetry.in_force == applied()
    telemetry.keep(review(telemetry))
    await delivered(telemetry)
    assert len(factory.made[0][1].spans) == 2


async def test_a_span_under_a_request_of_another_process_follows_it(telemetry, factory):
    await telemetry.apply(applied(settings.TraceSettings("collector:4317", sampling_rate_per_million=0)))
    parent = propagation.parse(PARENT)
    context = trace.set_span_in_context(
        trace.NonRecordingSpan(
            trace.SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
        )
    )
    with telemetry.tracer.start_as_current_span("continued", context):
        pass
    with telemetry.tracer.start_as_current_span("root"):
        pass
    await delivered(telemetry)
    assert [span.name for span in factory.made[0][1].spans] == ["continued"]


async def test_nothing_of_it_is_global(telemetry):
    assert trace.get_tracer_provider() is not telemetry.tracer_provider
    assert metrics.get_meter_provider() is not telemetry.meter_provider


async def test_shutdown_delivers_what_waits(factory):
    made = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={}, environ={}, make_exporter=factory)
    await made.apply(applied())
    made.keep(review(made))
    await made.shutdown(PATIENCE)
    assert len(factory.made[0][1].spans) == 2
    assert factory.made[0][1].stopped.is_set()
    assert not made.keep(review(made))


@pytest.mark.parametrize("and_then", ["", "kymograph.telemetry.otlp.SpanExporter(to, None)"], ids=["nothing", "http"])
def test_grpc_is_loaded_only_with_an_exporter_that_speaks_it(and_then):
    """Half a second of a start that exports nothing, or by HTTP."""
    program = f"""if True:
        import sys
        import kymograph.telemetry.providers
        import kymograph.telemetry.otlp
        from kymograph.telemetry import destination
        to = destination.Destination("localhost:4318", destination.Protocol.HTTP, plaintext=True)
        {and_then}
        sys.exit("grpc" in sys.modules or "requests" in sys.modules)
    """
    finished = subprocess.run([sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": SOURCES})
    assert finished.returncode == 0


def test_a_variable_that_the_sdk_would_read_by_itself_ends_nothing(monkeypatch):
    """One that cannot be used is a condition of the resource, and no reason not to start."""
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes")
    made = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={}, environ={})
    assert "target_info" in scraped.text(made)
    made.meter_provider.shutdown()
