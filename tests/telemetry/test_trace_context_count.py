"""Requests are counted by the trace context they bring, traced or not: what an API server sends can be read off."""

import pytest

from kymograph.telemetry import errors, logsettings, providers, settings
from support import scraped

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.mark.parametrize("spec", [{}, {"traces": {"parent": "ignore"}}])
async def test_contexts_are_counted_whatever_is_made_of_them(fake_exporter, spec) -> None:
    """Malformed ones are none."""
    telemetry = providers.Telemetry(lambda *_: ("", {}), facts={}, environ={}, make_exporter=lambda _: fake_exporter())
    await telemetry.apply(settings.from_spec(spec))
    for header in (f"{CALLER}-01", f"{CALLER}-01", f"{CALLER}-00", "", "rubbish", None):
        telemetry.begin(header, None, 0)
    lines = {line for line in scraped.text(telemetry).splitlines() if line.startswith("admission_trace_context_total{")}
    await telemetry.shutdown(1)
    found = sorted(line.partition("context=")[2] for line in lines)
    assert found == ['"none"} 3', '"sampled"} 2', '"unsampled"} 1']


def test_log_settings_are_read() -> None:
    """What is left open is nobody's decision here."""
    assert logsettings.from_spec({}) == logsettings.LogSettings()
    spec = {"level": "debug", "format": "json", "loggers": {"kopf": "error"}}
    assert settings.from_spec({"logs": spec}).logs == logsettings.LogSettings("debug", "json", {"kopf": "error"})


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"level": "loud"}, "logs.level"),
        ({"format": "xml"}, "logs.format"),
        ({"loggers": {"kopf": "loud"}}, "logs.loggers[kopf]"),
        ({"loggers": {"root": "error"}}, "logs.loggers[root]"),
        ({"loggers": {"": "error"}}, "logs.loggers[]"),
    ],
)
def test_wrong_log_settings_are_refused_with_the_field(spec, path) -> None:
    """As everything else of the configuration is."""
    with pytest.raises(errors.SettingsInvalid) as refused:
        settings.from_spec({"logs": spec})
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"OTEL_TRACES_SAMPLER": "xray"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "some"}, "OTEL_TRACES_SAMPLER_ARG"),
    ],
)
def test_a_sampler_that_there_is_not_is_refused_with_its_variable(environ, path) -> None:
    """Only where it would count: for traces that are exported."""
    with pytest.raises(errors.SettingsInvalid) as refused:
        settings.from_spec({"traces": {}}, environ)
    assert refused.value.path == path
    assert settings.from_spec({}, environ).traces is None
