"""The operator's own certificate authority and the certificates it serves with.

An API server calls a webhook only over TLS, and verifies it against the `caBundle` of the webhook configuration. So
that nobody has to bring a certificate manager, the operator keeps a small authority of its own in one Secret. This room
decides what is issued and when; the clock is passed in, and reading or writing the Secret is behind a Protocol.

It refuses to be a general authority: ECDSA P-256 only, no revocation (certificates are replaced long before they end),
and no intermediate CAs.
"""

from kymograph.keypairs.issuing import KeyPair
from kymograph.runtime.certificates.authority import issue_ca, issue_client, issue_serving
from kymograph.runtime.certificates.bundle import Bundle, Names, from_secret, to_secret
from kymograph.runtime.certificates.errors import CertificateError, Conflict, Unparsable
from kymograph.runtime.certificates.inspection import Reason, Verdict, inspect
from kymograph.runtime.certificates.keeper import Keeper
from kymograph.runtime.certificates.manager import Manager, Store, Stored
from kymograph.runtime.certificates.pem import expiry
from kymograph.runtime.certificates.rotation import renew, rotate

__all__ = [
    "Bundle",
    "CertificateError",
    "Conflict",
    "Keeper",
    "KeyPair",
    "Manager",
    "Names",
    "Reason",
    "Store",
    "Stored",
    "Unparsable",
    "Verdict",
    "expiry",
    "from_secret",
    "inspect",
    "issue_ca",
    "issue_client",
    "issue_serving",
    "renew",
    "rotate",
    "to_secret",
]
