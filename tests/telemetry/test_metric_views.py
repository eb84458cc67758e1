"""How metrics are shown changes while they are counted: names, labels, buckets, namespaces, how many series."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, errors, metricsettings, views

REQUESTS = cells.Description("requests_total", "how many", "", ("kind", "resource_namespace"), kyverno=True)
DURATION = cells.Description("duration_seconds", "how long", "s", ("kind", "resource_namespace"), kyverno=True)
RESTARTS = cells.Description("restarts_total", "restarts", "", ("policy_name",))
CHANGES = cells.Description("changes_total", "changes", "", ("policy_name",), lasting=True)
INFO = cells.Description("rule_info_total", "rules", "", ("policy_name", "rule_name"), kyverno=True)


class Counted:
    """Metrics of all kinds, read by name and labels, on a clock that advances with every look."""

    def __init__(self):
        self.now = 0
        self.cells = cells.Cells(InstrumentationScope("test"), self.tick)
        self.requests = self.cells.counter(REQUESTS)
        self.duration = self.cells.histogram(DURATION, (0.1, 1.0))
        self.restarts = self.cells.counter(RESTARTS)
        self.changes = self.cells.counter(CHANGES)
        self.info = self.cells.info(INFO)

    def tick(self):
        self.now += 1
        return self.now

    def configure(self, **fields):
        self.cells.configure(metricsettings.from_spec(fields))

    def metrics(self):
        return {metric.name: metric for metric in self.cells.read()}

    def points(self, name):
        metric = self.metrics().get(name)
        return {} if metric is None else {tuple(p.attributes.items()): p for p in metric.data.data_points}

    def values(self, name):
        return {
            tuple(value for _, value in key): point.value if isinstance(point, sdk.NumberDataPoint) else point.count
            for key, point in self.points(name).items()
        }


@pytest.fixture
def counted():
    made = Counted()
    for kind, namespace, times in (("Pod", "a", 1), ("Pod", "b", 2), ("Service", "a", 4), ("Namespace", "", 8)):
        made.requests.bind((kind, namespace)).add(times)
        for _ in range(times):
            made.duration.bind((kind, namespace)).record(0.5)
    return made


ALL = {("Pod", "a"): 1, ("Pod", "b"): 2, ("Service", "a"): 4, ("Namespace", ""): 8}


def test_names_in_otlp_have_no_suffix_and_the_prefix_is_for_what_kyverno_has(counted):
    counted.restarts.bind(("p",)).add()
    assert set(counted.metrics()) == {"requests", "duration_seconds", "restarts"}
    counted.configure(prefix="kyverno_")
    assert set(counted.metrics()) == {"kyverno_requests", "kyverno_duration_seconds", "restarts"}
    assert counted.values("kyverno_requests") == ALL


@pytest.mark.parametrize("spelling", ["requests", "requests_total", "kyverno_requests", "kyverno_requests_total"])
@pytest.mark.parametrize("prefix", ["", "kyverno_"])
def test_every_spelling_of_a_name_is_understood(counted, spelling, prefix):
    """Kyverno's own chart uses one that Kyverno does not understand."""
    counted.configure(prefix=prefix, exposure={spelling: {"enabled": False}})
    assert set(counted.metrics()) == {f"{prefix}duration_seconds"}


def test_a_gauge_is_spelled_only_as_it_is(counted):
    with pytest.raises(errors.SettingsInvalid, match="there is no such metric"):
        counted.configure(exposure={"rule_info": {"enabled": False}})


