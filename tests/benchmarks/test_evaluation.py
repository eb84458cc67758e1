"""What the parts of a review cost by themselves, in this process: no server, no other process.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_evaluation.py

Each figure is the least CPU time of several rounds: what disturbs a measurement only ever adds to it.
"""

import contextlib
import functools
import gc
import time

import orjson
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.cli import run as command
from kymograph.controllers import policies as stores
from kymograph.controllers.admission import metrics, review, reviewing, server, spans
from kymograph.engine import budget, evaluate, needs
from kymograph.telemetry import encoding, export, providers, recordencoding, recorder, sampling, settings
from support import pods, scraped

pytestmark = pytest.mark.benchmark

EVERY_TRACE = settings.TraceSettings(sampling_rate_per_million=1_000_000)
REVIEWS = {"CREATE": pods.create(), "UPDATE": pods.update()}


@pytest.fixture
def least(is_long):
    """The least microseconds that a call takes; several functions are measured in turn."""
    before = gc.get_threshold()
    gc.set_threshold(*command.COLLECT)

    def measure(*functions, calls=100):
        found = [float("inf")] * len(functions)
        for _ in range(50 if is_long else 5):
            for index, function in enumerate(functions):
                began = time.process_time_ns()
                for _ in range(calls):
                    function()
                found[index] = min(found[index], (time.process_time_ns() - began) / calls / 1e3)
        return found if len(found) > 1 else found[0]

    yield measure
    gc.set_threshold(*before)


@pytest.fixture
def store(pod_security):
    held = stores.PolicyStore()
    for number, policy in enumerate(pod_security, start=1):
        metadata = {**policy["metadata"], "uid": str(number), "resourceVersion": str(number), "generation": 1}
        held.put({**policy, "metadata": metadata})
    return held


@contextlib.asynccontextmanager
async def _running():
    made = providers.Telemetry(spans.describe, facts={}, environ={}, make_exporter=lambda _settings: _Nowhere())
    yield made
    await made.shutdown(1)


@pytest.fixture
async def telemetry():
    async with _running() as made:
        yield made


class _Nowhere:
    def export(self, spans) -> None:
        pass

    def shutdown(self) -> None:
        pass


class _Uncounted(metrics.ReviewMetrics):
    """Metrics that count nothing."""

    def reviewed(self, *_given) -> None:
        pass


class _Labelled:
    """Knows that namespaces have no labels."""

    def at_hand(self, request, facts) -> None:
        facts.add(needs.NamespaceLabels(request["namespace"]), {})


def judge(policies, request, watcher=None):
    facts = needs.Facts()
    facts.add(needs.NamespaceLabels(request["namespace"]), {})
    limits = budget.Budget(reviewing.STEPS, deadline=time.monotonic_ns() + 10**10, clock=time.monotonic_ns)
    return evaluate.evaluate(policies, request, facts, limits, time.monotonic_ns, watcher)


@pytest.mark.parametrize("operation", REVIEWS)
def test_evaluation(operation, store, telemetry, least, figure):
    """Nineteen rules pass, whether or not their steps are recorded."""
    request = REVIEWS[operation]["request"]
    held = store.policies.lookup(request, "Fail")
    decide = sampling.decide

    def recorded():
        started = time.monotonic_ns()
        record = recorder.Recorder(decide(EVERY_TRACE, None, telemetry._ids), started, 0, telemetry._ids)
        return judge(held, request, record), record

    body = pods.encode(REVIEWS[operation])
    alone, with_record, decoding = least(lambda: judge(held, request), recorded, lambda: orjson.loads(body), calls=50)
    figure(
        f"{operation}: 17 policies {alone:6.1f} us, recorded {with_record:6.1f} us (+{with_record - alone:4.1f} us),"
        f" decoding {len(body) / 1000:.0f} kB {decoding:5.1f} us"
    )
    results, record = recorded()
    assert [rule.status for result in results for rule in result.rules] == ["pass"] * 19
    assert [rule[:4] for result in judge(held, request) for rule in result.rules] == [
        rule[:4] for result in results for rule in result.rules
    ]
    assert record.span_count == 60


async def test_review(store, telemetry, least, figure):
    """A review from body to answer, without a server: what is not evaluation, decoding or digest is overhead."""
    counted = metrics.ReviewMetrics(telemetry.instruments, store)
    owner = reviewing.Owner(telemetry, counted, time.monotonic_ns)
    reviews = review.Reviews(store, _Labelled(), owner)
    nobody = review.Reviews(stores.PolicyStore(), _Labelled(), owner)
    body = pods.encode(pods.create())

    decoding, none, all_17 = least(
        lambda: orjson.loads(body), lambda: _validate(nobody, body), lambda: _validate(reviews, body)
    )
    figure(f"decoding {decoding:6.1f} us, review: no policy {none:6.1f} us, 17 policies {all_17:6.1f} us")
    for by in (nobody, reviews):
        assert orjson.loads(_validate(by, body))["response"]["allowed"] is True


