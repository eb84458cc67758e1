"""In which forms the trace is read from a request and told to those we call."""

import re

import pytest

from kymograph.telemetry import current, errors, propagation, propagators, providers, settings

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ANOTHER = "a" * 32
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
SAMPLED = propagation.RemoteParent(int(TRACE, 16), int(SPAN, 16), sampled=True)
UNSAMPLED = SAMPLED._replace(sampled=False)
PATIENCE = 30.0

Form = propagators.Propagator


def read(forms, fields, traceparent=None):
    encoded = {name.encode(): value.encode("latin-1") for name, value in fields.items()}
    return propagators.Propagators(forms).read(traceparent, None, encoded)


@pytest.mark.parametrize("form", [Form.B3, Form.B3_MULTI])
@pytest.mark.parametrize(
    ("fields", "parent"),
    [
        ({"b3": f"{TRACE}-{SPAN}-1"}, SAMPLED),
        ({"b3": f"{TRACE}-{SPAN}-d"}, SAMPLED),
        ({"b3": f"{TRACE}-{SPAN}-0"}, UNSAMPLED),
        ({"b3": f"{TRACE}-{SPAN}"}, UNSAMPLED),
        ({"b3": f"{TRACE}-{SPAN}-1-{'1' * 16}"}, SAMPLED),
        ({"b3": f"{TRACE[16:]}-{SPAN}-1"}, SAMPLED._replace(trace_id=int(TRACE[16:], 16))),
        ({"b3": "0"}, None),
        ({"b3": f"{'0' * 32}-{SPAN}-1"}, None),
        ({"b3": f"{TRACE}-{'0' * 16}-1"}, None),
        ({"b3": f"{TRACE}-{SPAN}-2"}, None),
        ({"b3": f"{TRACE.upper()}-{SPAN}-1"}, None),
        ({"b3": f"{TRACE}-{SPAN}-1\n"}, None),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "1"}, SAMPLED),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "true"}, SAMPLED),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-flags": "1"}, SAMPLED),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "0"}, UNSAMPLED),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN}, UNSAMPLED),
        ({"x-b3-traceid": TRACE, "x-b3-sampled": "1"}, None),
        ({"x-b3-traceid": "0" * 32, "x-b3-spanid": SPAN}, None),
        ({"b3": f"{TRACE}-{SPAN}-1", "x-b3-traceid": ANOTHER, "x-b3-spanid": SPAN}, SAMPLED),
        ({}, None),
    ],
)
def test_b3_is_read_in_one_field_or_in_several(form, fields, parent) -> None:
    """Either form reads both, the one field first, as OpenTelemetry has it; what is malformed is nobody."""
    assert read([form], fields).parent == parent


@pytest.mark.parametrize(
    ("forms", "trace"),
    [
        ([Form.TRACECONTEXT, Form.B3], TRACE),
        ([Form.B3, Form.TRACECONTEXT], ANOTHER),
        ([Form.TRACECONTEXT], TRACE),
        ([Form.B3_MULTI], ANOTHER),
        ([Form.BAGGAGE], None),
        ([], None),
    ],
)
def test_the_first_form_that_is_there_counts(forms, trace) -> None:
    """And of what is not configured nothing is read."""
    parent = read(forms, {"b3": f"{ANOTHER}-{SPAN}-1"}, TRACEPARENT).parent
    assert (parent and f"{parent.trace_id:032x}") == trace


def test_a_malformed_field_leaves_the_next_form() -> None:
    """As if it were not there."""
    assert read([Form.TRACECONTEXT, Form.B3], {"b3": f"{TRACE}-{SPAN}-1"}, "00-broken").parent == SAMPLED


@pytest.mark.parametrize(
    ("forms", "names"),
    [
        ([Form.TRACECONTEXT], {"traceparent", "tracestate"}),
        ([Form.BAGGAGE], {"baggage"}),
        ([Form.B3], {"b3"}),
        ([Form.B3_MULTI], {"X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled"}),
        ([Form.TRACECONTEXT, Form.B3], {"traceparent", "tracestate", "b3"}),
        ([], set()),
    ],
)
def test_those_we_call_are_told_in_every_form(forms, names) -> None:
    """And in no other."""
    written = propagators.Propagators(forms).write(7, 9, sampled=True, tracestate="a=b", baggage="k=v")
    assert set(written) == names


