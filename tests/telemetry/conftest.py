"""Fakes that telemetry tests share: exporters that can be told how to behave, counted ids, a real OTLP receiver."""

import concurrent.futures
import itertools
import threading

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace.id_generator import IdGenerator

from kymograph.telemetry import errors, propagation, recorder, sampling, settings


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
    """Keeps what it is given. `fail` makes it raise; `gate` makes it hang until opened."""

    def __init__(self, *, fail=False, hang=False, rejected=None):
        self.spans = []
        self.batches = []
        self.fail = fail
        self.rejected = rejected
        self.gate = threading.Event()
        self.exporting = threading.Event()
        self.stopped = threading.Event()
        if not hang:
            self.gate.set()

    def export(self, spans):
        self.exporting.set()
        self.gate.wait(30)
        if self.fail:
            raise errors.ExportFailed("refused", self.rejected)
        self.batches.append(len(spans))
        self.spans.extend(spans)

    def shutdown(self):
        self.stopped.set()


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP/gRPC receiver of traces on loopback."""

    def __init__(self, port=0):
        self.requests = []
        self.reject = 0
        self.answer_with = None
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.port}"

    def Export(self, request, context):  # noqa: N802 - the service's method
        if self.answer_with is not None:
            context.abort(self.answer_with, "not today")
        self.requests.append(request)
        response = trace_service_pb2.ExportTraceServiceResponse()
        if self.reject:
            response.partial_success.rejected_spans = self.reject
            response.partial_success.error_message = "too old"
        return response

    @property
    def spans(self):
        return [
            span
            for request in self.requests
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def resources(self):
        return [
            {attribute.key: attribute.value.string_value for attribute in of_resource.resource.attributes}
            for request in self.requests
            for of_resource in request.resource_spans
        ]

    def stop(self):
        self._server.stop(0).wait()


@pytest.fixture
def ids():
    return CountedIds()


@pytest.fixture
def fake_exporter():
    return FakeExporter


@pytest.fixture
def receivers():
    """Start receivers; they stop with the test."""
    started = []

    def start(port=0):
        started.append(Receiver(port))
        return started[-1]

    yield start
    for receiver in started:
        receiver.stop()


PARENT = propagation.RemoteParent(0xABC << 64 | 1, 0xDEF, sampled=True)


@pytest.fixture
def new_recorder(ids):
    """Make a recorder of a sampled request that began at 1000 on its own clock and 5000 on the wall's."""

    def make(parent=PARENT, traces=None, started_ns=1000, wall_ns=5000):
        wanted = traces or settings.TraceSettings(sampling_rate_per_million=1_000_000)
        return recorder.Recorder(sampling.decide(wanted, parent, ids), started_ns, wall_ns, ids)

    return make
