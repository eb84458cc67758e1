"""Receivers of OTLP metrics on loopback, over gRPC (OpenTelemetry's own stubs) and HTTP."""

import concurrent.futures
import http.server
import threading
from collections.abc import Mapping

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2

from support import waiting

GRPC, HTTP = "grpc", "http/protobuf"
PROTOCOLS = (GRPC, HTTP)


class _Receiver:
    """What is common.

    Attributes:
        requests: The export requests that were taken.
        reject: How many data points of each request are rejected in a partial success.
    """

    def __init__(self) -> None:
        self.requests: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
        self.reject = 0
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def metrics(self) -> list[metrics_pb2.Metric]:
        """All metrics that came, in the order of coming."""
        return [
            metric
            for request in list(self.requests)
            for of_resource in request.resource_metrics
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
        ]

    @property
    def resources(self) -> list[dict[str, str]]:
        """The attributes of all resources that came."""
        return [
            _labels(of_resource.resource.attributes)
            for request in list(self.requests)
            for of_resource in request.resource_metrics
        ]

    def points(self, name: str, **labels: str) -> list:
        """All points of a metric that came, with these labels among others."""
        return [
            point
            for metric in self.metrics
            if metric.name == name
            for point in getattr(metric, metric.WhichOneof("data")).data_points
            if labels.items() <= _labels(point.attributes).items()
        ]

    def wait_for(self, name: str, until=bool, timeout: float = 20.0, **labels: str) -> list:
        """Wait until the points of a metric satisfy: by default, until there are any."""

        def look() -> list:
            points = self.points(name, **labels)
            return points if until(points) else []

        return waiting.until(f"{name} {labels} at the receiver", look, timeout)

    def answer(self) -> metrics_service_pb2.ExportMetricsServiceResponse:
        response = metrics_service_pb2.ExportMetricsServiceResponse()
        if self.reject:
            response.partial_success.rejected_data_points = self.reject
            response.partial_success.error_message = "too old"
        return response


class GRPCReceiver(_Receiver, metrics_service_pb2_grpc.MetricsServiceServicer):
    """OTLP over gRPC."""

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def Export(self, request, context):  # noqa: N802 - the service's method
        self.requests.append(request)
        return self.answer()

    def stop(self) -> None:
        self._server.stop(0).wait()


class HTTPReceiver(_Receiver):
    """OTLP over HTTP."""

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self.paths: list[str] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.paths.append(self.path)
                receiver.requests.append(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
                answer = receiver.answer().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start(protocol: str = GRPC, **given: int) -> GRPCReceiver | HTTPReceiver:
    """Start a receiver that speaks a protocol."""
    return (GRPCReceiver if protocol == GRPC else HTTPReceiver)(**given)


def _labels(attributes) -> Mapping[str, str]:
    return {each.key: each.value.string_value for each in attributes}
