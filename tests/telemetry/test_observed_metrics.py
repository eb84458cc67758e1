"""Metrics that somebody else knows: read when they are collected, shown and bounded like all others."""

import operator

import pytest
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, exposition, instruments, metricsettings, work

DEPTH = cells.Description("depth", "how much", "", ("queue", "resource_namespace"))
LOST = cells.Description("lost_total", "how many", "", ("why",))


@pytest.fixture
def registry():
    ticks = iter(range(100, 10_000, 100))
    return cells.Cells(InstrumentationScope("test"), lambda: next(ticks))


def values(registry, name):
    (metric,) = (each for each in registry.read() if each.name == name)
    return {tuple(point.attributes.values()): point.value for point in metric.data.data_points}


def configured(registry, **exposure):
    registry.configure(metricsettings.from_spec(exposure))


def test_a_gauge_has_what_its_sources_say_and_of_each_the_latest_word(registry):
    depth = registry.observed(DEPTH)
    depth.observe(lambda: [(("a", "x"), 1)], "first")
    depth.observe(lambda: [(("b", "x"), 2)], "second")
    depth.observe(lambda: [(("a", "x"), 3)], "first")
    assert values(registry, "depth") == {("a", "x"): 3, ("b", "x"): 2}


@pytest.mark.parametrize(("merged", "expected"), [(operator.add, 5), (min, 2), (max, 3)])
def test_series_that_a_dropped_label_made_alike_are_one(registry, merged, expected):
    registry.observed(DEPTH, merged).observe(lambda: [(("a", "x"), 3), (("a", "y"), 2)])
    configured(registry, exposure={"depth": {"dropLabels": ["resource_namespace"]}})
    assert values(registry, "depth") == {("a",): expected}


def test_namespaces_and_the_limit_hold(registry):
    registry.observed(DEPTH).observe(lambda: [((str(at), "x"), 1) for at in range(30)] + [(("n", "kube-a"), 1)])
    configured(registry, namespaces={"exclude": ["kube-*"]}, cardinalityLimit=10)
    told = values(registry, "depth")
    assert len(told) == 10
    assert told[(True,)] == 21


def test_a_counter_of_somebody_elses_is_cumulative_from_its_declaration(registry):
    registry.observed_counter(LOST).observe(lambda: [(("full",), 7)])
    (metric,) = registry.read()
    (point,) = metric.data.data_points
    assert (metric.name, metric.data.is_monotonic, point.value, point.start_time_unix_nano) == ("lost", True, 7, 100)
    assert metric.data.aggregation_temporality is sdk.AggregationTemporality.CUMULATIVE
    assert "".join(exposition.write(registry.stream(), openmetrics=False)).endswith('lost_total{why="full"} 7\n')


def test_the_overflow_series_is_itself_counted(registry):
    """A set of labels without room counts once each time that it looks for room."""
    counter = registry.counter(cells.Description("hits_total", "", "", ("who",)))
    configured(registry, cardinalityLimit=10)
    for each in range(12):
        counter.bind((str(each),)).add()
    assert list(registry.sizes()) == [("hits_total", 10, 3)]
    assert values(registry, "hits")[(True,)] == 3


def test_work_is_counted_with_how_it_ended(registry):
    moments = iter([0.0, 2.0, 5.0, 6.0])
    counted = work.Work(instruments.declare(registry), "some-controller", lambda: next(moments))
    with counted.reconciling():
        pass
    with pytest.raises(KeyError), counted.reconciling():
        raise KeyError("x")
    counted.requeued(3)
    counted.dropped()
    counted.waited(-1.0)
    counted.queue(lambda: 4)
    assert values(registry, "controller_reconcile") == {("some-controller",): 2}
    assert values(registry, "controller_requeue") == {("some-controller", "3"): 1}
    assert values(registry, "controller_drop") == {("some-controller",): 1}
    assert values(registry, "workqueue_depth") == {("some-controller",): 4}
    read = {each.name: each.data.data_points for each in registry.read()}
    took = {tuple(each.attributes.values()): each.sum for each in read["controller_reconcile_duration_seconds"]}
    assert took == {("some-controller", "success"): 2.0, ("some-controller", "KeyError"): 1.0}
    assert read["workqueue_queue_duration_seconds"][0].sum == 0.0


@pytest.fixture
def moments():
    """The clock of some work: what it shows can be set."""
    return [0.0]


@pytest.fixture
def counted(registry, moments):
    return work.Work(instruments.declare(registry), "some-controller", lambda: moments[0])


def waited(registry):
    read = {each.name: each.data.data_points for each in registry.read()}
    return [(point.count, point.sum) for point in read.get("workqueue_queue_duration_seconds", ())]


def told(registry):
    return next((values(registry, each.name) for each in registry.read() if each.name == "workqueue_depth"), {})


def test_work_that_failed_and_raised_nothing_says_so(registry, counted):
    with counted.reconciling() as ended:
        ended("incomplete")
    read = {each.name: each.data.data_points for each in registry.read()}
    (point,) = read["controller_reconcile_duration_seconds"]
    assert point.attributes["outcome"] == "incomplete"


def test_only_who_leads_tells_of_what_waits_for_a_leader(registry, counted):
    """The others know of the same work: together they would tell of it several times."""
    counted.queue(lambda: 4, led=True)
    assert told(registry) == {}
    with counted.attending():
        assert told(registry) == {("some-controller",): 4}
    assert told(registry) == {}


def test_the_time_that_something_waits_begins_when_it_comes(registry, counted, moments):
    counted.entered("a")
    moments[0] = 2.0
    counted.entered("a")
    counted.entered("b")
    counted.withdrawn("b")
    moments[0] = 5.0
    for each in ("a", "a", "b", "never came"):
        counted.taken(each)
    assert waited(registry) == [(1, 5.0)]


def test_nothing_waits_before_somebody_leads(registry, counted, moments):
    """What came hours ago is worked on within seconds by whoever begins to lead now."""
    counted.entered("a")
    moments[0] = 3_600.0
    with counted.attending():
        moments[0] = 3_602.0
        counted.taken("a")
    assert waited(registry) == [(1, 2.0)]


async def test_a_signal_is_a_queue_of_one(registry, counted, moments):
    signal = work.Signal(counted)
    with counted.attending():
        assert told(registry) == {("some-controller",): 0}
        signal.set()
        moments[0] = 3.0
        signal.set()
        assert told(registry) == {("some-controller",): 1}
        await signal.wait()
        signal.clear()
        assert (told(registry), waited(registry)) == ({("some-controller",): 0}, [(1, 3.0)])
        signal.clear()
    assert waited(registry) == [(1, 3.0)]


def test_a_source_that_raises_takes_nothing_else_with_it(registry, caplog):
    """It may be changing just then; that is said once."""

    def changing():
        yield ("a", "x"), 1
        raise RuntimeError("dictionary changed size during iteration")

    depth = registry.observed(DEPTH)
    depth.observe(changing, "first")
    depth.observe(lambda: [(("b", "x"), 2)], "second")
    registry.observed_counter(LOST).observe(lambda: [(("full",), 3)])
    for _ in range(2):
        assert values(registry, "depth") == {("a", "x"): 1, ("b", "x"): 2}
        assert values(registry, "lost") == {("full",): 3}
    assert [record.getMessage().partition(" is read")[0] for record in caplog.records] == ["What depth"]
