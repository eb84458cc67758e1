"""What the operator keeps in its certificate Secret, and its form there."""

import base64
import binascii
import dataclasses
from collections.abc import Mapping

from kymograph.keypairs.issuing import KeyPair
from kymograph.runtime.certificates import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """Whom a serving certificate is for.

    Attributes:
        dns: Host names, as in `kymograph.kymograph-system.svc`.
        ips: IP addresses in their usual text form.
    """

    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """The authority and the serving certificate.

    Attributes:
        authorities: CA certificates to trust (PEM), the newest first; more than one while a new CA takes over. This is
            the `caBundle` of webhook configurations.
        authority_key: The private key of the first of them (PEM).
        serving: What the servers present.
    """

    authorities: bytes
    authority_key: bytes = dataclasses.field(repr=False)
    serving: KeyPair


def to_secret(bundle: Bundle) -> dict[str, str]:
    """The bundle as `data` of a Secret: base64 under `ca.crt`, `ca.key`, `tls.crt` and `tls.key`."""
    values = {
        "ca.crt": bundle.authorities,
        "ca.key": bundle.authority_key,
        "tls.crt": bundle.serving.certificate,
        "tls.key": bundle.serving.key,
    }
    return {key: base64.b64encode(value).decode("ascii") for key, value in values.items()}


def from_secret(data: Mapping[str, str]) -> Bundle:
    """Reads the `data` of a Secret. What the values are worth is for `inspect` to say.

    Raises:
        Unparsable: A key is missing or is no base64.
    """
    try:
        values = {key: base64.b64decode(data[key], validate=True) for key in ("ca.crt", "ca.key", "tls.crt", "tls.key")}
    except KeyError as error:
        raise errors.Unparsable(f"the Secret has no {error.args[0]}") from error
    except (binascii.Error, ValueError, TypeError) as error:
        raise errors.Unparsable(f"the Secret's data is no base64: {error}") from error
    return Bundle(values["ca.crt"], values["ca.key"], KeyPair(values["tls.crt"], values["tls.key"]))
