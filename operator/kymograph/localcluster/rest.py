"""A client for the few requests that a local cluster makes of its own API server: JSON over one TLS connection.

It is no Kubernetes client: no watches, no retries, no tracing (`clients` has those). It exists because a cluster must
be asked whether it stands before anything else can connect to it.
"""

import http.client
import pathlib
import select
import ssl
import threading
from typing import Any

import orjson

from kymograph.localcluster import errors


class Client:
    """Requests as the administrator; safe to use from several threads, which take turns.

    Args:
        port: Of the API server on 127.0.0.1.
        directory: The cluster's, with `ca.crt`, `admin.crt` and `admin.key`.
        timeout: Seconds for one request.
    """

    def __init__(self, port: int, directory: pathlib.Path, timeout: float = 30.0) -> None:
        context = ssl.create_default_context(cafile=directory / "ca.crt")
        context.load_cert_chain(directory / "admin.crt", directory / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=context)
        self._turn = threading.Lock()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Sends one request and returns the decoded answer (text where it is no JSON).

        Raises:
            RequestRefused: The API server answered with an error status.
            OSError: There was no answer: refused, reset, timed out or not trusted.
        """
        content = None if body is None else orjson.dumps(body)
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        with self._turn:
            if self._was_closed():
                self._connection.close()
            try:
                self._connection.request(method, path, content, {"Content-Type": content_type})
                answer = self._connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()  # the next request opens a new one
                raise ConnectionError(f"{method} {path}: {error}") from error
        decoded = orjson.loads(text) if answer.headers.get_content_type() == "application/json" else text.decode()
        if answer.status >= 400:
            status = decoded if isinstance(decoded, dict) else {"message": decoded}
            raise errors.RequestRefused(answer.status, status.get("reason", ""), status.get("message", ""))
        return decoded

    def _was_closed(self) -> bool:
        """Whether the server has ended the connection since the last request, as it does with idle ones."""
        socket = self._connection.sock
        return socket is not None and bool(select.select([socket], [], [], 0)[0])

    def close(self) -> None:
        """Closes the connection."""
        with self._turn:
            self._connection.close()
