"""Puts the process together: the only place where rooms are wired to each other.

The order matters: telemetry is configured and the first complete set of policies compiled before anything is served;
our own tasks start before Kopf, which cancels whatever was started after it when it ends.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import pathlib
import random
import socket
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import kopf

from kymograph import __version__
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, discovery, informer, resources
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers import policies
from kymograph.controllers.admission import facts, handlers, registration, review, server, spans, webhooks
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.background import status
from kymograph.controllers.cleanup import clock
from kymograph.controllers.cleanup import controller as cleanup
from kymograph.runtime import certificates, errors, health, lifecycle, logs, metricserver, secretstore, tracing
from kymograph.runtime.settings import Settings
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

CERTIFICATES_EVERY = 600.0
"""Seconds between two looks at the certificate Secret."""

DRAIN = 20.0
"""Seconds that requests in flight have when the process stops: two thirds of the most an API server waits."""

KOPF_ENDS = 10.0
"""Seconds that Kopf has to end its watches; what it does then can wait for nobody."""

FLUSH = 5.0
"""Seconds that spans still waiting have to be delivered when the process stops."""


async def run(settings: Settings, environ: Mapping[str, str]) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Args:
        settings: What it is started with.
        environ: Environment variables: where the API server is, who we are, OpenTelemetry's defaults.

    Raises:
        RuntimeFailure: It cannot run; the text says what to change.
    """
    logs.configure(settings.log_format, settings.log_level)
    try:
        connected = _connect(settings, environ)
    except kubernetes_errors.ConnectionInvalid as error:
        raise errors.SettingsInvalid(str(error)) from error
    namespace = settings.namespace or connected.namespace
    async with contextlib.AsyncExitStack() as stack:
        telemetry = Telemetry(spans.describe, facts=_facts(namespace, environ), environ=environ)
        stack.push_async_callback(telemetry.shutdown, FLUSH)
        client = clients.KubernetesClient(connected, telemetry.client_spans)
        stack.push_async_callback(client.close)
        process = _Process(settings, namespace, client, telemetry, connected)
        await process.run(stack)


