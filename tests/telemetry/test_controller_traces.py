"""Each controller's spans can be switched off, and sampled at a rate of their own."""

import asyncio

import pytest
from opentelemetry import trace

from kymograph.telemetry import providers, semconv, settings

SAMPLED = f"00-{7:032x}-{9:016x}-01"
PATIENCE = 30.0


@pytest.fixture
async def telemetry(fake_exporter):
    exporter = fake_exporter()
    made = providers.Telemetry(
        lambda _, subject: (str(subject), {}), facts={}, environ={}, make_exporter=lambda _: exporter
    )
    made.exporter = exporter
    yield made
    await made.shutdown(PATIENCE)


def traces(controllers, rate=0):
    return settings.from_spec({"traces": {"samplingRatePerMillion": rate, "controllers": controllers}})


async def roots(telemetry, *controllers):
    """Which controllers' roots were exported."""
    for name in controllers:
        with telemetry.tracer_for(name).start_as_current_span(name):
            pass
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    return {span.name for span in telemetry.exporter.spans}


async def test_a_controller_has_its_own_rate(telemetry):
    await telemetry.apply(traces({"background": {"samplingRatePerMillion": 1_000_000}}))
    assert await roots(telemetry, "background", "cleanup", "reports") == {"background"}


async def test_a_controller_can_be_switched_off(telemetry):
    await telemetry.apply(traces({"cleanup": {"enabled": False}}, rate=1_000_000))
    assert await roots(telemetry, "background", "cleanup") == {"background"}


async def test_a_tracer_handed_out_earlier_follows_what_is_in_force(telemetry):
    tracer = telemetry.tracer_for("reports")
    assert tracer is telemetry.tracer_for(settings.Controller.REPORTS)
    assert not tracer.start_span("before").is_recording()
    await telemetry.apply(traces({}, rate=1_000_000))
    assert tracer.start_span("on").is_recording()
    await telemetry.apply(traces({"reports": {"enabled": False}}, rate=1_000_000))
    assert not tracer.start_span("off").is_recording()


async def test_a_span_under_another_follows_it_whatever_the_rate(telemetry):
    await telemetry.apply(traces({"reports": {"samplingRatePerMillion": 0}}, rate=1_000_000))
    with telemetry.tracer_for("background").start_as_current_span("outer"):
        assert telemetry.tracer_for("reports").start_span("inner").is_recording()


async def test_spans_say_which_controller_made_them(telemetry):
    await telemetry.apply(traces({}, rate=1_000_000))
    await roots(telemetry, "cleanup")
    (span,) = telemetry.exporter.spans
    assert span.instrumentation_scope.attributes == {semconv.CONTROLLER: "cleanup"}


async def test_admission_that_is_switched_off_passes_its_callers_context_on(telemetry):
    await telemetry.apply(traces({"admission": {"enabled": False}}, rate=1_000_000))
    record = telemetry.begin(SAMPLED, None, 0)
    assert not record.recording
    assert record.headers() == {"traceparent": SAMPLED}


async def test_admissions_own_rate_is_for_requests_without_a_parent(telemetry):
    await telemetry.apply(traces({"admission": {"samplingRatePerMillion": 0}}, rate=1_000_000))
    assert not telemetry.begin(None, None, 0).recording
    assert telemetry.begin(SAMPLED, None, 0).recording
    assert telemetry.tracer.start_span("others").is_recording()


def test_a_disabled_sdk_makes_no_spans_and_no_fuss(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    made = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={}, environ={})
    assert not made.tracer_for("cleanup").start_span("nothing").is_recording()


def test_there_are_no_other_controllers():
    made = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={}, environ={})
    with pytest.raises(ValueError, match="nobody"):
        made.tracer_for("nobody")
    assert isinstance(made.tracer, trace.Tracer)
