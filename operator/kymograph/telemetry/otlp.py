"""Spans and metrics over OTLP, by gRPC or HTTP.

Importing this loads protobuf, and making an exporter may load gRPC, half a second of work: do both off the event loop.
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kymograph.telemetry import delivery, destination, encoding, errors, metricencoding

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource


def deliveries(to: destination.Destination, signal: destination.Signal) -> delivery.Delivery:
    """Make what delivers encoded export requests of one signal to a destination."""
    transport: delivery.Transport
    if to.protocol is destination.Protocol.GRPC:
        transport = importlib.import_module("kymograph.telemetry.otlpgrpc").GRPCTransport(to, signal)
    else:
        transport = importlib.import_module("kymograph.telemetry.otlphttp").HTTPTransport(to)
    return delivery.Delivery(transport, to.timeout, to.redacted)


class SpanExporter:
    """An exporter of the queue (`kymograph.telemetry.export.Exporter`).

    Args:
        to: Where to.
        origin: Whose spans those are that come as bytes.
    """

    def __init__(self, to: destination.Destination, origin: encoding.Origin) -> None:
        self._encoder = encoding.Encoder(origin)
        self._delivery = deliveries(to, destination.Signal.TRACES)

    def export(self, spans: Sequence[encoding.Span]) -> None:
        """Deliver a batch.

        Raises:
            ExportFailed: The receiver could not be reached in time, or refused the batch or a part of it.
        """
        receipt = self._delivery.deliver(self._encoder.encode(spans))
        if receipt.rejected > 0:
            raise errors.ExportFailed(receipt.reason, receipt.rejected)

    def shutdown(self) -> None:
        """Give up what is under way and let go of the connection."""
        self._delivery.close()


class MetricExporter:
    """An exporter of the push (`kymograph.telemetry.push.Exporter`).

    Args:
        to: Where to.
    """

    def __init__(self, to: destination.Destination) -> None:
        self._encoder = metricencoding.Encoder()
        self._delivery = deliveries(to, destination.Signal.METRICS)

    def export(self, resource: "Resource", metrics: Sequence[metricencoding.Scoped]) -> None:
        """Deliver a batch.

        Raises:
            ExportFailed: The receiver could not be reached in time, or refused the batch or a part of it.
        """
        receipt = self._delivery.deliver(self._encoder.encode(resource, metrics))
        if receipt.rejected > 0:
            raise errors.ExportFailed(receipt.reason, receipt.rejected)

    def shutdown(self) -> None:
        """Give up what is under way and let go of the connection."""
        self._delivery.close()
