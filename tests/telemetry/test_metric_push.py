"""Pushed metrics: what a receiver is told, over failures, swaps and changes of what is shown."""

import itertools
import random
import threading

import pytest
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, errors, metricencoding, metricsettings, push
from kymograph.telemetry.metricsettings import Temporality

PATIENCE = 30.0
NEVER = 3_600.0
OFTEN = 0.01
SCOPE = InstrumentationScope("test")
REQUESTS = cells.Description("requests_total", "how many", "", ("kind", "resource_namespace"))
DURATION = cells.Description("duration_seconds", "how long", "s", ("kind",))


class FakeReceiver:
    """Keeps what it is told: `refuse` makes it fail, `reject` reject points for good, `gate` hang until opened."""

    def __init__(self, *, refuse=False, reject=0, hang=False):
        self.batches = []
        self.refuse = refuse
        self.reject = reject
        self.asked = threading.Event()
        self.stopped = threading.Event()
        self.gate = threading.Event()
        if not hang:
            self.gate.set()

    def export(self, resource, metrics):
        self.asked.set()
        self.gate.wait(PATIENCE)
        if self.refuse:
            raise errors.ExportFailed("refused")
        self.batches.append([each.metric for each in metrics])
        if self.reject:
            raise errors.ExportFailed("too old", self.reject)

    def shutdown(self):
        self.stopped.set()
        self.gate.set()

    def told(self, name="requests"):
        """What was told of a counter, in the order of telling: by attributes, the values."""
        found = {}
        for metric in itertools.chain(*self.batches):
            if metric.name == name:
                for point in metric.data.data_points:
                    found.setdefault(tuple(point.attributes.values()), []).append(point)
        return found

    def sums(self, name="requests"):
        return {key: sum(point.value for point in points) for key, points in self.told(name).items()}


class Pushed:
    """Metrics and the push of them, on a clock that advances with every look.

    A receiver has all the time that it may need: one that is interrupted may have taken what its successor is told
    again.
    """

    def __init__(self, grace=PATIENCE):
        self._ticks = itertools.count(1)
        self.cells = cells.Cells(SCOPE, lambda: next(self._ticks))
        self.requests = self.cells.counter(REQUESTS)
        self.duration = self.cells.histogram(DURATION, (0.1, 1.0))
        self.sdks = 0
        self.push = push.Push(self.collect, wall_clock=lambda: next(self._ticks), grace=grace)

    def collect(self):
        point = sdk.NumberDataPoint({"reason": "a"}, 1, next(self._ticks), self.sdks)
        total = sdk.Sum([point], sdk.AggregationTemporality.CUMULATIVE, is_monotonic=True)
        metrics = itertools.chain([sdk.Metric("theirs", "", "", total)], self.cells.parts(push.BATCH))
        return push.Collected(Resource({}), (metricencoding.Scoped(SCOPE, each) for each in metrics))

    def configure(self, **fields):
        self.cells.configure(metricsettings.from_spec(fields))

    def tell(self, receiver, temporality=Temporality.DELTA):
        """Have a receiver told once, from the first round to the last."""
        self.push.swap(receiver, NEVER, temporality)
        assert self.push.wait(lambda _: receiver.asked.is_set(), PATIENCE)
        self.push.close(PATIENCE)


@pytest.fixture
def pushed(request):
    made = Pushed(getattr(request, "param", PATIENCE))
    yield made
    made.push.close(PATIENCE)


def test_a_cumulative_push_tells_what_a_scrape_would(pushed):
    receiver = FakeReceiver()
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.tell(receiver, Temporality.CUMULATIVE)
    pushed.requests.bind(("Pod", "a")).add(1)
    pushed.tell(receiver, Temporality.CUMULATIVE)
    values = [point.value for point in receiver.told()["Pod", "a"]]
    assert (values[0], values[-1]) == (3, 4)
    assert {metric.data.aggregation_temporality for metric in receiver.batches[0]} == {
        sdk.AggregationTemporality.CUMULATIVE
    }


def test_a_delta_push_tells_what_came_since_and_nothing_of_what_stands_still(pushed):
    receiver = FakeReceiver()
    pushed.sdks = 5
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.requests.bind(("Pod", "b")).add(1)
    pushed.duration.bind(("Pod",)).record(0.5)
    pushed.tell(receiver)
    pushed.sdks = 7
    pushed.requests.bind(("Pod", "a")).add(2)
    pushed.duration.bind(("Pod",)).record(0.05)
    pushed.tell(receiver)
    first, second = receiver.told()["Pod", "a"]
    assert (first.value, second.value) == (3, 2)
    assert second.start_time_unix_nano == first.time_unix_nano
    assert [point.value for point in receiver.told()["Pod", "b"]] == [1]
    assert [point.value for point in receiver.told("theirs")["a",]] == [5, 2]
    before, after = receiver.told("duration_seconds")["Pod",]
    assert (before.bucket_counts, after.bucket_counts) == ([0, 1, 0], [1, 0, 0])
    assert (after.count, after.sum) == (1, pytest.approx(0.05))
    assert {metric.data.aggregation_temporality for metric in itertools.chain(*receiver.batches)} == {
        sdk.AggregationTemporality.DELTA
    }


