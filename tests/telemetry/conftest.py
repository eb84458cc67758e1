"""Fakes that telemetry tests share: exporters that can be told how to behave, counted ids, real OTLP receivers."""

import itertools
import threading

import pytest
from opentelemetry.sdk.trace.id_generator import IdGenerator

from kymograph.telemetry import delivery, errors, propagation, recorder, sampling, settings
from support import ports
from support import receivers as otlp


class CountedIds(IdGenerator):
    """Ids 1, 2, 3, ..., so that a test can name them; trace ids have a low half of zero: always sampled."""

    def __init__(self):
        self._spans = itertools.count(1)
        self._traces = itertools.count(1)

    def generate_span_id(self):
        return next(self._spans)

    def generate_trace_id(self):
        return next(self._traces) << 64


class FakeExporter:
    """Keeps what it is given. `fail` makes it raise; `gate` makes it hang until opened, in `thread`."""

    def __init__(self, *, fail=False, hang=False, rejected=None):
        self.spans = []
        self.batches = []
        self.fail = fail
        self.rejected = rejected
        self.gate = threading.Event()
        self.exporting = threading.Event()
        self.stopped = threading.Event()
        self.thread = None
        if not hang:
            self.gate.set()

    def export(self, spans):
        self.thread = threading.current_thread()
        self.exporting.set()
        self.gate.wait(200)  # as good as for ever: longer than any test
        if self.fail:
            raise errors.ExportFailed("refused", self.rejected)
        self.batches.append(len(spans))
        self.spans.extend(spans)

    def shutdown(self):
        self.stopped.set()


@pytest.fixture
def ids():
    return CountedIds()


@pytest.fixture
def fake_exporter():
    return FakeExporter


@pytest.fixture
def receivers():
    """Start receivers of a protocol; they stop with the test."""
    started = []

    def start(protocol=otlp.GRPC, **given):
        started.append(otlp.start(protocol, **given))
        return started[-1]

    yield start
    for receiver in started:
        receiver.stop()


@pytest.fixture
def raw_server():
    """Start a TCP server that does to connections what it is told; it stops with the test."""
    started = []

    def start(serve):
        started.append(otlp.RawServer(serve))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def port():
    """A port on loopback that is the test's also while nobody listens there: then it refuses connections."""
    with ports.held() as held:
        yield held


@pytest.fixture
def one_try(monkeypatch):
    """The pause before a second try is longer than anything may take: what fails is given up at once."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 3_600.0)


PARENT = propagation.RemoteParent(0xABC << 64 | 1, 0xDEF, sampled=True)


@pytest.fixture
def new_recorder(ids):
    """Make a recorder of a sampled request that began at 1000 on its own clock and 5000 on the wall's."""

    def make(parent=PARENT, traces=None, started_ns=1000, wall_ns=5000):
        wanted = traces or settings.TraceSettings(sampling_rate_per_million=1_000_000)
        return recorder.Recorder(sampling.decide(wanted, parent, ids), started_ns, wall_ns, ids)

    return make
