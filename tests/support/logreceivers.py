"""OTLP receivers of log records on loopback, over gRPC and HTTP."""

import concurrent.futures
import gzip
import http.server
import threading

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

from support import waiting

GRPC, HTTP = "grpc", "http/protobuf"


class _Receiver:
    """What is common.

    Attributes:
        requests: The export requests that were taken.
        reject: How many records of each are rejected in a partial success.
    """

    def __init__(self) -> None:
        self.requests: list[logs_service_pb2.ExportLogsServiceRequest] = []
        self.reject = 0
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def records(self) -> list:
        """The records, each with the name of its scope."""
        return [
            (of_scope.scope.name, record)
            for request in list(self.requests)
            for of_resource in request.resource_logs
            for of_scope in of_resource.scope_logs
            for record in of_scope.log_records
        ]

    @property
    def bodies(self) -> list[str]:
        return [record.body.string_value for _, record in self.records]

    @property
    def resource(self) -> dict[str, str]:
        described = self.requests[-1].resource_logs[0].resource.attributes
        return {attribute.key: attribute.value.string_value for attribute in described}

    def wait_for(self, body: str):
        """The record with this body, and its scope, once it has come."""
        return waiting.until(
            f"{body!r} at the receiver",
            lambda: next((found for found in self.records if found[1].body.string_value == body), None),
        )

    def answer(self) -> logs_service_pb2.ExportLogsServiceResponse:
        response = logs_service_pb2.ExportLogsServiceResponse()
        if self.reject:
            response.partial_success.rejected_log_records = self.reject
            response.partial_success.error_message = "not today"
        return response


class GRPCReceiver(_Receiver, logs_service_pb2_grpc.LogsServiceServicer):
    """OTLP over gRPC."""

    def __init__(self) -> None:
        super().__init__()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def Export(self, request, _context):  # noqa: N802 - the service's method
        self.requests.append(request)
        return self.answer()

    def stop(self) -> None:
        self._server.stop(0).wait()


class HTTPReceiver(_Receiver):
    """OTLP over HTTP/1.1.

    Attributes:
        paths: Where requests were posted to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.paths.append(self.path)
                receiver.requests.append(logs_service_pb2.ExportLogsServiceRequest.FromString(body))
                answer = receiver.answer().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start(protocol: str = GRPC) -> GRPCReceiver | HTTPReceiver:
    """Start a receiver that speaks a protocol."""
    return GRPCReceiver() if protocol == GRPC else HTTPReceiver()