class _Process:
    """The parts of one running operator."""

    def __init__(
        self,
        settings: Settings,
        namespace: str,
        client: clients.KubernetesClient,
        telemetry: Telemetry,
        connected: connection.Connection,
    ) -> None:
        self.settings = settings
        self.namespace = namespace
        self.client = client
        self.telemetry = telemetry
        self.connected = connected
        self.health = health.Health()
        self.store = policies.PolicyStore()
        self.catalogues = discovery.Catalogues(client)
        self.on_kinds_changed: list[Callable[[], None]] = []
        self.registry = kopf.OperatorRegistry()
        self.stop = lifecycle.Stop()
        self.metrics = metricserver.MetricServer(telemetry)
        self.tracing = tracing.Tracing(client, telemetry, self.metrics, _now)
        self.covers: Callable[[int], Awaitable[None]] = _at_once
        self.tasks: list[Coroutine[Any, Any, None]] = []

    async def run(self, stack: contextlib.AsyncExitStack) -> None:
        probes = await health.serve(self.health, self.settings.health_port)
        stack.push_async_callback(probes.cleanup)
        stack.push_async_callback(self.metrics.serve, None)
        self.health.require("policies are being compiled", self.store.complete.is_set)
        policies.register(self.registry, self.store)
        tracing.register(self.registry, self.tracing)
        self.tasks.append(self.store.keep_true(self.client))
        await self.tracing.start()
        https = await self._admission() if "admission" in self.settings.controllers else None
        if "background" in self.settings.controllers:
            writer = status.PolicyStatusWriter(self.client, self.store, self.telemetry, self.covers, _now)
            self.tasks += [writer.run(), self.tracing.report()]
        if "cleanup" in self.settings.controllers:
            cleaner = cleanup.TTLController(
                self.client, self.catalogues, self.telemetry, clock.SystemClock(), self.namespace
            )
            self.on_kinds_changed.append(cleaner.look_again)
            self.tasks.append(cleaner.run())
        if self.on_kinds_changed:
            self.tasks.append(self._watch_kinds())
        async with lifecycle.supervised(self.tasks, self.stop):
            operator = asyncio.create_task(self._kopf(), name="kopf")
            operator.add_done_callback(self.stop.ended)
            await self.stop.asked()
            await self._drain(https)
            self.stop.done.set()
            await asyncio.wait([operator], timeout=KOPF_ENDS)
            operator.cancel()

    async def _admission(self) -> server.Server:
        """Everything that a review needs; serving once it is there."""
        client, telemetry = self.client, self.telemetry
        registered = registration.Registration(client, self.store, self.catalogues, telemetry)
        self.on_kinds_changed.append(registered.kinds_changed)
        self.covers = registered.covers
        labels = facts.namespaces(client)
        metrics = ReviewMetrics(telemetry.instruments, self.store)
        reviews = review.Reviews(
            self.store,
            facts.ClusterFacts(client, labels, self.catalogues),
            telemetry,
            metrics,
            time.monotonic_ns,
        )
        handlers.register(self.registry, reviews)
        registration.register(self.registry, registered)
        self.seam = handlers.Seam()
        tls = server.TLS()
        bundle = certificates.Manager(secretstore.SecretStore(client, self.namespace), self._names(), _now)
        await self._certificate(bundle, tls, registered)
        https = server.Server(
            handlers.routes(self.registry, self.seam, telemetry, metrics), tls, on_refused=metrics.refused
        )
        serving = asyncio.Event()
        self.health.require("the webhooks are not served yet", serving.is_set)
        self.health.require("the webhook configurations are not written yet", lambda: registered.registered)
        self.tasks += [
            labels.run(),
            registered.run(),
            self._keep_certificate(bundle, tls, registered),
            self._serve(https, serving),
        ]
        return https

    async def _watch_kinds(self) -> None:
        def changed(_key: informer.Key, _generation: Any) -> None:
            for listener in self.on_kinds_changed:
                listener()

        definitions = informer.Informer(
            self.client,
            resources.CUSTOM_RESOURCE_DEFINITIONS,
            metadata_only=True,
            project=lambda document: document["metadata"].get("generation"),
            changed=changed,
        )
        await definitions.run()

    async def _serve(self, https: server.Server, serving: asyncio.Event) -> None:
        """Serve once the policies are known: before, an answer would let pass what they forbid."""
        await self.store.complete.wait()
        try:
            await https.start(self.settings.webhook_host, self.settings.webhook_port)
        except OSError as error:
            raise errors.PortTaken(f"port {self.settings.webhook_port}: {error.strerror or error}") from error
        logger.info("Webhooks are served on port %d", https.port)
        serving.set()
        await asyncio.Event().wait()

    async def _certificate(
        self, manager: certificates.Manager, tls: server.TLS, registered: registration.Registration
    ) -> None:
        bundle = await manager.current()
        demanded = self.settings.webhook_client_ca
        try:
            client_ca = await asyncio.to_thread(demanded.read_bytes) if demanded is not None else None
        except OSError as error:
            raise errors.SettingsInvalid(f"--webhook-client-ca {demanded}: {error.strerror}") from error
        tls.load(bundle.serving.certificate, bundle.serving.key, client_ca)
        registered.address(
            webhooks.Address(
                ca_pem=bundle.authorities,
                url=self.settings.webhook_url,
                namespace=self.namespace,
                service=self.settings.service,
                owner=await self._owner(),
            )
        )

    async def _keep_certificate(
        self, manager: certificates.Manager, tls: server.TLS, registered: registration.Registration
    ) -> None:
        while True:
            await asyncio.sleep(CERTIFICATES_EVERY * random.uniform(0.9, 1.1))  # noqa: S311  # spreads replicas
            try:
                await self._certificate(manager, tls, registered)
            except (kubernetes_errors.KubernetesError, certificates.CertificateError, errors.SettingsInvalid) as error:
                logger.warning("The certificate cannot be looked after, the one in use stays: %s", error)

    async def _owner(self) -> Mapping[str, Any] | None:
        """The operator's ClusterRole as owner of its webhook configurations: removing the one removes the others."""
        try:
            role = await self.client.get(resources.CLUSTER_ROLES, "kymograph", metadata_only=True)
        except (kubernetes_errors.NotFound, kubernetes_errors.Forbidden):
            return None
        return {
            "apiVersion": resources.CLUSTER_ROLES.api_version,
            "kind": resources.CLUSTER_ROLES.kind,
            "name": "kymograph",
            "uid": role["metadata"]["uid"],
        }

    def _names(self) -> certificates.Names:
        service = f"{self.settings.service}.{self.namespace}.svc"
        dns = [service, f"{service}.cluster.local"]
        ips: list[str] = []
        if self.settings.webhook_url is not None:
            host = urllib.parse.urlsplit(self.settings.webhook_url).hostname or ""
            (ips if _is_address(host) else dns).append(host)
        return certificates.Names(tuple(dns), tuple(ips))

    async def _kopf(self) -> None:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.watching.chunk_size = clients.PAGE_SIZE
        settings.admission.managed = None
        if "admission" in self.settings.controllers:
            settings.admission.server = self.seam

        @kopf.on.login(registry=self.registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            return kopf.AiohttpSession(server=self.connected.server, aiohttp_session=clients.session(self.connected))

        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self.registry,
            settings=settings,
            clusterwide=True,
            standalone=True,
            stop_flag=self.stop.done,
        )
        self.stop.listen()  # Kopf has just taken the signals; a stop begins with our draining
        await kopf.run_tasks(tasks, ignored=ours)

    async def _drain(self, https: server.Server | None) -> None:
        self.health.stopping = True
        logger.info("Stopping: readiness fails, requests are served for %.1f s more", self.settings.shutdown_delay)
        await asyncio.sleep(self.settings.shutdown_delay)
        if https is not None:
            await https.drain(DRAIN)


def _connect(settings: Settings, environ: Mapping[str, str]) -> connection.Connection:
    if settings.kubeconfig is not None:
        return connection.from_kubeconfig(settings.kubeconfig)
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if host and port:
        return connection.in_cluster(host, port)
    configured = environ.get("KUBECONFIG")
    default = pathlib.Path(environ.get("HOME", "/"), ".kube", "config")
    return connection.from_kubeconfig(pathlib.Path(configured) if configured else default)


def _facts(namespace: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What the process knows of itself, as resource attributes of OpenTelemetry."""
    pod = environ.get("POD_NAME") or socket.gethostname()
    found = {
        "service.version": __version__,
        "service.namespace": namespace,
        "service.instance.id": environ.get("POD_UID") or f"{pod}-{random.getrandbits(32):08x}",  # a name
        "k8s.namespace.name": namespace,
        "k8s.pod.name": environ.get("POD_NAME"),
        "k8s.pod.uid": environ.get("POD_UID"),
        "k8s.node.name": environ.get("NODE_NAME"),
    }
    return {key: value for key, value in found.items() if value}


def _is_address(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return False
    return True


async def _at_once(_generation: int) -> None:
    """What policies wait for where this process registers no webhooks."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