@pytest.mark.parametrize(
    ("exposure", "path", "text"),
    [
        (
            {"request_total": {}},
            "metrics.exposure[request_total]",
            "there is no such metric; there are changes_total, duration_seconds, requests_total, restarts_total,",
        ),
        ({"kyverno_restarts_total": {}}, "metrics.exposure[kyverno_restarts_total]", "there is no such metric"),
        (
            {"requests": {"dropLabels": ["namespace"]}},
            "metrics.exposure[requests].dropLabels",
            "there is no label 'namespace'; its labels are kind, resource_namespace",
        ),
        ({"requests": {"buckets": [1]}}, "metrics.exposure[requests].buckets", "it is no histogram"),
        ({"requests": {}, "requests_total": {}}, "metrics.exposure[requests_total]", "configured twice"),
    ],
)
def test_a_wrong_name_is_refused_with_those_there_are_and_changes_nothing(counted, exposure, path, text):
    counted.configure(exposure={"requests": {"dropLabels": ["kind"]}})
    before = counted.values("requests")
    with pytest.raises(errors.SettingsInvalid) as refused:
        counted.configure(prefix="kyverno_", exposure=exposure)
    assert refused.value.path == path
    assert text in str(refused.value)
    assert counted.values("requests") == before


def test_dropped_labels_add_up_what_was_counted_and_go_on(counted):
    counted.configure(
        exposure={
            "requests": {"dropLabels": ["resource_namespace"]},
            "duration_seconds": {"dropLabels": ["resource_namespace"]},
        }
    )
    counted.requests.bind(("Pod", "c")).add(10)
    counted.duration.bind(("Pod", "c")).record(0.05)
    assert counted.values("requests") == {("Pod",): 13, ("Service",): 4, ("Namespace",): 8}
    (pod,) = [point for key, point in counted.points("duration_seconds").items() if key == (("kind", "Pod"),)]
    assert (pod.bucket_counts, pod.count, pod.sum) == ([1, 3, 0], 4, 1.55)


def test_all_labels_can_be_dropped(counted):
    counted.configure(exposure={"requests": {"dropLabels": ["kind", "resource_namespace"]}})
    assert counted.values("requests") == {(): 15}


def test_labels_that_come_back_are_empty_in_what_was_counted_without_them(counted):
    """To Prometheus an empty label is none: the series goes on, and those that begin now have the label."""
    counted.configure(exposure={"requests": {"dropLabels": ["kind"]}})
    before = counted.now
    counted.configure()
    counted.requests.bind(("Pod", "a")).add()
    assert counted.values("requests") == {("", "a"): 5, ("", "b"): 2, ("", ""): 8, ("Pod", "a"): 1}
    assert counted.values("duration_seconds") == ALL
    starts = {key[0][1]: point.start_time_unix_nano for key, point in counted.points("requests").items()}
    assert starts["Pod"] > before > starts[""]


TENANTS = cells.Description(
    "tenants_total", "", "", ("kind", "resource_namespace"), kyverno=True, optional=views.BY_NAMESPACE
)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, {("Pod",)}),
        ({"byNamespace": True}, {("Pod", "a")}),
        ({"prefix": "kyverno_"}, {("Pod", "a")}),
        ({"prefix": "kyverno_", "byNamespace": False}, {("Pod",)}),
        ({"exposure": {"tenants": {"enabled": True}}}, {("Pod",)}),
        ({"exposure": {"tenants": {"dropLabels": []}}}, {("Pod", "a")}),
        ({"exposure": {"tenants": {"dropLabels": ["kind"]}}}, {("a",)}),
        ({"byNamespace": True, "exposure": {"tenants": {"dropLabels": ["resource_namespace"]}}}, {("Pod",)}),
    ],
)
def test_a_label_of_many_values_is_shown_where_it_is_asked_for_and_under_kyvernos_names(said, shown):
    """By one line for all metrics, or for one, whose own word on labels counts."""
    made = Counted()
    tenants = made.cells.counter(TENANTS)
    made.configure(**said)
    tenants.bind(("Pod", "a")).add()
    assert {each for name in ("tenants", "kyverno_tenants") for each in made.values(name)} == shown


def test_a_namespace_filter_holds_where_namespaces_are_not_shown():
    made = Counted()
    tenants = made.cells.counter(TENANTS)
    made.configure(namespaces={"exclude": ["kube-*"]})
    tenants.bind(("Pod", "kube-system")).add()
    tenants.bind(("Pod", "a")).add(2)
    assert made.values("tenants") == {("Pod",): 2}


