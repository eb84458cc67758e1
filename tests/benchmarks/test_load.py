"""Load on the webhooks of the operator's process, posted with the API server's own client certificate.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_load.py

prints, for each mix of policies, share of traces and concurrency: answers a second, latencies, CPU of the operator's
process per review (recording, export and everything else included) and its memory; and what a server costs that does
not judge (`floor.py`), measured in the same minutes, because the ratio is what can be compared between machines.
"""

import asyncio
import collections
import dataclasses
import math
import pathlib
import subprocess
import sys

import pytest

from benchmarks import load, sink, target
from support import installed as support
from support import pods

pytestmark = [pytest.mark.benchmark, pytest.mark.cluster, pytest.mark.timeout(1800)]

CONCURRENCIES = (1, 8, 32)
SHARES = {"off": None, "1 %": 10_000, "100 %": 1_000_000}
"""Of requests that are traced, per million; None exports nothing."""

ELSEWHERE = support.policy(
    "of-configmaps",
    {"pattern": {"metadata": {"name": "?*"}}},
    match={"any": [{"resources": {"kinds": ["ConfigMap"]}}]},
)


@dataclasses.dataclass(frozen=True)
class Mix:
    """Policies, the review they judge, and how many spans a kept trace of it has."""

    policies: str
    review: dict
    spans: int

    @property
    def labels(self) -> dict[str, str]:
        request = self.review["request"]
        return {
            "resource_kind": request["kind"]["kind"],
            "resource_request_operation": request["operation"].lower(),
            "request_webhook": "ValidatingWebhookConfiguration",
        }


MIXES = {
    "nothing matches": Mix("none", pods.create(), 1),
    "1 policy, CREATE": Mix("one", pods.create(), 4),
    "17 policies, CREATE": Mix("all", pods.create(), 60),
    "17 policies, UPDATE": Mix("all", pods.update(), 60),
}


class Traced(target.Target):
    """The operator under load, which sends a share of its traces to a sink."""

    def __init__(self, operator: support.Installed, traces: sink.Sink, folder: pathlib.Path) -> None:
        super().__init__(operator, folder)
        self.traces = traces
        self.share: int | None = None

    def trace(self, share: int | None) -> None:
        """Have a share of requests traced, and wait until it is."""
        traces = {"endpoint": self.traces.endpoint, "samplingRatePerMillion": share}
        self.configure({} if share is None else {"traces": traces})
        self.share = share

    def measure(self, review: dict, concurrency: int, count: int, expected: bytes) -> tuple[load.Result, load.Used]:
        """Post a review again and again; what it took is counted until all its spans are on their way."""
        server = load.Process(self.pid)
        result = self.post(review, concurrency, count, expected, server=server)
        if self.share is not None:
            self.traces.wait_until_quiet()
        used = server.used()
        support.eventually(lambda: not self.counted("telemetry_spans_pending"))  # by a scrape, which is not measured
        return result, used


@pytest.fixture
def rounds(is_long):
    """How many requests each round sends; the round that took least CPU is the figure: disturbances only add."""
    return [1_000] * 5 if is_long else [300]


@pytest.fixture(scope="module")
def traces():
    with sink.Sink() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def traced(measured, traces, tmp_path_factory):
    with measured.operator:
        yield Traced(measured, traces, tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_load(traced, mix, pod_security, is_long, rounds, figure):
    """Every review is allowed, counted by the metrics, and traced as often as configured, whatever the load."""
    policies = {"none": [ELSEWHERE], "one": [support.NO_PRIVILEGES], "all": pod_security}[mix.policies]
    traced.enforce(policies)
    allowed = b'"uid":"%b","allowed":true' % mix.review["request"]["uid"].encode()
    traced.trace(None)
    traced.measure(mix.review, 4, 200, allowed)
    counted = traced.counted("admission_requests_total", **mix.labels)
    sent = 0
    for name, share in SHARES.items():
        traced.trace(share)
        for concurrency in CONCURRENCIES if is_long or share is None else CONCURRENCIES[1:2]:
            best = math.inf
            for count in rounds:
                traced.traces.take()
                dropped = traced.counted("telemetry_spans_dropped_total")
                result, used = traced.measure(mix.review, concurrency, count, allowed)
                sent += count
                spans = traced.traces.take()
                dropped = traced.counted("telemetry_spans_dropped_total") - dropped
                if used.cpu / count < best:
                    best = used.cpu / count
                    line = _line(result, used, f"{len(spans) / count:5.1f} spans a review, {dropped} dropped")
                assert result.failed == 0
                _check_traces(spans, dropped, share, count, mix.spans)
            figure(f"traces {name:>5}  c={concurrency:<2} {line}")
    support.eventually(lambda: traced.counted("admission_requests_total", **mix.labels) - counted == sent)


def test_denial_under_load(traced, pod_security, rounds, figure):
    """A bad Pod among the load is denied by the policy it violates, every time."""
    traced.enforce(pod_security)
    review = pods.create(uid="0b6b1a9e-5f0e-4f4f-9a54-6c7c1d1f2a03")
    review["request"]["object"]["spec"]["hostNetwork"] = True
    traced.trace(None)
    measured = [traced.measure(review, 8, count, b"own-namespaces") for count in rounds]
    result, used = min(measured, key=lambda each: each[1].cpu)
    figure(f"denied  c=8 {_line(result, used)}")
    assert all(result.failed == 0 for result, _ in measured)


@pytest.mark.parametrize("work", ["echo", "decode"])
def test_floor(work, quiet_cluster, rounds, figure):
    """What a server costs that answers without judging."""
    body = pods.encode(pods.create())
    command = [sys.executable, str(pathlib.Path(__file__).with_name("floor.py")), _certificate(quiet_cluster), work]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        port = int(process.stdout.readline())
        for concurrency in CONCURRENCIES:
            measured = []
            for count in rounds:
                server = load.Process(process.pid)
                running = load.run(port, load.request("/", body), concurrency=concurrency, count=count, server=server)
                measured.append((asyncio.run(running), server.used()))
            result, used = min(measured, key=lambda each: each[1].cpu)
            figure(f"floor {work:>6}  c={concurrency:<2} {_line(result, used)}")
            assert all(result.failed == 0 for result, _ in measured)
        process.stdin.close()


def _line(result: load.Result, used: load.Used, more: str = "") -> str:
    return f"{result}  {used.cpu / result.count * 1e6:5.0f} us CPU  {used.resident / 2**20:4.0f} MiB  {more}"


def _check_traces(spans: list, dropped: int, share: int | None, count: int, spans_each: int) -> None:
    """The traces that are kept arrived, each of them whole, and none else; what did not arrive was counted."""
    by_trace = collections.Counter(span.trace_id for span in spans)
    reviews = {span.trace_id for span in spans if span.name.startswith("admission ")}
    assert {by_trace[trace] for trace in reviews} <= {spans_each}
    if share is None:
        assert not spans
    elif share == 1_000_000:
        assert len(reviews) * spans_each + dropped == count * spans_each
    else:
        assert len(reviews) < count / 10


def _certificate(cluster) -> str:
    """A file with a certificate and its key; whose does not matter."""
    pair = cluster.directory / "floor.pem"
    pair.write_bytes(b"".join((cluster.directory / f"kube-apiserver.{part}").read_bytes() for part in ("crt", "key")))
    return str(pair)
