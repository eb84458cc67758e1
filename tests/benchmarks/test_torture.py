"""Collectors that are down, slow, silent, resetting, refusing or somewhere else: nobody who is reviewed notices.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_torture.py

prints for each trouble, over gRPC and over HTTP, how long reviews took with every one of them traced, beside how long
they took with tracing off (the slowest hundredth of all of them, and what it usually is of 200 in turn); how much
memory the operator had at most; and what became of the spans. Whatever happens every review is answered, every span
that was made is delivered or counted as dropped, in the metrics and in the status, memory stays bounded, and once the
trouble is over spans arrive again without anybody's doing.

Reviews come at a steady pace, so that what is measured is what a collector in trouble does to them, and not what the
making of so many spans costs (`test_telemetry_cost.py`). Long, each trouble lasts for half a minute, and a collector
that is down is so for three; short, it lasts for half a second, and those troubles are left out that differ for an
exporter alone (`tests/telemetry/test_otlp_torture.py`).
"""

import base64
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import collector as collectors
from benchmarks import load, target
from kymograph.localcluster import pki
from support import installed as support
from support import pods, receivers

pytestmark = [pytest.mark.benchmark, pytest.mark.cluster, pytest.mark.timeout(1800)]

PACE = 100.0
"""Reviews a second: some 6,000 spans."""

TRACED = f"00-{7:032x}-{9:016x}-01"
REVIEW = pods.create()
ALLOWED = b'"uid":"%b","allowed":true' % REVIEW["request"]["uid"].encode()
MIB = 1 << 20
MOST_HELD = 64 * MIB
"""What telemetry may hold, and with it what the process may grow by."""

PATIENCE = 120.0
AUTHORITY, NEXT_AUTHORITY = pki.Authority("collector-ca"), pki.Authority("next-collector-ca")
TOKEN, NEXT_TOKEN = "Bearer first-token", "Bearer second-token"


class Account:
    """What the operator says has become of spans, and what has reached the collector, from some moment on."""

    def __init__(self, tortured: target.Target, collector: collectors.Collector) -> None:
        self._target = tortured
        self._collector = collector
        tortured.wait_until_exported()  # what is on its way from before is none of it
        self._before = (0, 0, 0)
        self._before = self._read()

    @property
    def now(self) -> tuple[int, int, int]:
        """Spans exported, dropped and received since."""
        exported, dropped, received = (now - before for now, before in zip(self._read(), self._before, strict=True))
        return exported, dropped, received

    def settled(self) -> tuple[int, int, int]:
        """The same, once nothing is on its way any more."""
        self._target.wait_until_exported()
        return self.now

    def _read(self) -> tuple[int, int, int]:
        counted = self._target.counted
        received = sum(self._collector.tell("count", protocol=each)["spans"] for each in receivers.PROTOCOLS)
        return counted("telemetry_spans_exported_total"), counted("telemetry_spans_dropped_total"), received


@dataclasses.dataclass(frozen=True)
class Trouble:
    """What happens to a collector.

    Attributes:
        orders: What it is told to do, with arguments.
        settings: What the configuration has beside the endpoint.
        end: Ends it; without, the collector is healthy again.
        lossless: Nothing may be lost.
        noticed: The status says meanwhile that nothing gets through.
        rounds: How much longer than others it lasts.
        brief: It is there in short runs, too.
    """

    orders: tuple[tuple[str, dict[str, Any]], ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    end: Callable[[target.Target], None] | None = None
    lossless: bool = False
    noticed: bool = True
    rounds: int = 1
    brief: bool = True


def secret(name: str, key: str, value: bytes) -> Callable[[target.Target], None]:
    """Write a Secret that exporters may use."""
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "kymograph", "labels": {"kymograph.dev/telemetry": "true"}},
        "data": {key: base64.b64encode(value).decode()},
    }
    return lambda tortured: tortured.operator.apply(document)


def presenting(authority: pki.Authority) -> tuple[str, dict[str, Any]]:
    """The order to present a certificate of this authority."""
    pair = authority.server("collector", ["127.0.0.1"])
    return "present", {"certificate": pair.certificate.decode(), "key": pair.key.decode()}


PATIENT = {"timeout": "30s"}
CA = {"tls": {"caSecretRef": {"name": "torture-ca", "key": "ca.pem"}}}
SECRET_TOKEN = {"valueFrom": {"secretKeyRef": {"name": "torture-token", "key": "token"}}}

