"""W3C Trace Context headers: what is a parent and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.telemetry import propagation

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
        (f"cc-{TRACE}-{SPAN}-01-", True),
        (f"00-{TRACE}-{SPAN}-01".encode(), True),
    ],
)
def test_a_well_formed_header_is_a_parent(header, sampled):
    assert propagation.parse(header) == propagation.RemoteParent(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        b"",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"01-{TRACE}-{SPAN}-01x",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"0\u0660-{TRACE}-{SPAN}-01",
        b"\xff\xfe" + f"00-{TRACE}-{SPAN}-01".encode(),
    ],
)
def test_a_malformed_header_is_no_parent(header):
    assert propagation.parse(header) is None


@given(st.text() | st.binary(), st.text() | st.binary() | st.none())
def test_no_header_raises(traceparent, tracestate):
    parent = propagation.parse(traceparent, tracestate)
    assert parent is None or (parent.trace_id and parent.span_id)


@given(
    st.integers(1, (1 << 128) - 1),
    st.integers(1, (1 << 64) - 1),
    st.booleans(),
    st.sampled_from([str, str.encode]),
)
def test_what_is_written_is_read_back(trace_id, span_id, sampled, encode):
    header = propagation.render(trace_id, span_id, sampled=sampled)
    assert len(header) == 55
    assert propagation.parse(encode(header)) == propagation.RemoteParent(trace_id, span_id, sampled)


@pytest.mark.parametrize("flags", ["00", "01", "02", "03", "ff"])
def test_only_the_sampled_flag_is_passed_on(flags):
    """Receivers of version 00 exist that refuse a header with flags they do not know."""
    parent = propagation.parse(f"00-{TRACE}-{SPAN}-{flags}")
    assert propagation.render(parent.trace_id, parent.span_id, sampled=parent.sampled)[-2:] in {"00", "01"}


@pytest.mark.parametrize(
    ("tracestate", "kept"),
    [
        ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", True),
        ("tenant@vendor=1", True),
        ("a=1, b=2 ,,c=3", True),
        (b"congo=t61rcWkgMzE", True),
        ("", False),
        ("no-value", False),
        ("UPPER=1", False),
        ("a=1\r\nset-cookie: x", False),
        ("a=" + "x" * 600, False),
        (",".join(f"k{n}=1" for n in range(33)), False),
        (b"a=\xff", False),
    ],
)
def test_tracestate_is_kept_as_it_came_or_not_at_all(tracestate, kept):
    parent = propagation.parse(f"00-{TRACE}-{SPAN}-01", tracestate)
    text = tracestate.decode("latin-1") if isinstance(tracestate, bytes) else tracestate
    assert parent.tracestate == (text if kept else "")


def test_headers_for_a_call_carry_tracestate_only_if_there_is_one():
    assert propagation.headers(1, 2, sampled=True) == {"traceparent": f"00-{1:032x}-{2:016x}-01"}
    assert propagation.headers(1, 2, sampled=False, tracestate="a=1")["tracestate"] == "a=1"
