"""Receives spans over OTLP/gRPC on loopback and keeps the newest in memory, for whoever asks or waits.

The API server, the kubelet and etcd export plaintext without headers, so nothing here can tell who sends: it listens
on 127.0.0.1 only, bounds what one message, one span and all spans together may take, and decides nothing by what it is
told. Metrics and logs are refused (`UNIMPLEMENTED`), as OTLP allows.
"""

import collections
import itertools
import threading
import time
from collections.abc import Callable
from concurrent import futures
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from kymograph.objecttrace import spans

_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message, unpacked: gRPC's own default, which exporters split their batches for."""

_THREADS = 2
_REQUESTS = 16
"""Requests held at once; more are refused as RESOURCE_EXHAUSTED, which exporters retry."""

_Key = tuple[str, str]


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP trace receiver; safe to use from any thread.

    A span received twice (exporters retry) is kept once, as received last. When a bound is reached, the spans received
    first go, and `dropped` counts them.

    Args:
        port: The TCP port on 127.0.0.1; 0 takes a free one.
        max_spans: How many spans are kept.
        max_bytes: How many bytes of encoded spans are kept; a span in memory takes a few times of that.
        limits: How much of one span is kept.

    Attributes:
        endpoint: `127.0.0.1:<port>`, from `start` on.
        dropped: Spans that went to make room.
        rejected: Spans that were refused because their ids are invalid.
    """

    endpoint: str

    def __init__(
        self,
        port: int = 0,
        max_spans: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
        limits: spans.Limits | None = None,
    ) -> None:
        self.dropped = 0
        self.rejected = 0
        self._port = port
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._limits = limits or spans.Limits()
        self._changed = threading.Condition()
        self._kept: collections.OrderedDict[_Key, tuple[spans.Span, int]] = collections.OrderedDict()
        self._traces: dict[str, dict[str, spans.Span]] = {}
        self._bytes = 0
        self._received = 0
        self._server: grpc.Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens.

        Raises:
            RuntimeError: The port is taken.
        """
        server = grpc.server(
            futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp"),
            maximum_concurrent_rpcs=_REQUESTS,
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # or two receivers on one port would silently share what arrives
            ],
        )
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call] # generated
        port = server.add_insecure_port(f"127.0.0.1:{self._port}")
        server.start()
        self._server = server
        self.endpoint = f"127.0.0.1:{port}"

    def stop(self) -> None:
        """Stops listening, letting requests under way finish; what was received stays. Harmless when done twice."""
        if self._server is not None:
            self._server.stop(grace=1).wait()
            self._server = None

    def received(self) -> tuple[spans.Span, ...]:
        """All spans kept, in the order received."""
        with self._changed:
            return tuple(span for span, _ in self._kept.values())

    def trace(self, trace_id: str) -> tuple[spans.Span, ...]:
        """The spans kept of one trace, by start time; none when the trace is unknown."""
        with self._changed:
            found = list(self._traces.get(trace_id, {}).values())
        return tuple(sorted(found, key=lambda span: span.start))

    def clear(self) -> None:
        """Forgets all spans."""
        with self._changed:
            self._kept.clear()
            self._traces.clear()
            self._bytes = 0

    def wait_for(self, predicate: Callable[[spans.Span], bool], timeout: float = 30.0) -> spans.Span:
        """Waits for a span, unless it is there already.

        Args:
            predicate: Says whether a span is the one; asked once about each.
            timeout: Seconds.

        Returns:
            The span; of several, one that was received last.

        Raises:
            TimeoutError: No such span came in time.
        """
        found: spans.Span | None = None
        seen = 0

        def arrived() -> bool:
            nonlocal found, seen
            unseen = itertools.islice(reversed(self._kept.values()), self._received - seen)
            seen = self._received
            found = next((span for span, _ in unseen if predicate(span)), None)
            return found is not None

        self._wait(arrived, timeout)
        assert found is not None  # noqa: S101 - `_wait` returned, so `arrived` was true
        return found

    def wait_for_trace(
        self, trace_id: str, complete: Callable[[tuple[spans.Span, ...]], bool], timeout: float = 30.0
    ) -> tuple[spans.Span, ...]:
        """Waits until what is kept of one trace satisfies a condition.

        Args:
            trace_id: 32 lower-case hex digits.
            complete: Is asked about the spans of the trace, by start time, whenever spans have arrived.
            timeout: Seconds.

        Raises:
            TimeoutError: The condition did not hold in time.
        """
        found: tuple[spans.Span, ...] = ()

        def arrived() -> bool:
            nonlocal found
            found = self.trace(trace_id)
            return complete(found)

        self._wait(arrived, timeout)
        return found

    def Export(  # noqa: N802 - the name is gRPC's
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Takes a batch; spans with invalid ids are reported as rejected in the answer's `partial_success`."""
        del context
        received = []
        rejected = 0
        for resource_spans in request.resource_spans:
            resource = spans.decode_resource(resource_spans.resource, self._limits)
            for scope_spans in resource_spans.scope_spans:
                for encoded in scope_spans.spans:
                    span = spans.decode(encoded, resource, scope_spans.scope.name, self._limits)
                    if span is None:
                        rejected += 1
                    else:
                        received.append((span, encoded.ByteSize()))
        self._keep(received, rejected)
        response = trace_service_pb2.ExportTraceServiceResponse()
        if rejected:
            response.partial_success.rejected_spans = rejected
            response.partial_success.error_message = "trace id or span id is invalid"
        return response

    def _keep(self, received: list[tuple[spans.Span, int]], rejected: int) -> None:
        with self._changed:
            self.rejected += rejected
            self._received += len(received)
            for span, size in received:
                key = (span.trace_id, span.span_id)
                if key in self._kept:
                    self._remove(key)
                self._kept[key] = (span, size)
                self._traces.setdefault(span.trace_id, {})[span.span_id] = span
                self._bytes += size
            while len(self._kept) > self._max_spans or self._bytes > self._max_bytes:
                self._remove(next(iter(self._kept)))
                self.dropped += 1
            self._changed.notify_all()

    def _remove(self, key: _Key) -> None:
        _, size = self._kept.pop(key)
        self._bytes -= size
        trace_id, span_id = key
        trace = self._traces[trace_id]
        del trace[span_id]
        if not trace:
            del self._traces[trace_id]

    def _wait(self, arrived: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with self._changed:
            while not arrived():
                left = deadline - time.monotonic()
                if left <= 0:
                    kept = len(self._kept)
                    raise TimeoutError(f"not received within {timeout:g} s; {kept} other spans are kept")
                self._changed.wait(left)
