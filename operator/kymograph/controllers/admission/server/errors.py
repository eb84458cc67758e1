"""Errors of the webhook server, by who has to react.

ServerError
  + CertificateRejected  whoever supplied the certificate: it cannot be served, the one before it stays in use
  + NotServing           the caller: asked of a server that was never started

What a client does wrong is no error here: it is a `Refusal`, answered and counted.
"""


class ServerError(Exception):
    """The root of what the webhook server raises."""


class CertificateRejected(ServerError):
    """A certificate, key or client CA that TLS cannot use."""


class NotServing(ServerError):
    """The server has no port: it was not started."""
