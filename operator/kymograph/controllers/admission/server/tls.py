"""The server's certificate, replaced while connections live.

Two ways to replace a certificate were turned down. Loading it into the context that is in use leaves that context
broken when key and certificate do not match, only ever *adds* client CAs, and keeps the session tickets of clients
whose CA is gone. Switching contexts in the SNI callback takes over the certificate but not whether a client certificate
is demanded. Here every certificate gets a context of its own, complete and checked before anyone sees it, and the
context that the event loop holds is a front whose only act is to begin each handshake on the current one. Connections
keep the context they began with.
"""

import ssl

from kymograph.controllers.admission.server import errors
from kymograph.keypairs import presenting


class TLS:
    """What the server presents, and whom it admits. Empty at first: load before serving."""

    __slots__ = ("_front",)

    def __init__(self) -> None:
        self._front = _Front(ssl.PROTOCOL_TLS_SERVER)

    @property
    def context(self) -> ssl.SSLContext:
        """The context to serve with; the same object for good."""
        return self._front

    def load(self, cert_pem: bytes, key_pem: bytes, client_ca_pem: bytes | None = None) -> None:
        """Makes every handshake from now on use this certificate.

        Args:
            cert_pem: The certificate, followed by the intermediate ones if there are any.
            key_pem: Its private key, not encrypted.
            client_ca_pem: The CAs whose client certificates are demanded (no other client gets in); None demands none.

        Raises:
            CertificateRejected: They cannot be used; what was loaded before stays in use.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0  # API servers keep connections, not sessions: tickets are work and state for nobody
        try:
            presenting.present(context, cert_pem, key_pem)
            if client_ca_pem is not None:
                context.load_verify_locations(cadata=client_ca_pem.decode("ascii"))
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise errors.CertificateRejected(f"certificate, key or client CA cannot be used: {error}") from error
        self._front.current = context


class _Front(ssl.SSLContext):
    """Begins handshakes on the current context. Event loops do TLS over memory buffers: this is their only way in."""

    current: ssl.SSLContext | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the standard library's signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if self.current is None:
            raise ssl.SSLError("no certificate is loaded")
        return self.current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
