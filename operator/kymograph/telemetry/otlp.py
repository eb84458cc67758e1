"""Spans over OTLP/gRPC. Importing this loads gRPC and protobuf, half a second of work: do it off the event loop.

The SDK's mixin does the sending: a deadline of ten seconds per batch, in which transient errors are retried with
growing pauses that `shutdown` interrupts (as it cancels a call under way). It tells why it failed only in its log, so
the stub it is given here, its point of extension, remembers the last error and what a receiver rejected. Requests are
written by our own encoder, so the stub passes their bytes on as they are.
"""

from typing import TYPE_CHECKING

import grpc
from opentelemetry.exporter.otlp.proto.grpc import exporter as otlp_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.trace.export import SpanExportResult

from kymograph.telemetry import encoding, errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from kymograph.telemetry.settings import TraceSettings

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class SpanExporter(otlp_grpc.OTLPExporterMixin):  # type: ignore[type-arg] # its type variables admit messages, not bytes
    """An exporter of the queue (`kymograph.telemetry.export.Exporter`).

    Args:
        settings: Where to. Headers, compression and timeout come from `OTEL_EXPORTER_OTLP_*`, as in the SDK.
    """

    def __init__(self, settings: "TraceSettings") -> None:
        self.rejected = 0
        self.reason = ""
        self._encoder = encoding.Encoder()
        scheme = "http" if settings.plaintext else "https"
        super().__init__(
            stub=self._stub_of,
            result=SpanExportResult,
            endpoint=f"{scheme}://{settings.endpoint}",
            insecure=settings.plaintext,
        )

    def export(self, spans: "Sequence[ReadableSpan]") -> None:
        """Deliver a batch.

        Raises:
            ExportFailed: The receiver could not be reached in time, or refused the batch or a part of it.
        """
        self.rejected, self.reason = 0, ""
        if self._export(spans) is not SpanExportResult.SUCCESS:
            raise errors.ExportFailed(self.reason or "the exporter was shut down")
        if self.rejected > 0:
            raise errors.ExportFailed(self.reason, self.rejected)

    def _stub_of(self, channel: grpc.Channel) -> "_Stub":
        return _Stub(channel, self)

    def _translate_data(self, data: "Sequence[ReadableSpan]") -> bytes:
        return self._encoder.encode(data)

    def _count_data(self, data: "Sequence[ReadableSpan]") -> int:
        return len(data)

    @property
    def _exporting(self) -> str:
        return "traces"


class _Stub:
    """The trace service's stub: takes encoded requests, and tells the exporter what the mixin keeps to itself."""

    def __init__(self, channel: grpc.Channel, exporter: SpanExporter) -> None:
        self._call: grpc.UnaryUnaryMultiCallable[bytes, trace_service_pb2.ExportTraceServiceResponse]
        self._call = channel.unary_unary(
            _METHOD,
            request_serializer=None,
            response_deserializer=trace_service_pb2.ExportTraceServiceResponse.FromString,
        )
        self._exporter = exporter

    def Export(  # noqa: N802 - the service's method
        self,
        request: bytes,
        metadata: tuple[tuple[str, str], ...],
        timeout: float,
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        try:
            response = self._call(request, metadata=metadata, timeout=timeout)
        except grpc.RpcError as error:
            self._exporter.reason = f"{error.code().name}: {error.details()}"
            raise
        self._exporter.rejected = response.partial_success.rejected_spans
        self._exporter.reason = response.partial_success.error_message or "rejected by the receiver"
        return response