@pytest.mark.parametrize("form", [Form.TRACECONTEXT, Form.B3, Form.B3_MULTI])
@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_written_is_read_back(form, sampled) -> None:
    """Ids and the decision, in each form."""
    written = propagators.Propagators([form]).write(SAMPLED.trace_id, SAMPLED.span_id, sampled=sampled)
    fields = {name.lower(): value for name, value in written.items()}
    told = read([form], fields, fields.get("traceparent"))
    assert told.parent == SAMPLED._replace(sampled=sampled)


@pytest.mark.parametrize(
    ("baggage", "passed_on"),
    [
        ("userId=alice,serverNode=DF%2028;property", True),
        ("k=v\r\nAuthorization: stolen", False),
        ("k=\xe4", False),
        ("k=" + "v" * propagators.MOST_BAGGAGE, False),
        (",".join(f"k{n}=v" for n in range(propagators.MOST_MEMBERS)), True),
        (",".join(f"k{n}=v" for n in range(propagators.MOST_MEMBERS + 1)), False),
    ],
)
def test_baggage_is_passed_on_as_it_came_or_not_at_all(baggage, passed_on) -> None:
    """Within the specification's bounds, and only what a header field can hold."""
    assert read(propagators.DEFAULT, {"baggage": baggage}).baggage == (baggage if passed_on else "")
    assert read([Form.TRACECONTEXT], {"baggage": baggage}).baggage == ""


@pytest.mark.parametrize(
    ("listed", "environ", "forms"),
    [
        (None, {}, (Form.TRACECONTEXT, Form.BAGGAGE)),
        (None, {"OTEL_PROPAGATORS": "b3, tracecontext,b3"}, (Form.B3, Form.TRACECONTEXT)),
        (None, {"OTEL_PROPAGATORS": "none"}, ()),
        (["b3multi"], {"OTEL_PROPAGATORS": "b3"}, (Form.B3_MULTI,)),
        ([], {"OTEL_PROPAGATORS": "b3"}, ()),
    ],
)
def test_the_field_wins_over_the_variable(listed, environ, forms) -> None:
    """Which wins over OpenTelemetry's default."""
    assert settings.from_spec({} if listed is None else {"propagators": listed}, environ).propagated == forms


@pytest.mark.parametrize(
    ("listed", "environ", "path"),
    [(["jaeger"], {}, "propagators"), (None, {"OTEL_PROPAGATORS": "xray"}, "OTEL_PROPAGATORS")],
)
def test_a_form_that_there_is_not_is_refused(listed, environ, path) -> None:
    """With where it was asked for."""
    with pytest.raises(errors.SettingsInvalid, match="is none of") as refused:
        propagators.from_spec(listed, environ)
    assert refused.value.path == path


@pytest.fixture
async def telemetry(fake_exporter, ids):
    made = providers.Telemetry(
        lambda _, subject: (str(subject), {}), facts={}, environ={}, make_exporter=lambda _: fake_exporter(), ids=ids
    )
    yield made
    await made.shutdown(PATIENCE)


def told(telemetry, **fields):
    """What is told to somebody we call within a request that had these fields."""
    encoded = {name.encode(): value.encode() for name, value in fields.items()}
    recorder = telemetry.begin(encoded.get(b"traceparent"), None, 0, "", encoded)
    with current.serving(recorder), telemetry.client_spans.start("HTTP GET", {}) as call:
        return dict(call.headers)


async def test_a_change_applies_to_the_next_request(telemetry) -> None:
    """What the caller told in one form is told to others in another, in the same trace."""
    assert set(told(telemetry, traceparent=TRACEPARENT)) == {"traceparent"}
    await telemetry.apply(settings.from_spec({"traces": {}, "propagators": ["b3", "baggage"]}))
    headers = told(telemetry, b3=f"{TRACE}-{SPAN}-1", baggage="k=v", traceparent=f"00-{ANOTHER}-{SPAN}-01")
    assert set(headers) == {"b3", "baggage"}
    assert re.fullmatch(rf"{TRACE}-[0-9a-f]{{16}}-1", headers["b3"])
    with telemetry.client_spans.start("KUBE list pods", {}) as call:
        assert set(call.headers) <= {"b3"}, "outside of a request, too"


@pytest.mark.parametrize(("parent", "passed_on"), [("respect", True), ("link", False), ("ignore", False)])
async def test_baggage_goes_on_only_from_callers_who_are_respected(telemetry, parent, passed_on) -> None:
    """A caller that is ignored has nothing to say to others."""
    await telemetry.apply(settings.from_spec({"traces": {"parent": parent}}))
    assert ("baggage" in told(telemetry, traceparent=TRACEPARENT, baggage="k=v")) is passed_on