TROUBLES = {
    "none": Trouble(settings=PATIENT, lossless=True, noticed=False),
    "down": Trouble((("down", {}),), rounds=6),
    "slow": Trouble((("slow", {}),), noticed=False),
    "silent": Trouble((("silent", {}),)),
    "resetting": Trouble((("reset", {}),), brief=False),
    "unavailable": Trouble((("refuse", {"code": "UNAVAILABLE", "status": 503}),), brief=False),
    "throttling": Trouble((("refuse", {"code": "RESOURCE_EXHAUSTED", "status": 429, "retry_after": 2}),)),
    "refusing": Trouble((("refuse", {"code": "INVALID_ARGUMENT", "status": 400}),), brief=False),
    "rejecting": Trouble((("reject", {"spans": 7}),)),
    "other certificate": Trouble(
        (presenting(NEXT_AUTHORITY),), CA, secret("torture-ca", "ca.pem", NEXT_AUTHORITY.pair.certificate)
    ),
    "other token": Trouble(
        (("demand", {"token": NEXT_TOKEN}),),
        {"headers": [{"name": "authorization", **SECRET_TOKEN}]},
        secret("torture-token", "token", NEXT_TOKEN.encode()),
    ),
}

NAMES = [
    name for name, trouble in TROUBLES.items() if trouble.brief or os.environ.get("KYMOGRAPH_BENCHMARKS") == "long"
]


class Tortured(target.Target):
    """The operator, its collector, and what it took before there was any trouble."""

    def __init__(self, operator: support.Installed, collector: collectors.Collector, folder: pathlib.Path) -> None:
        super().__init__(operator, folder)
        self.collector = collector
        self._process = pathlib.Path("/proc") / str(self.pid)

    def configure_traces(self, protocol: str, **more: Any) -> None:
        """Have reviews traced that their caller traces, and nothing else; exports end after a second."""
        traces = {
            "endpoint": self.collector.endpoints[protocol],
            "protocol": protocol,
            "timeout": "1s",
            "samplingRatePerMillion": 0,
            **more,
        }
        self.configure({"traces": traces})

    def reviewed(self, count: int, *, traced: bool = True) -> load.Result:
        """Post reviews at a steady pace; each must be answered."""
        traceparent = TRACED if traced else ""
        result = self.post(REVIEW, 4, count, ALLOWED, traceparent=traceparent, pace=PACE)
        assert result.failed == 0
        return result

    def resident(self, which: str) -> int:
        """Bytes of resident memory: `VmRSS` now, `VmHWM` at most since `forget_peak`."""
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{which}:"))

    def forget_peak(self) -> None:
        """Let the greatest resident memory be that of now."""
        (self._process / "clear_refs").write_text("5")

    def exporter(self) -> dict[str, Any]:
        """What the status says of the traces' exporter, written anew for a change that concerns it not."""
        spec = self.operator.get(*target.TRACING)["spec"]
        self.configure({**spec, "resourceAttributes": {"settled": "true"}})
        status = self.operator.get(*target.TRACING)["status"]
        found: dict[str, Any] = next(each for each in status["exporters"] if each["signal"] == "traces")
        return found

    def exporting(self) -> str:
        """The reason of the condition `Exporting`."""
        reason: str = self.operator.conditions(*target.TRACING).get("Exporting", {}).get("reason", "")
        return reason


@pytest.fixture(scope="module")
def tortured(measured, pod_security, tmp_path_factory):
    with collectors.Collector() as collector, measured.operator:
        made = Tortured(measured, collector, tmp_path_factory.mktemp("certificates"))
        made.enforce(pod_security)
        for protocol in receivers.PROTOCOLS:  # what is loaded once is no memory of spans
            made.configure_traces(protocol)
            made.reviewed(100)
        yield made


@pytest.fixture
def count(is_long):
    """How many reviews a trouble lasts for."""
    return 3_000 if is_long else 50


@pytest.fixture(scope="module")
def spans_each(tortured):
    """How many spans a review has."""
    tortured.configure_traces(receivers.GRPC, **PATIENT)
    account = Account(tortured, tortured.collector)
    tortured.reviewed(10)
    exported, dropped, received = account.settled()
    assert (dropped, received % 10) == (0, 0)
    assert exported == received
    return received // 10


@pytest.fixture(scope="module")
def first_quiet(tortured):
    """Reviews with tracing off, before there is any trouble."""
    tortured.configure({})
    return tortured.reviewed(100, traced=False)