def test_what_a_receiver_did_not_take_is_told_later(pushed):
    receiver = FakeReceiver(refuse=True)
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.push.swap(receiver, OFTEN, Temporality.DELTA)
    assert pushed.push.wait(lambda status: status.last_error == "refused", PATIENCE)
    receiver.refuse = False
    assert pushed.push.wait(lambda status: status.sent > 0, PATIENCE)
    pushed.push.close(PATIENCE)
    assert receiver.sums() == {("Pod", "a"): 3}


def test_what_a_receiver_rejected_for_good_is_dropped_and_counted(pushed):
    receiver = FakeReceiver(reject=1)
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.requests.bind(("Pod", "b")).add(3)
    pushed.tell(receiver)
    status = pushed.push.status()
    assert (status.sent, status.dropped, status.last_error) == (1, 1, "too old")
    assert receiver.sums() == {("Pod", "a"): 3, ("Pod", "b"): 3}


def test_another_receiver_is_told_what_the_one_before_was_not(pushed):
    old, new = FakeReceiver(), FakeReceiver()
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.push.swap(old, NEVER, Temporality.DELTA)
    assert pushed.push.wait(lambda status: status.sent == 1, PATIENCE)
    pushed.requests.bind(("Pod", "a")).add(4)
    pushed.push.swap(new, NEVER, Temporality.DELTA)
    assert pushed.push.wait(lambda status: status.sent == 2, PATIENCE)
    assert (old.sums(), new.sums()) == ({("Pod", "a"): 3}, {("Pod", "a"): 4})
    assert old.stopped.wait(PATIENCE)


@pytest.mark.parametrize("pushed", [0.2], indirect=True, ids=["with little grace"])
def test_a_receiver_that_hangs_is_interrupted_and_its_successor_told_everything(pushed):
    old, new = FakeReceiver(hang=True), FakeReceiver()
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.push.swap(old, NEVER, Temporality.DELTA)
    assert old.asked.wait(PATIENCE)
    pushed.push.swap(new, NEVER, Temporality.DELTA)
    assert pushed.push.wait(lambda status: status.sent == 1, PATIENCE)
    assert new.sums() == {("Pod", "a"): 3}
    assert old.stopped.is_set()


def test_a_change_of_temporality_repeats_nothing(pushed):
    receiver, then = FakeReceiver(), FakeReceiver()
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.tell(receiver, Temporality.CUMULATIVE)
    pushed.requests.bind(("Pod", "a")).add(2)
    pushed.tell(then)
    assert then.sums() == {("Pod", "a"): 2}


def test_the_last_counts_are_told_at_the_end(pushed):
    receiver = FakeReceiver()
    pushed.push.swap(receiver, NEVER, Temporality.CUMULATIVE)
    assert pushed.push.wait(lambda status: status.last_success is not None, PATIENCE)
    pushed.requests.bind(("Pod", "a")).add(9)
    pushed.push.close(PATIENCE)
    assert receiver.told()["Pod", "a"][-1].value == 9
    assert receiver.stopped.is_set()


def test_a_receiver_that_is_taken_away_is_told_the_last_counts(pushed):
    receiver = FakeReceiver()
    pushed.requests.bind(("Pod", "a")).add(1)
    pushed.push.swap(receiver, NEVER, Temporality.DELTA)
    assert pushed.push.wait(lambda status: status.sent == 1, PATIENCE)
    pushed.requests.bind(("Pod", "a")).add(9)
    pushed.push.swap(None)
    assert receiver.stopped.wait(PATIENCE)
    assert [point.value for point in receiver.told()["Pod", "a"]] == [1, 9]


def test_closing_waits_for_no_receiver_longer_than_it_says(pushed):
    receiver = FakeReceiver(hang=True)
    pushed.push.swap(receiver, NEVER)
    assert receiver.asked.wait(PATIENCE)
    pushed.push.close(0.01)
    assert receiver.stopped.is_set()


def test_whatever_goes_wrong_is_an_error_in_the_status(pushed):
    def collect():
        raise ValueError("no such file")

    failing = push.Push(collect, wall_clock=lambda: 7, grace=0.2)
    failing.swap(FakeReceiver(), OFTEN)
    assert failing.wait(lambda status: status.last_error is not None, PATIENCE)
    failing.close(PATIENCE)
    assert (failing.status().last_error, failing.status().last_error_at) == (
        "collecting: ValueError('no such file')",
        7,
    )


