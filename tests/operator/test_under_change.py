"""Reviews under full load while everything that can be configured is changed again and again.

One in four requests comes from a caller that samples, with the cap on such traces lifted, so that what must be kept is
known request by request. To trace all of them would test something else: the export queue is bounded and drops by
design what a saturated processor cannot ship. A quarter of 10,000 is still more spans than it holds.
"""

import asyncio
import collections
import contextlib
import copy
import itertools
import json
import ssl
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import parser

from benchmarks import load
from kymograph.localcluster import errors, installation
from kymograph.objecttrace.sources import otlp as otlp_source
from support import installed as support
from support import pods, reviewing
from support.installed import NO_PRIVILEGES, eventually, pod

REVIEWS = 10_000
CONCURRENCY = 32
CHANGES = 20
SAMPLED_ONE_IN = 4
DEADLINE = 10.0
"""Seconds that the API server gives a webhook unless a policy says otherwise."""

CONFIGURATION = "/apis/kymograph.dev/v1alpha1/tracingconfigurations/default"
PROBES = "/api/v1/namespaces/default/pods?dryRun=All"
_UID = b"00000000-0000-0000-0000-000000000000"


@pytest.fixture(autouse=True)
def usual_configuration(installed, otlp) -> Iterator[None]:
    """The configuration is left as it was found."""
    yield
    traces = {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000, "parentTracesPerSecond": None}
    metrics = {"prefix": None, "exposure": None, "prometheus": {"enabled": True, "port": installed.metrics_port}}
    _configure(installed, {"traces": traces, "resourceAttributes": None, "metrics": metrics})


@pytest.fixture
def receivers() -> Iterator[tuple[otlp_source.Receiver, otlp_source.Receiver]]:
    """Two collectors that stay alive and forget nothing."""
    with (
        otlp_source.Receiver(max_spans=10**6, max_bytes=2**30) as one,
        otlp_source.Receiver(max_spans=10**6, max_bytes=2**30) as other,
    ):
        yield one, other