def test_other_buckets_start_the_metric_again_with_a_new_start_time(counted):
    counted.configure(exposure={"duration_seconds": {"buckets": [0.5, 2]}})
    assert counted.points("duration_seconds") == {}
    changed = counted.now
    counted.duration.bind(("Pod", "a")).record(0.5)
    (point,) = counted.points("duration_seconds").values()
    assert (point.explicit_bounds, point.bucket_counts) == ((0.5, 2.0), [1, 0, 0])
    assert 0 < point.start_time_unix_nano <= changed
    counted.configure(prefix="kyverno_", exposure={"duration_seconds": {"buckets": [0.5, 2]}})
    assert counted.values("kyverno_duration_seconds") == {("Pod", "a"): 1}
    assert counted.values("kyverno_requests") == ALL


def test_a_metric_that_is_not_shown_is_counted_all_the_same(counted):
    counted.configure(exposure={"requests": {"enabled": False}})
    counted.requests.bind(("Pod", "a")).add()
    assert "requests" not in counted.metrics()
    counted.configure()
    assert counted.values("requests") == {**ALL, ("Pod", "a"): 2}


def test_namespaces_are_the_resources_own_and_what_has_none_passes(counted):
    counted.restarts.bind(("a",)).add()
    counted.configure(namespaces={"exclude": ["a*"]})
    assert counted.values("requests") == {("Pod", "b"): 2, ("Namespace", ""): 8}
    counted.requests.bind(("Pod", "a")).add(100)
    counted.requests.bind(("Pod", "b")).add(1)
    assert counted.values("requests") == {("Pod", "b"): 3, ("Namespace", ""): 8}
    assert counted.values("restarts") == {("a",): 1}
    excluded = counted.now
    counted.configure()
    counted.requests.bind(("Pod", "a")).add(1)
    assert counted.values("requests") == {("Pod", "a"): 1, ("Pod", "b"): 3, ("Namespace", ""): 8}
    starts = {key[1][1]: point.start_time_unix_nano for key, point in counted.points("requests").items()}
    assert starts["a"] >= excluded > starts["b"]


def test_a_namespace_filter_holds_for_series_that_do_not_show_it(counted):
    """What is excluded is not counted, and a sum never goes back: it would be taken for a restart."""
    counted.configure(namespaces={"include": ["b"]}, exposure={"requests": {"dropLabels": ["resource_namespace"]}})
    assert counted.values("requests") == {("Pod",): 2, ("Namespace",): 8}
    counted.requests.bind(("Pod", "a")).add()
    counted.requests.bind(("Pod", "b")).add()
    assert counted.values("requests") == {("Pod",): 3, ("Namespace",): 8}


def test_what_does_not_fit_is_counted_in_one_series_more(counted):
    counted.configure(cardinalityLimit=10)
    for number in range(100):
        counted.requests.bind((str(number), "")).add()
    values = counted.values("requests")
    assert len(values) == 10
    assert values.pop((True,)) == 95
    assert values == {**ALL, **{(str(number), ""): 1 for number in range(5)}}
    assert sum(counted.values("requests").values()) == 115


def test_a_lower_limit_loses_no_count(counted):
    for number in range(100):
        counted.requests.bind((str(number), "")).add()
    counted.configure(cardinalityLimit=10)
    values = counted.values("requests")
    assert len(values) == 10
    assert sum(values.values()) == 115
    counted.configure(cardinalityLimit=2000)
    counted.requests.bind(("new", "")).add()
    values = counted.values("requests")
    assert (len(values), values["new", ""], sum(values.values())) == (11, 1, 116)


def test_the_memory_of_cells_is_bounded(counted):
    for number in range(20_000):
        counted.requests.bind((str(number), "")).add()
    assert len(counted.values("requests")) == 2_000


def test_what_is_gone_is_forgotten_in_every_metric_that_shows_it(counted):
    counted.restarts.bind(("a",)).add()
    before = counted.now
    counted.cells.forget({"resource_namespace": "a"})
    assert counted.values("requests") == counted.values("duration_seconds")
    assert counted.values("requests") == {("Pod", "b"): 2, ("Namespace", ""): 8}
    assert counted.values("restarts") == {("a",): 1}
    counted.requests.bind(("Pod", "a")).add()
    new = counted.points("requests")[(("kind", "Pod"), ("resource_namespace", "a"))]
    assert new.value == 1
    assert new.start_time_unix_nano > before


