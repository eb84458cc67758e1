"""Loads a certificate and its key into a TLS context, from memory: a key that came from a Secret is left on no disk."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator


def present(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have a context show a certificate in its handshakes.

    Args:
        context: A server's or a client's.
        certificate: PEM of the certificate, followed by the intermediate ones if there are any.
        key: PEM of its private key, not encrypted.

    Raises:
        OSError: They cannot be used, or do not belong together (`ssl.SSLError`, in OpenSSL's words).
    """
    with _as_file(certificate + b"\n" + key) as path:
        context.load_cert_chain(path, password=b"")  # without it, OpenSSL asks the terminal


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path for OpenSSL, which takes keys only from files: in memory where the kernel can, else in a private file."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("certificate")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as named:
        named.write(content)
        named.flush()
        yield named.name