class Reviews:
    """Reviews posted as the API server posts them, good and bad Pods in turn; every answer is judged.

    Attributes:
        answered: How many answers came.
        wrong: What was failed, wrong or late, as text.
        slowest: Seconds that the slowest answer took.
        sampled: Trace and span ids, as hex, of the requests that were to be traced: what each answer said.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.answered = 0
        self.wrong: list[str] = []
        self.slowest = 0.0
        self.sampled: set[tuple[str, str]] = set()
        self._port = port
        self._context = context
        self._numbers = itertools.count()
        self._bodies = {bad: _body(privileged=bad) for bad in (False, True)}

    async def run(self, go_on: Callable[[], bool]) -> None:
        """Post at least `REVIEWS`, and for as long as something else goes on; end at the first wrong answer."""
        async with asyncio.TaskGroup() as connections:
            for _ in range(CONCURRENCY):
                connections.create_task(self._ask(go_on))

    async def _ask(self, go_on: Callable[[], bool]) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        except OSError as error:
            self.wrong.append(f"no connection: {error!r}")
            return
        try:
            while not self.wrong and ((number := next(self._numbers)) < REVIEWS or go_on()):
                await self._ask_once(number, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _ask_once(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bad = bool(number % 2)
        sampled = number // 2 % SAMPLED_ONE_IN == 0
        uid = str(uuid.uuid4())
        trace_id = uuid.uuid4().hex
        headers = {"traceparent": f"00-{trace_id}-00000000000000ab-{'01' if sampled else '00'}"}
        body = self._bodies[bad].replace(_UID, uid.encode())
        began = time.monotonic()
        try:
            writer.write(load.request("/validate/fail?timeout=10s", body, headers))
            async with asyncio.timeout(DEADLINE):
                status, answer = await _answer(reader)
        except (OSError, EOFError, TimeoutError) as error:
            self.wrong.append(f"request {number}: {error!r} after {time.monotonic() - began:.3f} s")
            return
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answered += 1
        response = answer.get("response", {})
        told = response.get("auditAnnotations", {}).get("traceparent", "").split("-")
        refused = "Privileged containers are not allowed" in response.get("status", {}).get("message", "")
        if (
            (status, response.get("uid"), response.get("allowed"), refused) != (200, uid, not bad, bad)
            or told[:2] != ["00", trace_id]
            or told[3:] != ["01" if sampled else "00"]
        ):
            self.wrong.append(f"request {number}: {status} {answer}")
        elif sampled:
            self.sampled.add((trace_id, told[2]))


class Changes:
    """Changes made from threads of their own, spread over the reviews.

    Attributes:
        made: How many of each kind were made, by name.
    """

    def __init__(self, reviews: Reviews) -> None:
        self.made: dict[str, int] = {}
        self._reviews = reviews
        self._ended = 0
        self._kinds = 0

    def go_on(self) -> bool:
        """Whether changes are still being made."""
        return self._ended < self._kinds

    def starting(self, name: str, change: Callable[[int], None]) -> "asyncio.Task[None]":
        """Make changes of one kind, numbered from 1, from now on."""
        self._kinds += 1
        self.made[name] = 0
        return asyncio.create_task(asyncio.to_thread(self._make, name, change))

    def _make(self, name: str, change: Callable[[int], None]) -> None:
        try:
            for number in range(1, CHANGES + 1):
                due = (number - 1) * REVIEWS // CHANGES
                eventually(lambda due=due: self._reviews.answered >= due or self._reviews.wrong, timeout=300)
                if self._reviews.wrong:
                    return
                change(number)
                self.made[name] = number
        finally:
            self._ended += 1


@pytest.mark.timeout(1200)
async def test_no_answer_is_failed_wrong_or_late_and_no_span_lost_while_everything_changes(
    installed, enforce, receivers, capsys
) -> None:
    """10,000 reviews, 32 at a time, under 20 changes of the TracingConfiguration and 20 of policies."""
    enforce(NO_PRIVILEGES)
    metrics = {"prefix": "", "prometheus": {"enabled": True, "port": installed.metrics_port}}
    _configure(installed, {"traces": None, "metrics": metrics})  # no span is exported but to the two receivers, later
    before = eventually(lambda: (now := _scrape(installed.metrics_port))["telemetry_spans_pending"] == 0 and now)
    _configure(installed, {"traces": _traces(receivers[1])})

    reviews = Reviews(installed.operator.webhook_port, reviewing.api_server(installed))
    changes = Changes(reviews)
    ports = (installed.metrics_port, installation.free_port())
    began = time.monotonic()
    changing = [
        changes.starting("tracing", lambda number: _change_tracing(installed, receivers, ports, number)),
        changes.starting("policies", lambda number: _change_policies(installed, number)),
    ]
    await reviews.run(changes.go_on)
    took = time.monotonic() - began
    await asyncio.wait(changing)

    assert reviews.wrong == []
    for each in changing:
        each.result()
    assert reviews.answered >= REVIEWS
    assert reviews.slowest < DEADLINE
    assert changes.made == {"tracing": CHANGES, "policies": CHANGES}
    _configure(installed, {"metrics": metrics})
    after = eventually(lambda: _delivered(installed.metrics_port, before, receivers))
    received = {(span.trace_id, span.span_id) for each in receivers for span in each.received()}
    with capsys.disabled():
        print(  # noqa: T201 - the figures are wanted
            f"\n{reviews.answered} reviews in {took:.1f} s, slowest {reviews.slowest * 1e3:.0f} ms; "
            f"{len(reviews.sampled)} traced, {len(received)} spans received"
        )
    assert len(reviews.sampled) >= REVIEWS // SAMPLED_ONE_IN
    assert reviews.sampled - received == set()
    assert after["telemetry_spans_dropped_total"] == before["telemetry_spans_dropped_total"]
    assert after["telemetry_traces_capped_total"] == before["telemetry_traces_capped_total"]
    assert [each.dropped + each.rejected for each in receivers] == [0, 0]
    assert after["admission_requests_total"] - before.get("admission_requests_total", 0) >= reviews.answered


def _body(*, privileged: bool) -> bytes:
    """A review of some 10 KB, of a Pod that the policy in force allows or refuses."""
    review = copy.deepcopy(pods.create(uid=_UID.decode()))
    if privileged:
        review["request"]["object"]["spec"]["containers"][1]["securityContext"]["privileged"] = True
    return pods.encode(review)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """Read one answer: its status and decoded body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
    length = next(int(line.partition(":")[2]) for line in head if line.startswith("content-length:"))
    return int(head[0].split()[1]), json.loads(await reader.readexactly(length))


