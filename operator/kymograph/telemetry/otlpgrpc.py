"""OTLP over gRPC. Importing this loads gRPC, half a second of work: do it off the event loop.

gRPC itself is used, not the SDK's exporter around it: that one takes headers, certificates and timeouts from the
environment where it is given none, encodes anew for every try, and tells why it failed only in its log.
"""

import contextlib
from collections.abc import Iterable

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # generated, and ships no types

from kymograph.telemetry import delivery, destination, trust

_SERVICES = {
    destination.Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    destination.Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    destination.Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}

_PASSING = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.primary_user_agent", "kymograph"),
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # its own two minutes would hide that a collector is back
    ("grpc.use_local_subchannel_pool", 1),  # a new exporter does not inherit the pauses of its predecessor
)


class GRPCTransport:
    """A channel to one receiver, for one signal.

    Args:
        to: Where to.
        signal: What is exported.
    """

    def __init__(self, to: destination.Destination, signal: destination.Signal) -> None:
        self._metadata = to.headers
        options = _OPTIONS + ((("grpc.ssl_target_name_override", to.server_name),) if to.server_name else ())
        compression = grpc.Compression.Gzip if to.gzip else grpc.Compression.NoCompression
        if to.plaintext:
            self._channel = grpc.insecure_channel(to.endpoint, options=options, compression=compression)
        else:
            roots = to.ca if to.ca is not None else trust.system_roots()
            credentials = grpc.ssl_channel_credentials(roots, to.key, to.certificate)
            self._channel = grpc.secure_channel(to.endpoint, credentials, options=options, compression=compression)
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes]
        self._call = self._channel.unary_unary(_SERVICES[signal], request_serializer=None, response_deserializer=None)

    def attempt(self, request: bytes, timeout: float) -> bytes:
        """Send an encoded request; see `delivery.Transport`."""
        try:
            return self._call(request, metadata=self._metadata, timeout=timeout)
        except grpc.RpcError as error:
            code, wait = error.code(), _wait_of(error)
            passing = code in _PASSING or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and wait is not None)
            raise delivery.Refused(
                f"{code.name}: {error.details()}", passing=passing, wait=wait, code=code.name
            ) from None
        except ValueError:
            raise delivery.Refused("the channel was closed", passing=False) from None

    def close(self) -> None:
        """Cancel the call under way and let go of the connection."""
        self._channel.close()


def _wait_of(error: grpc.RpcError) -> float | None:
    """How long the receiver wants to be left alone: a RetryInfo among the status' details."""
    with contextlib.suppress(Exception):  # whatever stands there was written by somebody else
        metadata: Iterable[tuple[str, bytes]] = error.trailing_metadata()  # type: ignore[assignment] # pairs of its keys and values
        packed = next(value for key, value in metadata if key == "grpc-status-details-bin")
        for detail in status_pb2.Status.FromString(packed).details:
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                return max(0.0, float(info.retry_delay.ToNanoseconds()) / 1e9)
    return None
