"""A trace is drawn as a tree, whatever it is made of. Golden texts are beside this file."""

import pathlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.objecttrace import spans, tree

TRACE = "0af7651916cd43dd8448eb211c80319c"
EPOCH = 1_700_000_000_000_000_000


def span(number, parent=0, *, at=0.0, took=1.0, trace_id=TRACE, service="apiserver", **fields):
    """A span by numbers: its own, its parent's (0 for none), its start and duration in milliseconds."""
    start = EPOCH + round(at * 1e6)
    return spans.Span(
        trace_id=trace_id,
        span_id=format(number, "016x"),
        parent_id=format(parent, "016x") if parent else "",
        start=start,
        end=start + round(took * 1e6),
        resource={"service.name": service} if service else {},
        **{"name": f"span {number}"} | fields,
    )


ADMISSION = [
    span(1, at=0, took=12.4, name="POST /api/v1/namespaces/{:namespace}/pods", kind="server",
         attributes={"audit-id": "1f0c", "http.request.method": "POST", "http.response.status_code": 403, "noise": 1}),
    span(2, 1, at=0.9, took=11.2, name="Create", events=(spans.Event("About to store", EPOCH + 1_000_000, {}),)),
    span(3, 2, at=1.5, took=6.2, name="Call validating webhook"),
    span(4, 3, at=2.1, took=4.8, name="admission validate CREATE v1/Pod", service="kymograph",
         attributes={"admission.response.allowed": False}),
    span(5, 4, at=2.2, took=0.05, name="POLICY require-labels", service="kymograph",
         attributes={"kymograph.rule.result": "fail"}),
    span(6, 4, at=2.3, took=2.5, name="REGISTRY GET manifest", service="kymograph", status="error",
         message="no such host", links=(spans.Link("b" * 32, "c" * 16, {}),)),
    span(7, 2, at=8.0, took=3.9, name="etcdserverpb.KV/Txn", status="ok"),
]  # fmt: skip
CASES = {
    "admission": (ADMISSION, {}),
    "admission-events": (ADMISSION, {"events": True, "attributes": {"noise"}}),
    "admission-colour": (ADMISSION, {"colour": True}),
    "orphans": ([span(1, at=5), span(2, 99, at=0), span(3, 2, at=1), span(4, 98, at=2)], {}),
    "cycles": ([span(1, 2, at=3), span(2, 1, at=2), span(3, 2, at=0), span(4, 4, at=1), span(5, at=9)], {}),
    "traces": ([span(1, trace_id="f" * 32, at=4000), span(1, service=""), span(2, 1, at=0.4, took=-0.1)], {}),
    "hostile": ([span(1, name="a\n\x1b[2Jb\u202e", service="x" * 100, attributes={"url.path": "/\t" + "y" * 200})], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_draws_as_the_golden_text(case):
    """Spans may come in any order."""
    drawn, how = CASES[case]
    golden = pathlib.Path(__file__).with_name(f"{case}.tree").read_text(encoding="utf-8")
    shuffled = random.Random(case).sample(drawn, len(drawn))
    assert tree.render(shuffled, **how) == golden


def test_of_nothing_nothing_is_drawn():
    assert tree.render([]) == ""


def test_a_long_chain_is_drawn_without_end_of_stack_or_paper():
    chain = [span(number, number - 1, at=number) for number in range(1, 5001)]
    lines = tree.render(chain).splitlines()
    assert len(lines) == 5002
    assert max(map(len, lines)) < 300
    assert lines[-1].endswith("span 5000  (depth 4999)")


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 9), st.integers(0, 3)), max_size=12))
def test_every_span_is_drawn_once(edges):
    """Whatever the parents: a forest, orphans, cycles, tails of cycles."""
    drawn = {number: span(number, parent, at=at) for number, parent, at in edges}
    text = tree.render(drawn.values())
    for number in drawn:
        assert sum(line.rstrip().split("  (")[0].endswith(f"span {number}") for line in text.splitlines()) == 1