def test_many_series_go_in_requests_of_bounded_size(pushed):
    receiver = FakeReceiver()
    for number in range(1_500):
        pushed.requests.bind((str(number), "")).add()
        pushed.duration.bind((str(number),)).record(1)
    pushed.tell(receiver)
    sizes = [sum(len(metric.data.data_points) for metric in batch) for batch in receiver.batches]
    assert max(sizes) <= push.BATCH
    assert sum(sizes) == 3_000
    assert receiver.sums() == {(str(number), ""): 1 for number in range(1_500)}


def test_what_is_told_later_is_read_later(pushed):
    """Nobody holds all of it while a receiver takes its time."""
    receiver, last = FakeReceiver(hang=True), str(2 * push.BATCH - 2)
    for number in range(2 * push.BATCH - 1):
        pushed.requests.bind((str(number), "")).add()
    pushed.push.swap(receiver, NEVER, Temporality.CUMULATIVE)
    assert receiver.asked.wait(PATIENCE)
    pushed.requests.bind((last, "")).add()
    receiver.gate.set()
    assert pushed.push.wait(lambda status: status.sent == 2 * push.BATCH, PATIENCE)
    assert [point.value for point in receiver.told()[last, ""]] == [2]


def test_series_that_are_put_together_bring_what_was_told_of_them(pushed):
    """Else dropping a label would tell a sum of differences twice."""
    receiver, then = FakeReceiver(), FakeReceiver()
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.requests.bind(("Pod", "b")).add(4)
    pushed.tell(receiver)
    pushed.requests.bind(("Pod", "b")).add(1)
    pushed.configure(exposure={"requests": {"dropLabels": ["resource_namespace"]}})
    pushed.requests.bind(("Pod", "c")).add(2)
    pushed.tell(then)
    assert then.sums() == {("Pod",): 3}


def test_series_put_together_while_they_are_under_way_are_told_once(pushed):
    """The receiver takes what it was told before the change only after it."""
    receiver, then = FakeReceiver(hang=True), FakeReceiver()
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.requests.bind(("Pod", "b")).add(4)
    pushed.push.swap(receiver, NEVER, Temporality.DELTA)
    assert receiver.asked.wait(PATIENCE)
    pushed.configure(exposure={"requests": {"dropLabels": ["resource_namespace"]}})
    pushed.configure(exposure={"requests": {"dropLabels": ["resource_namespace", "kind"]}})
    receiver.gate.set()
    assert pushed.push.wait(lambda status: status.sent == 2, PATIENCE)
    pushed.requests.bind(("Pod", "a")).add(1)
    pushed.tell(then)
    assert receiver.sums() == {("Pod", "a"): 3, ("Pod", "b"): 4}
    assert then.sums() == {(): 1}


def test_a_series_that_starts_again_is_told_from_its_start(pushed):
    receiver, then = FakeReceiver(), FakeReceiver()
    pushed.requests.bind(("Pod", "a")).add(3)
    pushed.tell(receiver)
    pushed.cells.forget({"resource_namespace": "a"})
    pushed.requests.bind(("Pod", "a")).add(2)
    pushed.tell(then)
    (point,) = then.told()["Pod", "a"]
    assert point.value == 2
    assert point.start_time_unix_nano > receiver.told()["Pod", "a"][0].time_unix_nano


@pytest.mark.parametrize("seed", range(5))
def test_differences_add_up_whatever_happens_meanwhile(pushed, seed):
    """Receivers come, go, fail and hang, labels are dropped, limits change: each count is told exactly once."""
    chance = random.Random(seed)
    receivers, total, dropped = [], 0, set()
    for _ in range(60):
        match chance.choice(["count", "count", "count", "swap", "fail", "drop", "limit"]):
            case "count":
                pushed.requests.bind((chance.choice("abcd"), chance.choice("uvwxyz"))).add(2)
                total += 2
            case "swap":
                receivers.append(FakeReceiver(refuse=chance.random() < 0.3))
                pushed.push.swap(receivers[-1], OFTEN, Temporality.DELTA)
            case "fail" if receivers:
                receivers[-1].refuse = not receivers[-1].refuse
            case "drop" if chance.random() < 0.2:
                dropped.add(chance.choice(["kind", "resource_namespace"]))
            case "limit":
                shown = {"requests": {"dropLabels": sorted(dropped)}}
                pushed.configure(exposure=shown, cardinalityLimit=chance.choice([10, 12, 100]))
    receivers.append(FakeReceiver())
    pushed.push.swap(receivers[-1], NEVER, Temporality.DELTA)
    pushed.push.close(PATIENCE)
    assert sum(sum(receiver.sums().values()) for receiver in receivers) == total
