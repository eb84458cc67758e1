"""What a review cannot cost less than: an HTTPS server that answers the same bytes to everything.

Run as a process of its own, so that its CPU is read like the operator's:

    python floor.py <certificate and key> echo|decode

It takes a free port of loopback, prints it, and serves until its standard input ends. `echo` looks for the end of a
request and no further; `decode` also makes the body a Python object, as whoever is to judge it must.
"""

import asyncio
import ssl
import sys

import orjson
import uvloop

ANSWER = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"0","allowed":true}}'
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
_LENGTH = b"Content-Length: "


class _Connection(asyncio.BufferedProtocol):
    def __init__(self, *, decode: bool) -> None:
        self._decode = decode
        self._buffer = bytearray(256 * 1024)
        self._view = memoryview(self._buffer)
        self._filled = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # a stream

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        head = self._buffer.find(b"\r\n\r\n", 0, self._filled) + 4
        if head < 4:
            return
        length = self._buffer.find(_LENGTH, 0, head) + len(_LENGTH)
        end = head + int(self._buffer[length : self._buffer.find(b"\r", length)])
        if self._filled < end:
            return
        self._filled = 0
        if self._decode:
            orjson.loads(self._view[head:end])
        self._transport.write(_RESPONSE)


async def _serve(certificate: str, *, decode: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(decode=decode), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - whoever started this reads it
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], decode=sys.argv[2] == "decode"))