async def test_overhead(store, telemetry, least, figure):
    """What the trace of a review costs where there is none, where none is kept, and where it is handed over; and what
    counting it costs."""
    body = pods.encode(pods.create())
    keep = {"denied": True, "errors": True, "slowerThan": "1s"}
    ways = {
        "off": {},
        "not kept": {"traces": {"endpoint": "127.0.0.1:4317", "samplingRatePerMillion": 0, "keep": keep}},
        "kept": {"traces": {"endpoint": "127.0.0.1:4317", "samplingRatePerMillion": 1_000_000}},
    }
    asked = {}
    async with contextlib.AsyncExitStack() as stack:
        made = await stack.enter_async_context(_running())
        owner = reviewing.Owner(made, _Uncounted(made.instruments, store), time.monotonic_ns)
        reviews = review.Reviews(store, _Labelled(), owner)
        asked["off, not counted"] = functools.partial(_validate, reviews, body)
        for name, spec in ways.items():
            made = await stack.enter_async_context(_running())
            await made.apply(settings.from_spec(spec))
            counted = metrics.ReviewMetrics(made.instruments, store)
            owner = reviewing.Owner(made, counted, time.monotonic_ns)
            reviews = review.Reviews(store, _Labelled(), owner)
            asked[name] = functools.partial(_validate, reviews, body)
        *others, kept = asked.values()
        took = dict(zip(asked, least(*others, calls=20), strict=False))
        took["kept"] = least(kept, calls=20)  # by itself: its spans are made in a thread, after it has answered
    for name, each in took.items():
        figure(f"traces {name:16s} {each:6.1f} us a review  {100 * (each / took['off'] - 1):+5.1f} %")
    for each in asked.values():
        assert orjson.loads(each())["response"]["allowed"] is True


def _validate(reviews, body):
    return reviews.validate(server.Request("/validate/fail", body, time.monotonic_ns() + 10**10), "Fail")


def test_metrics(store, telemetry, least, figure):
    """Every rule of every review is counted once, by its labels."""
    request = pods.create()["request"]
    counted = metrics.ReviewMetrics(telemetry.instruments, store)
    results = judge(store.policies.lookup(request, "Fail"), request)
    recordings = 2 + 2 * 19  # a counter and a histogram, of the review and of each rule
    took = least(lambda: counted.reviewed(request, True, results, 1_000))
    figure(f"{took / recordings:.3f} us a recording, {recordings} of them {took:.1f} us")
    reviews, *_ = _values(telemetry, "admission_requests_total")
    assert reviews >= 500
    assert _values(telemetry, "policy_results_total") == [reviews] * 19


def test_kept_trace(store, telemetry, least, figure):
    """All spans of a trace are encoded and put into a request, the way they go over OTLP; and how the SDK would."""
    request = pods.create()["request"]
    started = time.monotonic_ns()
    decision = sampling.decide(EVERY_TRACE, None, telemetry._ids)
    record = recorder.Recorder(decision, started, time.time_ns(), telemetry._ids)
    judge(store.policies.lookup(request, "Fail"), request, record)
    name, attributes, events = spans.server_span(request, None, (), time.monotonic_ns(), "/validate/fail")
    record.finish(name, attributes, time.monotonic_ns(), events=events)
    origin = encoding.Origin(telemetry._resource, InstrumentationScope(providers.SCOPE))
    render, encode = telemetry.queue._render, encoding.Encoder(origin).encode
    write = recordencoding.RecordEncoder(spans.describe, origin, telemetry._ids).encode
    written, made = write(record), render(record)
    batch = written * (export.BATCH // len(written))
    writing, joining, making = least(
        lambda: write(record), lambda: encode(batch), lambda: encode_spans(render(record)), calls=20
    )
    each = writing / len(written), joining / len(batch), making / len(made)
    figure(
        f"{len(written)} spans: writing {each[0]:.2f} us a span, joining a batch of {len(batch)} {each[1]:.2f} us"
        f" (made as spans and encoded by the SDK {each[2]:.2f} us)"
    )
    assert len(written) == len(made) == record.span_count == 60


def _values(telemetry, name: str) -> list[int]:
    lines = scraped.text(telemetry).splitlines()
    return [int(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{")]