def _traces(receiver: otlp_source.Receiver) -> dict[str, Any]:
    return {"endpoint": receiver.endpoint, "parentTracesPerSecond": 1_000_000}


def _configure(installed: support.Installed, spec: dict[str, Any]) -> None:
    """Change some fields of the spec and wait until they are in force.

    A patch cannot meet a conflict, as `kubectl replace` does when the operator writes the status at the same moment.
    """
    installed.cluster.api.request("PATCH", CONFIGURATION, {"spec": spec})

    def accepted() -> bool:
        document = installed.cluster.api.request("GET", CONFIGURATION)
        said = {"type": "Accepted", "status": "True", "observedGeneration": document["metadata"]["generation"]}
        return any(said.items() <= each.items() for each in document.get("status", {}).get("conditions", []))

    eventually(accepted)


def _change_tracing(
    installed: support.Installed,
    receivers: tuple[otlp_source.Receiver, otlp_source.Receiver],
    ports: tuple[int, int],
    number: int,
) -> None:
    """Another collector, resource, metrics port and metrics prefix; each is seen to be in force."""
    receiver, port = receivers[number % 2], ports[number // 2 % 2]
    prefix = ("", "kyverno_")[number % 2]
    _configure(
        installed,
        {
            "traces": _traces(receiver),
            "resourceAttributes": {"test.change": str(number)},
            "metrics": {
                "prefix": prefix,
                "prometheus": {"enabled": True, "port": port},
                "exposure": {"policy_results_total": {"enabled": number % 3 > 0}},
            },
        },
    )
    receiver.wait_for(lambda span: span.resource.get("test.change") == str(number), 60)
    assert _scrape(port)[f"{prefix}admission_requests_total"] > 0


def _change_policies(installed: support.Installed, number: int) -> None:
    """Create a policy, change it twice and delete it, in turn; it is about Pods that no review of the load has."""
    if number % 4 == 0:
        installed.kubectl("delete", "clusterpolicy", "changing")
        eventually(lambda: _refused(installed, number - 1) == "")
        return
    installed.enforce(
        support.policy(
            "changing",
            {
                "message": f"forbidden by change {number}",
                "pattern": {"metadata": {"=(labels)": {"=(test.change)": f"!{number}"}}},
            },
        )
    )
    assert f"forbidden by change {number}" in _refused(installed, number)
    assert _refused(installed, number - 1) == ""


def _refused(installed: support.Installed, label: int) -> str:
    """Why the API server refuses a Pod with a label; empty if it does not."""
    try:
        installed.cluster.api.request("POST", PROBES, pod("probe", labels={"test.change": str(label)}))
    except errors.RequestRefused as refused:
        return str(refused)
    return ""


def _scrape(port: int) -> dict[str, float]:
    """The sums of all metrics that are served on a port, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    sums: collections.Counter[str] = collections.Counter()
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] += sample.value
    return dict(sums)


def _delivered(
    port: int, before: dict[str, float], receivers: tuple[otlp_source.Receiver, otlp_source.Receiver]
) -> dict[str, float] | None:
    """What /metrics says, once nothing is pending and the receivers have as many spans as it says were delivered."""
    now = _scrape(port)
    received = {(span.trace_id, span.span_id) for each in receivers for span in each.received()}
    exported = now["telemetry_spans_exported_total"] - before["telemetry_spans_exported_total"]
    return now if now["telemetry_spans_pending"] == 0 and exported == len(received) else None
