"""Errors of certificates, by who has to react.

CertificateError
  + Unparsable  whoever wrote the Secret: a key is missing, or its content is no PEM certificate or key
  + Conflict    nobody: another replica wrote the Secret first, read it again
"""


class CertificateError(Exception):
    """The root of what this room raises."""


class Unparsable(CertificateError):
    """Certificates or keys that cannot be read."""


class Conflict(CertificateError):
    """The Secret was written by someone else in the meantime."""
