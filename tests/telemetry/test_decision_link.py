"""The link from a denial to its trace: what a template may be, and when there is a link."""

import pytest

from kymograph.telemetry import decisionlink, errors, providers, settings

PATH = "traces.decisionLink"
JAEGER = "https://jaeger.example/trace/{trace_id}"
SAMPLED = "00-0000000000000000000000000000000a-000000000000000b-01"
UNSAMPLED = "00-0000000000000000000000000000000a-000000000000000b-00"


@pytest.mark.parametrize(
    ("template", "url"),
    [
        (JAEGER, f"https://jaeger.example/trace/{10:032x}"),
        (
            "http://localhost:16686/trace/{trace_id}?uiFind={span_id}",
            f"http://localhost:16686/trace/{10:032x}?uiFind={11:016x}",
        ),
        (
            "https://g.example/explore?left=%7B%22q%22:%22{trace_id}%22%7D",
            f"https://g.example/explore?left=%7B%22q%22:%22{10:032x}%22%7D",
        ),
        ("https://[::1]:3000/#/{span_id}/{trace_id}", f"https://[::1]:3000/#/{11:016x}/{10:032x}"),
    ],
)
def test_the_ids_take_the_places_of_their_names(template, url):
    """In lower-case hexadecimal with leading zeros, as W3C writes them; everything else stays as it is."""
    assert decisionlink.parse(template, PATH).of(10, 11) == url


@pytest.mark.parametrize(
    "template",
    [
        "https://jaeger.example/trace/{trace}",
        "https://jaeger.example/trace/{{trace_id}}",
        "https://jaeger.example/trace/",
        "https://jaeger.example/{span_id}",
        "ftp://jaeger.example/{trace_id}",
        "javascript:alert({trace_id})",
        "/trace/{trace_id}",
        "https:///{trace_id}",
        "https://[::1/{trace_id}",
        "https://user:secret@jaeger.example/{trace_id}",
        "https://jaeger.example/{trace_id}\nforged",
        "https://jaeger.example/{trace_id} or so",
        "",
    ],
)
def test_what_is_no_template_is_refused_with_its_path(template):
    with pytest.raises(errors.SettingsInvalid, match=PATH):
        settings.from_spec({"traces": {"decisionLink": template}})


@pytest.mark.parametrize(
    ("keep", "denied"), [(None, True), ({}, True), ({"errors": True}, True), ({"denied": False}, False)]
)
def test_one_line_turns_it_on(keep, denied):
    """A link that leads nowhere helps nobody: denials are kept unless that is said not to be."""
    traces = settings.from_spec({"traces": {"decisionLink": JAEGER, "keep": keep}}).traces
    assert traces.keep.denied is denied


@pytest.fixture
async def started(fake_exporter):
    """Start telemetry with these settings of traces; it stops with the test."""
    made = []

    async def start(**traces):
        telemetry = providers.Telemetry(
            lambda _, subject: (str(subject), {}), facts={}, environ={}, make_exporter=lambda _: fake_exporter()
        )
        made.append(telemetry)
        await telemetry.apply(settings.from_spec({"traces": {"endpoint": "collector:4317", **traces}}))
        return telemetry

    yield start
    for each in made:
        await each.shutdown(5)


@pytest.mark.parametrize(
    ("traces", "traceparent", "linked"),
    [
        ({"decisionLink": JAEGER}, UNSAMPLED, True),
        ({"decisionLink": JAEGER}, SAMPLED, True),
        ({"decisionLink": JAEGER, "keep": {"denied": False}}, UNSAMPLED, False),
        ({"decisionLink": JAEGER, "keep": {"denied": False}}, SAMPLED, True),
        ({"decisionLink": JAEGER, "controllers": {"admission": {"enabled": False}}}, SAMPLED, False),
        ({}, SAMPLED, False),
    ],
)
async def test_there_is_a_link_only_where_our_spans_are_kept(started, traces, traceparent, linked):
    telemetry = await started(**traces)
    record = telemetry.begin(traceparent, None, 0)
    telemetry.judge(record, 3, denied=True)
    assert telemetry.decision_link(record.decision) == (f"https://jaeger.example/trace/{10:032x}" if linked else "")
