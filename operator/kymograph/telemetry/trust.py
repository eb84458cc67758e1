"""Certificates of exporters: whom they trust, and what they show.

OpenSSL judges PEM from Secrets before anything is connected, for gRPC too, which would say of a broken certificate only
that a handshake failed, and of a key that does not belong to it, nothing at all.
"""

import pathlib
import ssl

from kymograph.keypairs import presenting
from kymograph.telemetry import errors


def context(ca: bytes | None, certificate: bytes | None, key: bytes | None) -> ssl.SSLContext:
    """A client's TLS context.

    Args:
        ca: PEM of the authorities that are trusted, and no others; None for those of the system.
        certificate: PEM of our certificate and its chain, or None.
        key: PEM of its private key, not encrypted.

    Raises:
        ValueError: PEM or key cannot be used.
        OSError: The same, in OpenSSL's words.
    """
    made = ssl.create_default_context(cadata=None if ca is None else ca.decode("ascii"))
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None and key is not None:
        presenting.present(made, certificate, key)
    return made


def check(ca: bytes | None, certificate: bytes | None, key: bytes | None, path: str) -> None:
    """Make sure that a context can be made.

    Args:
        ca: See `context`.
        certificate: See `context`.
        key: See `context`.
        path: The field of the configuration, for the error.

    Raises:
        SettingsInvalid: It cannot. The error says which of them is unusable, and nothing of what it holds.
    """
    what = "the CA"
    try:
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the system's roots take milliseconds to load
        if ca is not None:
            bare.load_verify_locations(cadata=ca.decode("ascii"))
        what = "the client certificate or its key"
        if certificate is not None and key is not None:
            presenting.present(bare, certificate, key)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = (isinstance(error, ssl.SSLError) and error.reason) or "not PEM"
        raise errors.SettingsInvalid(path, f"{what} cannot be used: {reason}") from None


def system_roots() -> bytes | None:
    """PEM of the system's authorities (`SSL_CERT_FILE` is heeded); None where there is no such file."""
    file: str | None = ssl.get_default_verify_paths().cafile  # None where it does not exist, whatever the stubs say
    return None if file is None else pathlib.Path(file).read_bytes()
