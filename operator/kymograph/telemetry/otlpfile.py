"""OTLP into files or onto standard output, for development: one export request a line, as JSON.

Source: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/ and, for how protobuf is JSON there (ids in
hexadecimal, enumerations as numbers), https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. A file is
opened for each request: it may be moved away at any time. It is named by a flag and never by a resource, whose author
could have any file of the Pod written otherwise.
"""

import base64
import pathlib
import sys
from typing import Any

import orjson
from google.protobuf import json_format  # type: ignore[import-untyped] # ships no types
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from kymograph.telemetry import delivery, destination

_REQUESTS: dict[destination.Signal, type[Any]] = {
    destination.Signal.TRACES: trace_service_pb2.ExportTraceServiceRequest,
    destination.Signal.METRICS: metrics_service_pb2.ExportMetricsServiceRequest,
    destination.Signal.LOGS: logs_service_pb2.ExportLogsServiceRequest,
}
_IDS = frozenset({"traceId", "spanId", "parentSpanId"})


class FileTransport:
    """Writes the requests of one signal.

    Args:
        output: A directory, in which `traces.jsonl`, `metrics.jsonl` and `logs.jsonl` are appended to; or `-`.
        signal: What is exported.
    """

    def __init__(self, output: str, signal: destination.Signal) -> None:
        self._request = _REQUESTS[signal]
        self._path = (
            None if output == destination.STANDARD_OUTPUT else pathlib.Path(output, f"{signal.name.lower()}.jsonl")
        )

    def attempt(self, request: bytes, timeout: float) -> bytes:  # noqa: ARG002 - a file takes the time it takes
        """Write an encoded request; see `delivery.Transport`."""
        line = as_json(self._request.FromString(request)) + b"\n"
        try:
            if self._path is None:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            else:
                with self._path.open("ab") as file:
                    file.write(line)
        except OSError as error:
            raise delivery.Refused(f"{self._path or 'standard output'}: {error.strerror}", passing=False) from None
        return b""

    def close(self) -> None:
        """Nothing is held between two requests."""


def as_json(request: Any) -> bytes:
    """Write an export request as OTLP has it in JSON."""
    return orjson.dumps(_with_ids(json_format.MessageToDict(request, use_integers_for_enums=True)))


def _with_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: base64.b64decode(each).hex() if key in _IDS else _with_ids(each) for key, each in value.items()}
    return [_with_ids(each) for each in value] if isinstance(value, list) else value
