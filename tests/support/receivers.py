"""OTLP receivers of traces on loopback, over gRPC and HTTP, with and without TLS, that can be told to misbehave.

Both are told in the same words what to do, so that a test can be written once for both protocols.
"""

import concurrent.futures
import dataclasses
import gzip
import http.server
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.keypairs import issuing
from kymograph.telemetry import encoding
from support import otlpservice

GRPC, HTTP = "grpc", "http/protobuf"
PROTOCOLS = (GRPC, HTTP)
ORIGIN = encoding.Origin(Resource({"service.name": "test"}), InstrumentationScope("test"))


@dataclasses.dataclass(frozen=True)
class Refusal:
    """How a request is refused: the gRPC code, the HTTP status, and when to come again."""

    code: grpc.StatusCode
    status: int
    retry_after: int | None = None


UNAVAILABLE = Refusal(grpc.StatusCode.UNAVAILABLE, 503)
THROTTLED = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, retry_after=1)
FORBIDDEN = Refusal(grpc.StatusCode.PERMISSION_DENIED, 403)
UNAUTHENTICATED = Refusal(grpc.StatusCode.UNAUTHENTICATED, 401)


class _Receiver:
    """What is common.

    Attributes:
        requests: The export requests that were taken.
        headers: The headers of every request, taken or not, names in lower case.
        refuse: How requests are refused; None takes them.
        refuse_first: How many requests are refused before one is taken; None is all, while `refuse` is set.
        reject: How many spans of each request are rejected in a partial success.
        words: What is said of what is refused or rejected.
        gate: Requests wait until it is open.
    """

    protocol = GRPC

    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.refuse: Refusal | None = None
        self.refuse_first: int | None = None
        self.reject = 0
        self.words = "not today"
        self.gate = threading.Event()
        self.gate.set()
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def spans(self):
        return [
            span
            for request in list(self.requests)
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def resources(self):
        return [
            {attribute.key: attribute.value.string_value for attribute in of_resource.resource.attributes}
            for request in list(self.requests)
            for of_resource in request.resource_spans
        ]

    def refusal(self) -> Refusal | None:
        """What the next request is refused with, counting it."""
        self.gate.wait(60)
        if self.refuse is not None and self.refuse_first is not None:
            if self.refuse_first == 0:
                return None
            self.refuse_first -= 1
        return self.refuse

    def answer(self) -> trace_service_pb2.ExportTraceServiceResponse:
        response = trace_service_pb2.ExportTraceServiceResponse()
        if self.reject:
            response.partial_success.rejected_spans = self.reject
            response.partial_success.error_message = self.words
        return response


class GRPCReceiver(_Receiver, trace_service_pb2_grpc.TraceServiceServicer):
    """OTLP over gRPC.

    Args:
        port: 0 for a free one.
        tls: What to serve with; None is plaintext.
        client_ca: PEM of the authorities whose client certificates are demanded.
    """

    def __init__(self, port: int = 0, tls: issuing.KeyPair | None = None, client_ca: bytes | None = None) -> None:
        super().__init__()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        if tls is None:
            self.port = otlpservice.listening(lambda: self._server.add_insecure_port(f"127.0.0.1:{port}"))
        else:
            credentials = grpc.ssl_server_credentials([(tls.key, tls.certificate)], client_ca, client_ca is not None)
            self.port = otlpservice.listening(lambda: self._server.add_secure_port(f"127.0.0.1:{port}", credentials))
        self._server.start()

    def Export(self, request, context):  # noqa: N802 - the service's method
        self.headers.append({key: value for key, value in context.invocation_metadata() if isinstance(value, str)})
        refusal = self.refusal()
        if refusal is not None:
            if refusal.retry_after is not None:
                info = error_details_pb2.RetryInfo()
                info.retry_delay.seconds = refusal.retry_after
                packed = any_pb2.Any()
                packed.Pack(info)
                status = status_pb2.Status(code=refusal.code.value[0], message=self.words, details=[packed])
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(refusal.code, self.words)
        self.requests.append(request)
        return self.answer()

    def stop(self) -> None:
        self.gate.set()
        self._server.stop(0).wait()


class HTTPReceiver(_Receiver):
    """OTLP over HTTP/1.1; the arguments are those of `GRPCReceiver`.

    Attributes:
        paths: Where requests were posted to.
        connections: How many connections were made.
    """

    protocol = HTTP

    def __init__(self, port: int = 0, tls: issuing.KeyPair | None = None, client_ca: bytes | None = None) -> None:
        super().__init__()
        self.paths: list[str] = []
        self.connections = 0
        self._server = _Server(("127.0.0.1", port), self._handler())
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.NamedTemporaryFile() as file:
                file.write(tls.certificate + b"\n" + tls.key)
                file.flush()
                context.load_cert_chain(file.name)
            if client_ca is not None:
                context.load_verify_locations(cadata=client_ca.decode())
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.tls = context
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                receiver.connections += 1

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.paths.append(self.path)
                receiver.headers.append({key.lower(): value for key, value in self.headers.items()})
                refusal = receiver.refusal()
                if refusal is None:
                    receiver.requests.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
                    self.reply(200, receiver.answer().SerializeToString(), {})
                    return
                wait = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
                said = status_pb2.Status(message=receiver.words).SerializeToString()
                self.reply(refusal.status, said, wait)

            def reply(self, status, body, headers):
                self.send_response(status)
                for key, value in {"Content-Type": "application/x-protobuf", **headers}.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler

    def stop(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    """Does handshakes in the threads of connections, and can end them all."""

    daemon_threads = True
    allow_reuse_address = True
    tls: ssl.SSLContext | None = None

    def __init__(self, *arguments) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*arguments)

    def finish_request(self, request, client_address):
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        self.open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.open.discard(request)
            request.close()

    def handle_error(self, request, client_address):
        pass  # a client that goes away, or whose certificate is refused, is what tests are about

    def close_connections(self) -> None:
        for each in list(self.open):
            try:
                socket.socket.shutdown(each, socket.SHUT_RDWR)
            except OSError:
                continue


def start(protocol: str, **given) -> GRPCReceiver | HTTPReceiver:
    """Start a receiver that speaks a protocol."""
    return (GRPCReceiver if protocol == GRPC else HTTPReceiver)(**given)


class RawServer:
    """A TCP server on loopback that does to each connection what it is told, in a thread of its own.

    Args:
        serve: Is given each connection, which is closed after it.
    """

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._serve = serve
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._serve(connection)
            except OSError:
                return

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # else the thread would wait for one more connection
        self._listener.close()


def reset(connection: socket.socket) -> None:
    """Read what comes first, then break the connection off (RST)."""
    connection.recv(65_536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(connection: socket.socket) -> None:
    """Read everything and never say a word."""
    while connection.recv(65_536):
        pass


def drip(connection: socket.socket) -> None:
    """Answer with one byte now and then: no pause between two of them is long."""
    pause = threading.Event()
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not pause.wait(0.05):
        connection.sendall(b"x")
