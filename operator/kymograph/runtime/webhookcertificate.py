"""The certificate of the webhook server: kept in its Secret, presented by the server, announced to API servers."""

import asyncio
import datetime as dt
import socket
import urllib.parse
from collections.abc import Mapping
from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers.admission import registration, server, webhooks
from kymograph.controllers.admission.server import errors as server_errors
from kymograph.runtime import certificates, errors, secretstore
from kymograph.runtime.settings import Settings
from kymograph.telemetry.providers import Telemetry

_OWNER = "kymograph"
"""The operator's ClusterRole: its webhook configurations belong to it, so that removing the one removes the others."""


class WebhookCertificate:
    """Looks after the certificate.

    Args:
        client: Reads and writes the Secret.
        namespace: The operator's own namespace.
        settings: How API servers reach the webhooks, and whose client certificates are demanded.
        tls: What the webhook server presents.
        registered: What tells API servers whom to trust.
        telemetry: Is told until when certificates are valid, and makes a span of each look at the Secret.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        namespace: str,
        settings: Settings,
        tls: server.TLS,
        registered: registration.Registration,
        telemetry: Telemetry,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._settings = settings
        self._tls = tls
        self._registered = registered
        self._until: dict[str, float] = {}
        telemetry.instruments.certificate_expiration.observe(
            lambda: [((name,), moment) for name, moment in self._until.copy().items()], "webhooks"
        )
        store = secretstore.SecretStore(client, namespace)
        names = _names(settings, namespace)
        self._keeper = certificates.Keeper(
            certificates.Manager(store, names, self._now),
            names,
            self._now,
            self._serve,
            self._announce,
            registered.trusts,
            (kubernetes_errors.KubernetesError, errors.SettingsInvalid),
            telemetry.tracer,
            telemetry.work("certmanager-controller"),
        )
        self._secret = store.watch(self._keeper.touched)

    async def start(self) -> None:
        """Make the server ready to present a certificate.

        Raises:
            SettingsInvalid: The CA of client certificates cannot be used.
            CertificateError: Others keep writing the Secret.
            KubernetesError: The Secret cannot be read or written.
        """
        await self._keeper.look()

    async def run(self) -> None:
        """Look after it until cancelled."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._secret.run())
            parts.create_task(self._keeper.run())

    def _now(self) -> dt.datetime:
        """The time of whoever verifies: an API server. Our own clock may be wrong, and would make us fight over it."""
        return self._client.server_time or dt.datetime.now(dt.UTC)

    async def _serve(self, bundle: certificates.Bundle) -> None:
        demanded = self._settings.webhook_client_ca
        try:
            client_ca = await asyncio.to_thread(demanded.read_bytes) if demanded is not None else None
            self._tls.load(bundle.serving.certificate, bundle.serving.key, client_ca)
        except OSError as error:
            raise errors.SettingsInvalid(f"--webhook-client-ca {demanded}: {error.strerror}") from error
        except server_errors.CertificateRejected as error:
            raise errors.SettingsInvalid(f"--webhook-client-ca {demanded}: {error}") from error
        self._until = {
            "webhook": certificates.expiry(bundle.serving.certificate).timestamp(),
            "webhook-ca": certificates.expiry(bundle.authorities).timestamp(),
        }

    async def _announce(self, authorities: bytes) -> None:
        self._registered.address(
            webhooks.Address(
                ca_pem=authorities,
                url=self._settings.webhook_url,
                namespace=self._namespace,
                service=self._settings.service,
                port=self._settings.service_port,
                owner=await self._owner(),
            )
        )

    async def _owner(self) -> Mapping[str, Any] | None:
        try:
            role = await self._client.get(resources.CLUSTER_ROLES, _OWNER, metadata_only=True)
        except (kubernetes_errors.NotFound, kubernetes_errors.Forbidden):
            return None
        return {
            "apiVersion": resources.CLUSTER_ROLES.api_version,
            "kind": resources.CLUSTER_ROLES.kind,
            "name": _OWNER,
            "uid": role["metadata"]["uid"],
        }


def _names(settings: Settings, namespace: str) -> certificates.Names:
    service = f"{settings.service}.{namespace}.svc"
    dns = [service, f"{service}.cluster.local"]
    ips: list[str] = []
    if settings.webhook_url is not None:
        host = urllib.parse.urlsplit(settings.webhook_url).hostname or ""
        (ips if _is_address(host) else dns).append(host)
    return certificates.Names(tuple(dns), tuple(ips))


def _is_address(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return False
    return True
