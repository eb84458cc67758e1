"""Load on the webhooks of the operator's process, posted with the API server's own client certificate.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_load.py

prints, for each mix of policies, share of traces and concurrency: answers a second, latencies, CPU of the operator's
process per review (recording, export and everything else included) and its memory; and what a server costs that does
not judge (`floor.py`), measured in the same minutes, because the ratio is what can be compared between machines.
"""

import asyncio
import base64
import collections
import dataclasses
import json
import math
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.request

import pytest

from benchmarks import load, sink
from kymograph.controllers.admission import webhooks
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
        return {"resource_namespace": request["namespace"], "resource_request_operation": request["operation"].lower()}


MIXES = {
    "nothing matches": Mix("none", pods.create(), 1),
    "1 policy, CREATE": Mix("one", pods.create(), 4),
    "17 policies, CREATE": Mix("all", pods.create(), 60),
    "17 policies, UPDATE": Mix("all", pods.update(), 60),
}


class Target:
    """The operator under load."""

    def __init__(self, operator: support.Installed, traces: sink.Sink, folder: pathlib.Path) -> None:
        self.operator = operator
        self.traces = traces
        self.pid = operator.operator.process.pid
        self.context = _as_api_server(operator, folder)
        self.share: int | None = None

    def trace(self, share: int | None) -> None:
        """Have a share of requests traced, and wait until it is."""
        spec = {} if share is None else {"traces": {"endpoint": self.traces.endpoint, "samplingRatePerMillion": share}}
        self.operator.configure(spec)
        generation = self.operator.get("tracingconfigurations", "default")["metadata"]["generation"]
        support.eventually(
            lambda: (
                self.operator.conditions("tracingconfigurations", "default")
                .get("Accepted", {})
                .get("observedGeneration")
                == generation
            )
        )
        self.share = share

    def post(self, review: dict, concurrency: int, count: int, expected: bytes) -> tuple[load.Result, load.Used]:
        """Post a review again and again; what it took is counted until all its spans are on their way."""
        server = load.Process(self.pid)
        request = load.request(f"{webhooks.FAIL_PATH}?timeout=10s", pods.encode(review))
        port = self.operator.operator.webhook_port
        result = asyncio.run(
            load.run(
                port,
                request,
                concurrency=concurrency,
                count=count,
                context=self.context,
                expected=expected,
                server=server,
            )
        )
        if self.share is not None:
            self._wait_for_export()
        return result, server.used()

    def counted(self, metric: str, **labels: str) -> int:
        """What a scrape says of a counter, summed over all its series with some labels."""
        url = f"http://127.0.0.1:{self.operator.metrics_port}/metrics"
        with urllib.request.urlopen(url) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in lines
            if line.startswith(f"{metric}{{") and all(label in line for label in wanted)
        )

    def _wait_for_export(self) -> None:
        """Until no span is on its way any more."""
        seen, since = self.traces.exports, time.monotonic()
        while time.monotonic() - since < 1.2:  # twice what a span waits for others at most
            time.sleep(0.05)
            if self.traces.exports != seen:
                seen, since = self.traces.exports, time.monotonic()


@pytest.fixture
def rounds(is_long):
    """How many requests each round sends; the round that took least CPU is the figure: disturbances only add."""
    return [1_000] * 5 if is_long else [300]


@pytest.fixture(scope="module")
def traces():
    with sink.Sink() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def target(measured, traces, tmp_path_factory):
    with measured.operator:
        yield Target(measured, traces, tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_load(target, mix, pod_security, is_long, rounds, figure):
    """Every review is allowed, counted by the metrics, and traced as often as configured, whatever the load."""
    policies = {"none": [ELSEWHERE], "one": [support.NO_PRIVILEGES], "all": pod_security}[mix.policies]
    target.operator.forget_policies()
    for policy in policies:
        target.operator.apply(policy)
    for policy in policies:
        name = policy["metadata"]["name"]
        target.operator.kubectl("wait", "--for=condition=Ready", "clusterpolicy", name, "--timeout=15s")
    allowed = b'"uid":"%b","allowed":true' % mix.review["request"]["uid"].encode()
    target.trace(None)
    target.post(mix.review, 4, 200, allowed)
    counted = target.counted("admission_requests_total", **mix.labels)
    sent = 0
    for name, share in SHARES.items():
        target.trace(share)
        for concurrency in CONCURRENCIES if is_long or share is None else CONCURRENCIES[1:2]:
            best = math.inf
            for count in rounds:
                target.traces.take()
                dropped = target.counted("telemetry_spans_dropped_total")
                result, used = target.post(mix.review, concurrency, count, allowed)
                sent += count
                spans = target.traces.take()
                dropped = target.counted("telemetry_spans_dropped_total") - dropped
                if used.cpu / count < best:
                    best = used.cpu / count
                    line = _line(result, used, f"{len(spans) / count:5.1f} spans a review, {dropped} dropped")
                assert result.failed == 0
                _check_traces(spans, dropped, share, count, mix.spans)
            figure(f"traces {name:>5}  c={concurrency:<2} {line}")
    assert target.counted("admission_requests_total", **mix.labels) - counted == sent


def test_denial_under_load(target, rounds, figure):
    """A bad Pod among the load is denied by the policy it violates, every time."""
    review = pods.create(uid="0b6b1a9e-5f0e-4f4f-9a54-6c7c1d1f2a03")
    review["request"]["object"]["spec"]["hostNetwork"] = True
    target.trace(None)
    measured = [target.post(review, 8, count, b"own-namespaces") for count in rounds]
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


def _as_api_server(operator: support.Installed, folder: pathlib.Path) -> ssl.SSLContext:
    """A client context with the certificate that the API server shows to webhooks."""
    written = json.loads((operator.cluster.directory / "webhooks.kubeconfig").read_text())["users"][0]["user"]
    pair = folder / "api-server.pem"
    pair.write_bytes(b"".join(base64.b64decode(written[f"client-{part}-data"]) for part in ("certificate", "key")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(pair)
    return context


def _certificate(cluster) -> str:
    """A file with a certificate and its key; whose does not matter."""
    pair = cluster.directory / "floor.pem"
    pair.write_bytes(b"".join((cluster.directory / f"kube-apiserver.{part}").read_bytes() for part in ("crt", "key")))
    return str(pair)