@pytest.fixture
def quiet(tortured, first_quiet, count, is_long):
    """Reviews with tracing off: long, just before the trouble that is compared with it."""
    if not is_long:
        return first_quiet
    tortured.configure({})
    return tortured.reviewed(count, traced=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_collector_in_trouble_troubles_nobody(tortured, quiet, spans_each, name, count, is_long, figure) -> None:
    """Every review is answered; every span arrives or is counted; and afterwards new ones arrive."""
    trouble = TROUBLES[name]
    protocols = receivers.PROTOCOLS
    for protocol in protocols if is_long else protocols[NAMES.index(name) % 2 :][:1]:
        before = tortured.resident("VmRSS")
        with contextlib.ExitStack() as stack:
            prepare(tortured, trouble, protocol, stack)
            account = Account(tortured, tortured.collector)
            tortured.reviewed(5)
            tortured.forget_peak()
            for order, given in trouble.orders:
                tortured.collector.tell(order, protocol=protocol, **given)
            length = count * trouble.rounds
            during = tortured.reviewed(length)
            if trouble.noticed:
                support.eventually(lambda: tortured.exporting() == "ExportFailed", PATIENCE)
            if trouble.end is not None:
                trouble.end(tortured)
            else:
                tortured.collector.tell("healthy", protocol=protocol)
            made = 5 + length + recover(tortured, account)
            exported, dropped, received = account.settled()
            told = tortured.exporter()
        peak = tortured.resident("VmHWM")
        figure(line(f"{name}, {protocol}", during, quiet, peak, peak - before, (exported, dropped)))
        assert exported + dropped == made * spans_each
        assert received >= exported
        assert not (trouble.lossless and dropped)
        totals = ("telemetry_spans_exported_total", "telemetry_spans_dropped_total")
        assert [told["sent"], told["dropped"]] == [tortured.counted(each) for each in totals]
        assert "lastError" not in told
        assert peak - before < MOST_HELD


def test_an_endpoint_that_changes_under_load_loses_nothing(tortured, quiet, spans_each, is_long, figure) -> None:
    """From one protocol to the other and back, while reviews come: each span arrives somewhere."""
    count = 3_000 if is_long else 300
    before = tortured.resident("VmRSS")
    tortured.configure_traces(receivers.GRPC, **PATIENT)
    account = Account(tortured, tortured.collector)
    tortured.forget_peak()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reviewing = pool.submit(tortured.reviewed, count)
        for turn in range(20 if is_long else 3):
            tortured.configure_traces(receivers.PROTOCOLS[turn % 2], **PATIENT)
        during = reviewing.result()
    exported, dropped, received = account.settled()
    peak = tortured.resident("VmHWM")
    figure(line("other endpoint", during, quiet, peak, peak - before, (exported, dropped)))
    assert (exported, dropped, received) == (count * spans_each, 0, count * spans_each)
    assert peak - before < MOST_HELD


def prepare(tortured, trouble, protocol, stack) -> None:
    """Have spans go to a healthy collector, as the trouble wants it; what it needs is taken away with the stack."""
    tell = tortured.collector.tell
    tell("healthy", protocol=protocol)
    if trouble.settings is CA:
        order, given = presenting(AUTHORITY)
        tell(order, protocol=protocol, **given)
        stack.callback(tell, order, protocol=protocol, certificate="", key="")
        secret("torture-ca", "ca.pem", AUTHORITY.pair.certificate)(tortured)
    if "headers" in trouble.settings:
        tell("demand", protocol=protocol, token=TOKEN)
        stack.callback(tell, "demand", protocol=protocol, token="")
        secret("torture-token", "token", TOKEN.encode())(tortured)
    tortured.configure_traces(protocol, **trouble.settings)


def recover(tortured, account) -> int:
    """Post reviews until their spans arrive; how many that took."""
    posted = 0

    def arrive() -> bool:
        nonlocal posted
        exported, _, _ = account.settled()
        tortured.reviewed(5)
        posted += 5
        return account.settled()[0] > exported and tortured.exporting() == "Delivered"

    support.eventually(arrive, PATIENCE)
    return posted


def line(name: str, during: load.Result, quiet: load.Result, peak: int, growth: int, spans: tuple[int, int]) -> str:
    exported, dropped = spans
    return (
        f"{name:32s} {beside('p50', during.p50, quiet.p50)}  {beside('p99', during.p99, quiet.p99)}"
        f"  {beside('usual p99', during.usual_p99, quiet.usual_p99)}"
        f"  {peak / MIB:4.0f} MiB ({growth / MIB:+3.0f})  {exported} exported, {dropped} dropped"
        f"  (load {os.getloadavg()[0]:.0f})"
    )


def beside(what: str, seconds: float, without: float) -> str:
    return f"{what} {seconds * 1e3:5.1f} ms (off {without * 1e3:5.1f}, {seconds / without - 1:+4.0%})"
