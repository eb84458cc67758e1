"""Cells: what is counted is what a reader sees."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, errors, instruments, metricsettings
from kymograph.telemetry.instruments import labels

SCOPE = InstrumentationScope("test", "1")
ABOUT = cells.Description("requests_total", "how many", "{request}", ("kind", "allowed"))
LATENCY = cells.Description("duration_seconds", "how long", "s", ("kind",))


@pytest.fixture
def registry():
    ticks = iter(range(100, 10_000, 100))
    return cells.Cells(SCOPE, lambda: next(ticks))


def read(registry):
    """Collect; the metrics by name."""
    assert registry.scope is SCOPE
    return {metric.name: metric for metric in registry.read()}


def test_a_counter_is_a_cumulative_monotonic_sum_by_labels(registry):
    counter = registry.counter(ABOUT)
    counter.bind(("Pod", "true")).add()
    counter.bind(("Pod", "false")).add(2)
    counter.bind(("Pod", "true")).add()
    metric = read(registry)["requests"]
    assert (metric.description, metric.unit) == ("how many", "{request}")
    assert metric.data.is_monotonic
    assert metric.data.aggregation_temporality is sdk.AggregationTemporality.CUMULATIVE
    assert [(point.attributes, point.value) for point in metric.data.data_points] == [
        ({"kind": "Pod", "allowed": "true"}, 2),
        ({"kind": "Pod", "allowed": "false"}, 2),
    ]
    assert {(point.start_time_unix_nano, point.time_unix_nano) for point in metric.data.data_points} == {(100, 200)}


def test_no_label_is_longer_than_a_name_can_be(registry):
    """A review may claim to be about a kind of a megabyte; what begins alike is one series."""
    counter = registry.counter(ABOUT)
    for end in "ab":
        counter.bind(("K" * 300 + end, "true")).add()
    counter.bind(("K" * 253, "true")).add()
    (point,) = read(registry)["requests"].data.data_points
    assert (point.attributes, point.value) == ({"kind": "K" * 253, "allowed": "true"}, 3)


def test_a_buckets_upper_bound_belongs_to_it(registry):
    histogram = registry.histogram(LATENCY, (0.1, 1.0))
    cell = histogram.bind(("Pod",))
    for value in (0.05, 0.1, 0.100001, 1.0, 7.0):
        cell.record(value)
    (point,) = read(registry)["duration_seconds"].data.data_points
    assert point.bucket_counts == [2, 2, 1]
    assert point.count == 5
    assert point.sum == pytest.approx(8.250001)
    assert point.explicit_bounds == (0.1, 1.0)


def test_the_same_labels_are_the_same_cell(registry):
    counter = registry.counter(ABOUT)
    assert counter.bind(("Pod", "true")) is counter.bind(("P" + "od", str(True).lower()))


def test_a_wrong_number_of_labels_is_refused(registry):
    with pytest.raises(errors.InstrumentInvalid, match="requests_total has 2 labels"):
        registry.counter(ABOUT).bind(("Pod",))


def test_a_name_is_declared_once(registry):
    registry.counter(ABOUT)
    with pytest.raises(errors.InstrumentInvalid, match="requests_total is declared twice"):
        registry.histogram(ABOUT)


def test_an_instrument_without_series_is_not_shown(registry):
    registry.counter(ABOUT)
    assert registry.read() == [*registry.parts(1)] == []


def test_a_reading_does_not_change_with_the_cell(registry):
    cell = registry.histogram(LATENCY).bind(("Pod",))
    cell.record(0.2)
    before = read(registry)["duration_seconds"].data.data_points[0]
    cell.record(0.2)
    assert (before.count, sum(before.bucket_counts)) == (1, 1)


def test_parts_are_as_large_as_is_said_and_read_when_they_are_taken(registry):
    """Nobody holds all of them; each point says when it was read."""
    counter = registry.counter(ABOUT)
    for number in range(5):
        counter.bind((str(number), "true")).add()
    parts = registry.parts(2)
    first = next(parts).data.data_points
    counter.bind(("4", "true")).add()
    points = [first, *(part.data.data_points for part in parts)]
    assert [[point.value for point in part] for part in points] == [[1, 1], [1, 1], [2]]
    times = [point.time_unix_nano for part in points for point in part]
    assert times == sorted(set(times))


def test_readings_while_cells_are_written_are_whole_and_never_go_back(registry):
    histogram, done = registry.histogram(LATENCY, (0.1, 1.0)), threading.Event()

    def write():
        for number in range(20_000):
            histogram.bind((str(number % 50),)).record(0.5)
        done.set()

    writer = threading.Thread(target=write)
    histogram.bind(("0",)).record(0.5)
    writer.start()
    seen, rounds = {}, 0
    while not done.is_set() or rounds == 0:
        rounds += 1
        for point in histogram.collect(rounds).data.data_points:
            assert point.count == sum(point.bucket_counts) >= seen.get(point.attributes["kind"], 0)
            seen[point.attributes["kind"]] = point.count
    writer.join()
    assert sum(point.count for point in histogram.collect(0).data.data_points) == 20_001


@given(st.lists(st.floats(0, 100)))
def test_every_observation_is_in_exactly_one_bucket(values):
    cell = cells.Histogram(LATENCY, 0, cells.LATENCY_BUCKETS).bind(("Pod",))
    for value in values:
        cell.record(value)
    assert sum(cell.counts) == len(values)
    for position, bound in enumerate(cells.LATENCY_BUCKETS, 1):
        assert sum(cell.counts[:position]) == sum(value <= bound for value in values)


def test_the_hot_paths_instruments_have_kyvernos_labels(registry):
    declared = instruments.declare(registry)
    registry.configure(metricsettings.MetricSettings(by_namespace=True))
    assert declared.admission_requests.about.labels == declared.admission_review_duration.about.labels
    assert declared.policy_results.about.labels == declared.policy_execution_duration.about.labels
    assert len(declared.policy_results.about.labels) == 13
    review = labels.Review("Pod", "default", "create", labels.boolean(value=True), "ValidatingWebhookConfiguration")
    declared.admission_requests.bind(review).add()
    (point,) = read(registry)["admission_requests"].data.data_points
    assert point.attributes == {
        "resource_kind": "Pod",
        "resource_namespace": "default",
        "resource_request_operation": "create",
        "request_allowed": "true",
        "request_webhook": "ValidatingWebhookConfiguration",
    }
