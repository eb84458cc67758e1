"""Certificates of one local cluster: made at its start, gone with it.

They are valid for 30 days, and the authority's key never leaves memory except for the one that the controller manager
signs CertificateSigningRequests with. It refuses to be a certificate manager: nothing here is rotated or revoked.
"""

import datetime as dt
import ipaddress
import pathlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kymograph.keypairs import issuing
from kymograph.keypairs.issuing import KeyPair

_VALID = dt.timedelta(days=30)


class Authority:
    """A certificate authority that lives as long as its object.

    Args:
        common_name: Who it says it is.
    """

    def __init__(self, common_name: str) -> None:
        self._authority = issuing.found(common_name, _now(), _VALID)
        self.pair = self._authority.pair

    def server(self, common_name: str, addresses: Sequence[str]) -> KeyPair:
        """A serving certificate.

        Args:
            common_name: The server's name.
            addresses: The DNS names and IP addresses it serves under.
        """
        names = [_general_name(address) for address in addresses]
        return self._authority.serving(common_name, names, _now(), _VALID)

    def client(self, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """A client certificate.

        Args:
            user: The user name: the API server takes it from the common name.
            groups: The user's groups: the API server takes them from the organizations.
        """
        return self._authority.client(user, groups, _now(), _VALID)


def signing_key() -> bytes:
    """A private key, PEM, that service account tokens are signed with (ES256).

    In SEC 1 form: the API server derives the public key from it, which it does of no elliptic curve's key in PKCS #8.
    """
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def write(pair: KeyPair, directory: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes `<name>.crt` and `<name>.key` (readable by the owner only) and returns their paths."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    certificate.write_bytes(pair.certificate)
    write_private(key, pair.key)
    return certificate, key


def write_private(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that was never readable by anybody but its owner."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)
