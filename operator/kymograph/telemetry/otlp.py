"""Spans, metrics and log records over OTLP, by gRPC or HTTP.

Importing this loads protobuf, and making an exporter may load gRPC, half a second of work: do both off the event loop.
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kymograph.telemetry import delivery, destination, encoding, errors, logexport, metricencoding

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource


def transport(to: destination.Destination, signal: destination.Signal) -> delivery.Transport:
    """Make what sends encoded export requests of one signal to a destination, each once."""
    made: delivery.Transport
    if to.output:
        made = importlib.import_module("kymograph.telemetry.otlpfile").FileTransport(to.output, signal)
    elif to.protocol is destination.Protocol.GRPC:
        made = importlib.import_module("kymograph.telemetry.otlpgrpc").GRPCTransport(to, signal)
    else:
        made = importlib.import_module("kymograph.telemetry.otlphttp").HTTPTransport(to)
    return made


class _Exporter:
    """What exporters of all signals have in common."""

    def __init__(self, to: destination.Destination, signal: destination.Signal) -> None:
        self._delivery = delivery.Delivery(transport(to, signal), to.timeout, to.redacted)

    def shutdown(self) -> None:
        """Give up what is under way and let go of the connection."""
        self._delivery.close()

    def _deliver(self, request: bytes) -> None:
        receipt = self._delivery.deliver(request)
        if receipt.rejected > 0:
            raise errors.ExportFailed(receipt.reason, receipt.rejected)


class SpanExporter(_Exporter):
    """An exporter of the queue of spans (`kymograph.telemetry.export.Exporter`).

    Args:
        to: Where to.
        origin: Whose spans those are that come as bytes.
    """

    def __init__(self, to: destination.Destination, origin: encoding.Origin) -> None:
        super().__init__(to, destination.Signal.TRACES)
        self._encoder = encoding.Encoder(origin)

    def export(self, spans: Sequence[encoding.Span], /) -> None:
        """Deliver a batch.

        Raises:
            ExportFailed: The receiver could not be reached in time, or refused the batch or a part of it.
        """
        self._deliver(self._encoder.encode(spans))


class LogExporter(_Exporter):
    """An exporter of the queue of log records.

    Args:
        to: Where to.
        origin: Whose records they are: the resource, and the version of our own loggers' scopes.
    """

    def __init__(self, to: destination.Destination, origin: encoding.Origin) -> None:
        super().__init__(to, destination.Signal.LOGS)
        self._origin = origin

    def export(self, records: Sequence[logexport.Written], /) -> None:
        """Deliver a batch.

        Raises:
            ExportFailed: See `SpanExporter`.
        """
        self._deliver(logexport.request(self._origin.resource, self._origin.scope.version, records))


class MetricExporter(_Exporter):
    """An exporter of the push (`kymograph.telemetry.push.Exporter`).

    Args:
        to: Where to.
    """

    def __init__(self, to: destination.Destination) -> None:
        super().__init__(to, destination.Signal.METRICS)
        self._encoder = metricencoding.Encoder()

    def export(self, resource: "Resource", metrics: Sequence[metricencoding.Scoped]) -> None:
        """Deliver a batch.

        Raises:
            ExportFailed: See `SpanExporter`.
        """
        self._deliver(self._encoder.encode(resource, metrics))
