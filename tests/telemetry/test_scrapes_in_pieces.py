"""A scrape is never there as a whole: in pieces it says what it would say at once, whatever happens meanwhile."""

import gzip
import tracemalloc

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from kymograph.runtime import scrapes
from kymograph.telemetry import cells, exposition, memory, metricsettings, prometheus
from support import alone

LABELS = tuple(f"label_{number}" for number in range(13))
LATENCY = cells.Description("duration_seconds", "how long", "s", LABELS)
RESULTS = cells.Description("results_total", "how many", "", LABELS)
RULES = cells.Description("rules", "which there are", "", LABELS)
SERIES = 1_999
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def values(number):
    return tuple(f"value-{number % 20 if each == 0 else number}-{each}" for each in range(len(LABELS)))


class Counted:
    """Metrics of many series and their reader."""

    def __init__(self, series):
        self.cells = cells.Cells(InstrumentationScope("test"), lambda: 0)
        self.latency = self.cells.histogram(LATENCY)
        self.results = self.cells.counter(RESULTS)
        self.rules = [values(number) for number in range(series)]
        self.cells.info(RULES).observe(lambda: self.rules)
        self.reader = prometheus.PullReader(self.cells)
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.count()

    def count(self):
        for each in self.rules:
            self.latency.bind(each).record(0.1)
            self.results.bind(each).add()

    def pieces(self, accept="", *, compressed=False):
        return self.reader.scrape(accept, compressed=compressed).pieces


@pytest.fixture
def counted():
    made = []

    def make(series=60):
        made.append(Counted(series))
        return made[0]

    yield make
    made[0].provider.shutdown()


def samples(body, accept=""):
    """The values of all series of the cells, by name and labels."""
    parse = openmetrics_parser if accept else parser
    found = {}
    for family in parse.text_string_to_metric_families(body.decode()):
        for sample in family.samples if family.name in ("duration_seconds", "results", "rules") else ():
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_pieces_are_small_and_make_a_whole(counted, accept):
    """Each ends where a series does, and has no more than one series above what a piece is to have."""
    *_, text = pieces = [each for each in counted().pieces(accept) if each != b"# EOF\n"]
    series = max(map(len, text.split(b"_sum{")))
    assert len(pieces) > 5
    assert max(map(len, pieces)) <= exposition.PIECE + 2 * series
    assert all(each.endswith(b"\n") for each in pieces)
    body = b"".join(counted().pieces(accept))
    assert body.endswith(b"# EOF\n") == bool(accept)
    assert len(samples(body, accept)) == 60 * (18 + 1 + 1)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_compressed_it_says_the_same(counted, accept):
    """In the format that HTTP calls gzip, and an eighth of it at most."""
    made = counted()
    plain, packed = b"".join(made.pieces(accept)), b"".join(made.pieces(accept, compressed=True))
    assert samples(gzip.decompress(packed), accept) == samples(plain, accept)
    assert len(packed) < len(plain) / 8


def scraped(compressed):
    """Bytes of a scrape of metrics at their limit, and bytes that were there at a time while it was made."""
    made = Counted(SERIES)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    size = sum(map(len, made.pieces(compressed=compressed)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    made.provider.shutdown()
    return size, peak - before


@pytest.mark.parametrize(("compressed", "text"), [(False, 10_000_000), (True, 100_000)])
def test_what_a_scrape_holds_does_not_grow_with_it(compressed, text):
    """Metrics at their limit are 13 MB of text; the scrapes that have a turn hold what telemetry has for them."""
    size, held = alone.measured(scraped, compressed)
    assert size > text
    assert held <= memory.SCRAPES / scrapes.TURNS - 2 * exposition.PIECE  # what lies before the socket


def test_scrapes_at_the_same_time_have_all_of_it_each(counted):
    """Piece by piece in turns."""
    made = counted()
    first, second = zip(*zip(made.pieces(), made.pieces(), strict=True), strict=True)
    assert samples(b"".join(first)) == samples(b"".join(second)) != {}


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.count(),
        lambda made: made.cells.forget({"label_0": "value-3-0"}),
        lambda made: made.cells.configure(metricsettings.MetricSettings(cardinality_limit=10)),
        lambda made: made.cells.configure(
            metricsettings.MetricSettings(
                exposure={"duration_seconds": metricsettings.Exposure(drop_labels=frozenset(LABELS[1:]))}
            )
        ),
        lambda made: made.cells.configure(
            metricsettings.MetricSettings(exposure={"duration_seconds": metricsettings.Exposure(buckets=(1.0, 2.0))})
        ),
    ],
    ids=["counted", "forgotten", "limited", "relabelled", "rebucketed"],
)
@pytest.mark.parametrize("after", [1, 5])
def test_what_changes_meanwhile_tears_no_series(counted, change, after):
    """The lines of a histogram agree with one another, and no series is there twice or goes back."""
    made = counted()
    before = samples(b"".join(made.pieces()))
    pieces = made.pieces()
    begun = [next(pieces) for _ in range(after)]
    change(made)
    now = samples(b"".join([*begun, *pieces]))
    for key in before.keys() & now.keys():
        assert now[key] >= before[key]
    buckets = {}
    for (name, labels), value in now.items():
        if name == "duration_seconds_bucket":
            buckets.setdefault(frozenset(each for each in labels if each[0] != "le"), []).append(value)
    for labels, counts in buckets.items():
        assert counts == sorted(counts)
        assert counts[-1] == now["duration_seconds_count", labels]
        assert now["duration_seconds_sum", labels] == pytest.approx(0.1 * counts[-1])


def test_a_piece_that_cannot_be_written_ends_the_scrape_with_its_error(counted):
    """It is for whoever answers to say what becomes of what was written; the next scrape is whole."""
    made = counted()
    made.rules, whole = [("\udcff",) * len(made.rules[0])], made.rules  # no text has UTF-8 for that
    pieces = made.pieces()
    with pytest.raises(UnicodeEncodeError):
        b"".join(pieces)
    made.rules = whole
    assert len(samples(b"".join(made.pieces()))) == 60 * (18 + 1 + 1)
