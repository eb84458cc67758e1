"""What receivers of OTLP on loopback share, whatever the signal: a server over gRPC or HTTP that takes it all."""

import concurrent.futures
import gzip
import http.server
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import grpc

from support import waiting

GRPC, HTTP = "grpc", "http/protobuf"
PROTOCOLS = (GRPC, HTTP)


def listening(bind: Callable[[], int]) -> int:
    """The port that a gRPC server is given; one that has stopped lets go of its port in a thread, a moment later."""

    def tried() -> int:
        try:
            return bind()
        except RuntimeError:
            return 0

    return waiting.until("the port can be listened on", tried)


class Receiver:
    """A receiver of one signal; what it is called there is for subclasses to say.

    Args:
        protocol: What it speaks.
        port: Where it listens; 0 takes a free port.

    Attributes:
        request: The class of the signal's requests.
        response: The class of its responses.
        register: Adds the service to a gRPC server.
        rejected: The field of a partial success that counts what was not taken.
        words: What a partial success says of it.
        requests: The export requests that were taken.
        reject: How many items of each are rejected in a partial success.
        paths: Where requests were posted to, over HTTP.
    """

    request: ClassVar[Any]
    response: ClassVar[Any]
    register: ClassVar[Callable[[Any, grpc.Server], None]]
    rejected: ClassVar[str]
    words: ClassVar[str] = "not today"

    def __init__(self, protocol: str = GRPC, port: int = 0) -> None:
        self.protocol = protocol
        self.requests: list[Any] = []
        self.reject = 0
        self.paths: list[str] = []
        self.port, self.stop = (self._over_grpc if protocol == GRPC else self._over_http)(port)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self) -> Any:
        response = self.response()
        if self.reject:
            setattr(response.partial_success, self.rejected, self.reject)
            response.partial_success.error_message = self.words
        return response

    def Export(self, request, _context):  # noqa: N802 - the service's method
        self.requests.append(request)
        return self.answer()

    def _over_grpc(self, port: int) -> tuple[int, Callable[[], object]]:
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        type(self).register(self, server)
        bound = listening(lambda: server.add_insecure_port(f"127.0.0.1:{port}"))
        server.start()
        return bound, lambda: server.stop(0).wait()

    def _over_http(self, port: int) -> tuple[int, Callable[[], object]]:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.paths.append(self.path)
                receiver.requests.append(receiver.request.FromString(body))
                answer = receiver.answer().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_address[1], stop
