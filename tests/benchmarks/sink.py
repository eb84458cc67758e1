"""An OTLP/gRPC receiver that keeps what it gets as bytes: decoding would take a processor from what is measured."""

import time
from concurrent import futures
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

QUIET = 1.2
"""Seconds."""

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Sink:
    """A receiver of traces on a free port of loopback; a context manager."""

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        export = grpc.unary_unary_rpc_method_handler(self._export)  # no deserialiser: bytes in, bytes out
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {"Export": export})])
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop(0).wait()

    @property
    def exports(self) -> int:
        """How many messages have come."""
        return len(self._received)

    def wait_until_quiet(self) -> None:
        """Until no span is on its way any more: for twice as long as one waits for others at most, none has come."""
        seen, since = self.exports, time.monotonic()
        while time.monotonic() - since < QUIET:
            time.sleep(0.05)
            if self.exports != seen:
                seen, since = self.exports, time.monotonic()

    def wait_for(self, count: int) -> None:
        """Until so many spans have come since they were taken last, or no more come."""
        seen, read, since = 0, 0, time.monotonic()
        while seen < count and time.monotonic() - since < QUIET:
            time.sleep(0.01)
            if new := self._received[read:]:
                read, since = read + len(new), time.monotonic()
                seen += sum(map(len, map(spans_of, new)))

    def take_requests(self) -> list[bytes]:
        """The requests received since they were taken last."""
        received, self._received = self._received, []
        return received

    def take(self) -> list[trace_pb2.Span]:
        """The spans of these requests."""
        return [span for request in self.take_requests() for span in spans_of(request)]

    def _export(self, request: bytes, _context: grpc.ServicerContext) -> bytes:
        self._received.append(request)
        return b""


def spans_of(request: bytes) -> list[trace_pb2.Span]:
    """The spans of a request."""
    return [
        span
        for resource in trace_service_pb2.ExportTraceServiceRequest.FromString(request).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