def test_a_series_that_does_not_show_what_is_gone_stays(counted):
    counted.configure(exposure={"requests": {"dropLabels": ["resource_namespace"]}})
    counted.cells.forget({"resource_namespace": "a"})
    assert counted.values("requests") == {("Pod",): 3, ("Service",): 4, ("Namespace",): 8}


def test_lasting_series_stay(counted):
    counted.restarts.bind(("p",)).add()
    counted.changes.bind(("p",)).add()
    counted.cells.forget({"policy_name": "p"})
    assert counted.values("restarts") == {}
    assert counted.values("changes") == {("p",): 1}


def test_whoever_holds_cells_is_told_when_to_bind_them_anew(counted):
    told = []
    counted.cells.on_rebinding(lambda: told.append(counted.now))
    counted.configure(prefix="kyverno_")
    counted.configure(cardinalityLimit=100)
    counted.cells.forget({"resource_namespace": "unheard of"})
    assert told == []
    counted.configure(exposure={"requests": {"dropLabels": ["kind"]}})
    counted.cells.forget({"resource_namespace": "a"})
    assert len(told) == 2


def test_a_higher_limit_gives_room_to_whoever_held_the_overflow_series(counted):
    told = []
    counted.cells.on_rebinding(lambda: told.append(counted.now))
    counted.configure(cardinalityLimit=10)
    for number in range(10):
        counted.requests.bind((str(number), "")).add()
    counted.configure(cardinalityLimit=100)
    assert len(told) == 1
    counted.requests.bind(("9", "")).add()
    assert counted.values("requests")["9", ""] == 1


def test_a_cell_without_labels_is_forever():
    made = Counted()
    total = made.cells.counter(cells.Description("all_total", "", "", ()))
    cell = total.bind(())
    made.configure(cardinalityLimit=10, namespaces={"include": ["a"]}, prefix="kyverno_")
    made.cells.forget({"policy_name": "p"})
    cell.add()
    assert made.values("all") == {(): 1}


def test_information_is_observed_and_stays_one(counted):
    counted.info.observe(lambda: [("p", "a"), ("p", "b"), ("q", "a")])
    assert counted.values("rule_info_total") == {("p", "a"): 1, ("p", "b"): 1, ("q", "a"): 1}
    counted.configure(exposure={"rule_info_total": {"dropLabels": ["rule_name"]}})
    assert counted.values("rule_info_total") == {("p",): 1, ("q",): 1}
    assert isinstance(counted.metrics()["rule_info_total"].data, sdk.Gauge)
    counted.configure(cardinalityLimit=10)
    counted.info.observe(lambda: [("p", str(number)) for number in range(100)])
    values = counted.values("rule_info_total")
    assert (len(values), values[True,]) == (10, 1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.sampled_from("abcde"), st.sampled_from(["", "x", "y"])),
        st.tuples(st.just("drop"), st.sets(st.sampled_from(["kind", "resource_namespace"]))),
        st.tuples(st.just("limit"), st.sampled_from([10, 11, 2_000])),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_count_is_lost_while_labels_go_and_come_back(steps):
    """Whatever else changes in between, the sum of all series is what was counted."""
    made, dropped, limit, total = Counted(), set(), 2_000, 0
    for step, *values in steps:
        if step == "count":
            made.requests.bind(tuple(values)).add()
            made.duration.bind(tuple(values)).record(0.5)
            total += 1
            continue
        if step == "drop":
            (dropped,) = values
        else:
            (limit,) = values
        shown = {"dropLabels": sorted(dropped)}
        made.configure(exposure={"requests": shown, "duration_seconds": shown}, cardinalityLimit=limit)
    for name in ("requests", "duration_seconds"):
        assert sum(made.values(name).values()) == total
        assert len(made.values(name)) <= limit
