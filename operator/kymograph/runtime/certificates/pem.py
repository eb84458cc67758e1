"""Reads PEM into `cryptography`'s objects, and writes it."""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kymograph.runtime.certificates import errors


def certificates(content: bytes) -> list[x509.Certificate]:
    """Every certificate in the content, in order; at least one.

    Raises:
        Unparsable: There is none, or one of them is broken.
    """
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise errors.Unparsable(f"no certificate: {error}") from error


def expiry(content: bytes) -> dt.datetime:
    """When the last of the certificates in the content ceases to be valid.

    Raises:
        Unparsable: There is none, or one of them is broken.
    """
    return max(each.not_valid_after_utc for each in certificates(content))


def encoded(certificate: x509.Certificate) -> bytes:
    """One certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_key(content: bytes) -> ec.EllipticCurvePrivateKey:
    """The private key in the content.

    Raises:
        Unparsable: There is none, it is encrypted, or it is of another kind than this room issues.
    """
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise errors.Unparsable(f"no private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise errors.Unparsable("the private key is not of an elliptic curve")
    return key
