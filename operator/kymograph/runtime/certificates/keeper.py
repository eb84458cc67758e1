"""Serves what the certificate Secret holds, whatever becomes of the Secret, without a moment of mistrust.

API servers trust what the webhook configurations say; replicas serve what the Secret says; neither changes at the same
moment as the other. So what is announced is always the authorities of the old *and* the new certificate, and a new
certificate is served only once that was seen to be in the configurations. A certificate that nobody accepts any more is
replaced at once: there is nothing to lose.
"""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable

from cryptography import x509
from opentelemetry import trace

from kymograph.runtime.certificates import errors, inspection, pem, rotation
from kymograph.runtime.certificates.bundle import Bundle, Names
from kymograph.runtime.certificates.manager import Manager
from kymograph.telemetry import roots, semconv, work

logger = logging.getLogger(__name__)

LOOK_EVERY = 60.0
"""Seconds between two looks at the Secret where nobody says that it has changed: certificates age."""

SETTLE = 0.2
RETRY_AFTER = 5.0
"""Seconds: between two looks, however often the Secret changes; and until a look that failed is tried again."""

LEARNT = 3.0
"""Seconds that API servers have to learn of a webhook configuration once one of them shows it to us."""

OTHERS_FOLLOW = 60.0
"""Seconds until authorities that stand no longer in the Secret are no longer announced: other replicas served with
certificates of theirs a moment ago."""

_SERVED, _UNCHANGED, _WAITING = "served", "unchanged", "waiting"
"""What a look came to: a certificate is served that was not before, or nothing has changed, or a new one has to wait
until it is trusted."""

_NOBODY = trace.NoOpTracer()

TRUSTED_WITHIN = 30.0
"""Seconds that the leader, or the one after it, has to write a new authority into the configurations; then it is
looked at again, while the old certificate serves on."""


class Keeper:
    """Keeps the served certificate and the announced authorities true to the Secret.

    Args:
        manager: Reads and renews the Secret.
        names: Whom the certificate has to be for.
        clock: The time, with a time zone; that of whoever verifies.
        serve: Presents a bundle from now on.
        announce: Has these authorities (PEM) written into the webhook configurations.
        trusted: Returns once an authority (PEM) is in all webhook configurations.
        transient: Errors after which another try is worth while.
        tracer: Makes a span of each look.
        counted: Counts looks; None for nobody.
    """

    def __init__(
        self,
        manager: Manager,
        names: Names,
        clock: Callable[[], dt.datetime],
        serve: Callable[[Bundle], Awaitable[None]],
        announce: Callable[[bytes], Awaitable[None]],
        trusted: Callable[[bytes], Awaitable[None]],
        transient: tuple[type[Exception], ...],
        tracer: trace.Tracer = _NOBODY,
        counted: work.Work | None = None,
    ) -> None:
        self._manager = manager
        self._names = names
        self._clock = clock
        self._serve = serve
        self._announce = announce
        self._trusted = trusted
        self._transient: tuple[type[Exception], ...] = (errors.CertificateError, *transient)
        self._tracer = tracer
        self._counted = counted
        self._served: Bundle | None = None
        self._served_at = 0.0
        self._announced = b""
        self._news = asyncio.Event()

    def touched(self) -> None:
        """The Secret was made, changed or deleted: look at it."""
        self._news.set()

    async def run(self) -> None:
        """Look after the certificate until cancelled; nothing that the API server does ends it."""
        wait, failures = LOOK_EVERY, 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()
            self._news.clear()
            try:
                wait = LOOK_EVERY if await self.look() else RETRY_AFTER
            except self._transient as error:
                logger.warning("The certificate cannot be looked after, the one in use stays: %s", error)
                wait = RETRY_AFTER
            failures = 0 if wait == LOOK_EVERY else failures + 1
            if failures and self._counted is not None:
                self._counted.requeued(failures)
            await asyncio.sleep(SETTLE)

    async def look(self) -> bool:
        """Read the Secret, renewing it if need be, and serve what it holds; False if that has to wait.

        Raises:
            CertificateError: Others keep writing the Secret, or what it holds cannot be served.
            Exception: One of the transient ones.
        """
        counting = contextlib.nullcontext() if self._counted is None else self._counted.reconciling()
        with counting, roots.root(self._tracer, "CERTIFICATE look") as span:
            outcome = await self._looked()
            span.set_attribute(semconv.CERTIFICATE_OUTCOME, outcome)
        return outcome != _WAITING

    async def _looked(self) -> str:
        before, bundle = self._served, await self._manager.current()
        clock = asyncio.get_running_loop().time
        if bundle == before:
            if clock() >= self._served_at + OTHERS_FOLLOW:
                await self._announced_are(bundle.authorities)
            return _UNCHANGED
        if before is None:
            await self._announced_are(bundle.authorities)
        elif not await self._is_trusted(before, bundle):
            return _WAITING
        await self._serve(bundle)
        self._served, self._served_at = bundle, clock()
        if before is not None:
            logger.info("The certificate of the webhooks was replaced")
        return _SERVED

    async def _announced_are(self, authorities: bytes) -> None:
        if authorities != self._announced:
            await self._announce(authorities)
            self._announced = authorities

    async def _is_trusted(self, before: Bundle, bundle: Bundle) -> bool:
        """Whether the new certificate may be served: it is trusted already, or the old one is of no use any more."""
        await self._announced_are(rotation.join(bundle.authorities, before.authorities))
        issuer = _issuer(bundle)
        if issuer in pem.certificates(before.authorities) or not self._is_usable(before):
            return True
        try:
            async with asyncio.timeout(TRUSTED_WITHIN):
                await self._trusted(pem.encoded(issuer))
        except TimeoutError:
            logger.warning("The new authority is not in the webhook configurations yet, the certificate in use stays")
            return False
        await asyncio.sleep(LEARNT)
        return True

    def _is_usable(self, bundle: Bundle) -> bool:
        return inspection.inspect(bundle, self._names, self._clock()).reason not in _USELESS


def _issuer(bundle: Bundle) -> x509.Certificate:
    """The authority that signed what a bundle serves; there is one, or the bundle would have been renewed."""
    serving = pem.certificates(bundle.serving.certificate)[0]
    return next(one for one in pem.certificates(bundle.authorities) if inspection.is_issued_by(serving, one))


_USELESS = {
    inspection.Reason.AUTHORITY_NOT_YET_VALID,
    inspection.Reason.AUTHORITY_EXPIRED,
    inspection.Reason.NOT_YET_VALID,
    inspection.Reason.EXPIRED,
}
