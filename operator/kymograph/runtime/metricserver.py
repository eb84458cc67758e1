"""Serves /metrics to Prometheus, on the port and to whom the TracingConfiguration says; changed live.

Another certificate, and who has to show a token, apply to the next request; another port, or TLS where there was none,
is another server, begun before the one before ends where their ports differ.
"""

import asyncio
import dataclasses
import http
import logging

from aiohttp import web

from kymograph.controllers.admission import server
from kymograph.controllers.admission.server import errors as server_errors
from kymograph.runtime import errors, health, metricaccess, scrapes
from kymograph.telemetry import destination
from kymograph.telemetry import errors as telemetry_errors
from kymograph.telemetry.metricsettings import MetricSettings
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

CERTIFICATE, KEY = "tls.crt", "tls.key"
"""The entries of a Secret of type `kubernetes.io/tls`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """How metrics are protected.

    Attributes:
        certificate: The certificate that is presented (PEM); empty for plain HTTP.
        key: Its private key (PEM).
        authorized: Whether scrapers have to show a token.
    """

    certificate: bytes = b""
    key: bytes = dataclasses.field(default=b"", repr=False)
    authorized: bool = False


OPEN = Guard()
"""Plain HTTP for everybody who reaches the port."""


def guard(wanted: MetricSettings, secrets: destination.Secrets) -> Guard:
    """Put together what settings say with the Secret that they name.

    Raises:
        SecretMissing: The Secret lacks an entry.
    """
    if not wanted.prometheus_tls:
        return OPEN
    data = secrets.get(wanted.prometheus_tls, {})
    for entry in (CERTIFICATE, KEY):
        if not data.get(entry):
            raise telemetry_errors.SecretMissing("metrics.prometheus.tls", f"the Secret has no entry {entry!r}")
    return Guard(data[CERTIFICATE], data[KEY], wanted.prometheus_authorized)


class MetricServer:
    """The pull side of the metrics.

    Args:
        telemetry: Whose metrics.
        host: The address they are served on; None for all.
        access: Says who may read them where scrapers have to show a token; None where nobody may then.
    """

    def __init__(
        self, telemetry: Telemetry, host: str | None = None, access: metricaccess.Access | None = None
    ) -> None:
        self._scrapes = scrapes.Scrapes(telemetry.prometheus)
        self._host = host
        self._access = access
        self._tls = server.TLS()
        self._runner: web.AppRunner | None = None
        self._port: int | None = None
        self._guard = OPEN

    @property
    def port(self) -> int | None:
        """The port that metrics are served on; None where they are not."""
        return self._port

    @property
    def guard(self) -> Guard:
        """How they are protected."""
        return self._guard

    async def serve(self, port: int | None, guard: Guard = OPEN) -> None:
        """Serve on a port from now on; None serves nowhere.

        Raises:
            PortTaken: The port cannot be listened on; the one before stays in use.
            SettingsInvalid: The certificate cannot be used; what was before stays so.
        """
        before, was, had = self._runner, self._port, self._guard
        if guard.certificate and guard != had:
            await self._present(guard)
        secured = bool(guard.certificate)
        if port == was and secured == bool(had.certificate):
            self._guard = guard
            return
        if port == was and before is not None:  # the port is free only once it is left
            await before.cleanup()
            before = None
        try:
            self._runner = None if port is None else await self._start(port, secured=secured)
        except errors.PortTaken:
            if before is None:
                self._runner = self._port = None
            if had.certificate:
                await self._present(had)
            raise
        self._port, self._guard = port, guard
        if before is not None:
            await before.cleanup()

    async def can_listen(self, port: int) -> bool:
        """Whether a port that was taken could be served on now."""
        try:
            listening = await asyncio.get_running_loop().create_server(asyncio.Protocol, self._host, port)
        except OSError:
            return False
        listening.close()
        await listening.wait_closed()
        return True

    async def _present(self, guard: Guard) -> None:
        try:
            await asyncio.to_thread(self._tls.load, guard.certificate, guard.key)
        except server_errors.CertificateRejected as error:
            raise telemetry_errors.SettingsInvalid("metrics.prometheus.tls", str(error)) from error

    async def _start(self, port: int, *, secured: bool) -> web.AppRunner:
        application = web.Application()
        application.router.add_get(metricaccess.PATH, self._metrics)
        runner = await health.listen(application, port, self._host, self._tls.context if secured else None)
        logger.info("Metrics are served on port %d, %s", port, "over TLS" if secured else "in plaintext")
        return runner

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        if self._guard.authorized:
            status = await self._judged(request.headers.get("Authorization", ""))
            if status is not http.HTTPStatus.OK:
                challenge = {"WWW-Authenticate": "Bearer"} if status is http.HTTPStatus.UNAUTHORIZED else {}
                return web.Response(status=status, text=f"{status.phrase}\n", headers=challenge)
        return await self._scrapes.answer(request)

    async def _judged(self, authorization: str) -> http.HTTPStatus:
        if self._access is None:
            return http.HTTPStatus.SERVICE_UNAVAILABLE
        return await self._access.judge(authorization)
