"""Puts the process together: the only place where rooms are wired to each other.

The order matters: telemetry is configured and the first complete set of policies compiled before anything is served;
our own tasks start before Kopf, which cancels whatever was started after it when it ends.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import random
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

import kopf
from opentelemetry import trace

from kymograph import __version__
from kymograph.clients.kubernetes import account, connection, discovery, informer, resources
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers import exceptions, managed, policies, policymetrics, policytraces
from kymograph.controllers.admission import (
    decisions,
    facts,
    filtering,
    handlers,
    httpmetrics,
    matchconditions,
    privileges,
    registration,
    review,
    rolebindings,
    server,
    spans,
    updaterequests,
)
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.background import controller as background
from kymograph.controllers.background import status
from kymograph.controllers.background import telling as background_telling
from kymograph.controllers.cleanup import clock, collections, grants, spared
from kymograph.controllers.cleanup import controller as cleanup
from kymograph.controllers.events import recorder, telling
from kymograph.controllers.reports import controller as reports
from kymograph.controllers.reports import findings, forms
from kymograph.controllers.reports.scans import controller as scans
from kymograph.model import cleanuppolicy, exception, globalcontext
from kymograph.runtime import (
    announcing,
    certificates,
    configured,
    connecting,
    errors,
    forgetting,
    health,
    identity,
    leadership,
    lease,
    lifecycle,
    logs,
    metricaccess,
    metricserver,
    outside,
    secretstore,
    telemetrysecrets,
    tracing,
    webhookcertificate,
)
from kymograph.runtime.settings import Settings
from kymograph.telemetry import clientmetrics
from kymograph.telemetry.current import ClientSpans
from kymograph.telemetry.instruments import cleanup_queue, leader_election, update_requests
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

DRAIN = 20.0
"""Seconds that requests in flight have when the process stops: two thirds of the most an API server waits."""

KOPF_RETRIES = (0.2, 0.5, 1.0, 1.0, 2.0, 2.0, *(5.0,) * 1000)
"""Seconds between Kopf's tries when the API server does not answer. It gives up for good when they are used up; by
default that is after a minute, and the waits before grow so long that it would notice a recovery late."""

KOPF_ENDS = 10.0
"""Seconds that Kopf has to end its watches; what it does then can wait for nobody."""

REPORTS_DRAIN = 5.0
"""Seconds that the results of the last requests have to get into reports when the process stops."""

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
    log = logs.Log(settings.log_format, settings.log_level)
    try:
        connected = connecting.connect(settings.kubeconfig, environ)
    except kubernetes_errors.ConnectionInvalid as error:
        raise errors.SettingsInvalid(str(error)) from error
    namespace = settings.namespace or connected.namespace
    async with contextlib.AsyncExitStack() as stack:
        telemetry = Telemetry(spans.describe, facts=identity.facts(namespace, environ), environ=environ)
        stack.push_async_callback(telemetry.shutdown, FLUSH)
        client = clients.KubernetesClient(connected, telemetry.client_spans)
        stack.push_async_callback(client.close)
        process = _Process(settings, namespace, client, telemetry, connected, environ, log)
        stack.callback(process.forget_unstarted)
        try:
            await process.run(stack)
        except kubernetes_errors.KubernetesError as error:
            raise errors.ClusterUnusable(f"the API server at {connected.server}: {error}") from error
        except certificates.CertificateError as error:
            raise errors.ClusterUnusable(f"the Secret {namespace}/{secretstore.NAME}: {error}") from error


class _Process:
    """The parts of one running operator."""

    def __init__(
        self,
        settings: Settings,
        namespace: str,
        client: clients.KubernetesClient,
        telemetry: Telemetry,
        connected: connection.Connection,
        environ: Mapping[str, str],
        log: logs.Log,
    ) -> None:
        self.settings = settings
        self.namespace = namespace
        self.client = client
        self.telemetry = telemetry
        self.connected = connected
        self.health = health.Health()
        self.store = policies.PolicyStore(ignores_failures=settings.force_failure_policy_ignore)
        self.exceptions = exceptions.ExceptionStore(client, _excepted(settings, namespace))
        self.catalogues = discovery.Catalogues(client)
        self.on_kinds_changed: list[Callable[[], None]] = []
        self.on_namespace_changed: list[Callable[[str, Mapping[str, str] | None], None]] = [
            forgetting.NamespaceSeries(telemetry.cells.forget).changed
        ]
        self.registry = kopf.OperatorRegistry()
        self.stop = lifecycle.Stop()
        access = metricaccess.Access(client, time.monotonic)
        self.metrics = metricserver.MetricServer(telemetry, settings.metrics_host, access)
        secrets = telemetrysecrets.TelemetrySecrets(client, namespace)
        started_with = tracing.StartedWith(environ, settings.telemetry)
        self.tracing = tracing.Tracing(client, telemetry, self.metrics, secrets, started_with, log.apply, _now)
        self.covers: Callable[[int], Awaitable[None]] = _at_once
        self.account = ""
        self.cleaning: cleanup.Cleanup | None = None
        self.reports: reports.Reports | None = None
        counted = clientmetrics.ClientMetrics(telemetry.instruments).called
        self.untraced = clients.KubernetesClient(connected, ClientSpans(trace.NoOpTracer(), time.monotonic_ns, counted))
        self.events = recorder.Recorder(
            self.untraced,
            time.monotonic_ns,
            _now,
            environ.get("POD_NAME") or socket.gethostname(),
            lambda: telemetry.instruments.events_dropped.bind(()).add(),
            settings.omit_events,
        )
        telemetry.work("event-controller").queue(lambda: self.events.depth)
        self.telling = telling.Telling(self.events, lambda: self.exceptions.current)
        self.lock = lease.LeaseLock(self.untraced, namespace, identity.election(settings.controllers), _now)
        self.identity = identity.candidate(settings, environ)
        self.leader = leadership.Leader(self.lock, self.identity, time.monotonic, random.random, telemetry.tracer)
        meter = telemetry.meter_provider.get_meter("kymograph", __version__)
        leader_election.observe(meter, identity.election(settings.controllers), lambda: self.leader.leading)
        self.configured = configured.Configured(
            settings,
            namespace,
            client,
            self.events,
            self.telling,
            lambda: self.leader.leading or not self.leader.followed,
        )
        self.tasks: list[Coroutine[Any, Any, None]] = []

    async def run(self, stack: contextlib.AsyncExitStack) -> None:
        stack.push_async_callback(self.untraced.close)
        probes = await health.serve(self.health, self.settings.health_port)
        stack.push_async_callback(probes.cleanup)
        stack.push_async_callback(self.metrics.serve, None)
        self.health.require("policies are being compiled", self.store.complete.is_set)
        policies.register(self.registry, self.store)
        policymetrics.PolicyMetrics(self.telemetry.instruments, self.store)
        policytraces.trace_compiling(self.store, self.telemetry.tracer_for("admission"))
        tracing.register(self.registry, self.tracing)
        self.tasks.append(self.store.keep_true(self.client))
        await self.tracing.start()
        self.on_kinds_changed.append(self.tracing.kinds_changed)
        self.tasks += [self.tracing.follow_secrets(), self.tracing.make_up()]
        self.tasks += [self.exceptions.run(), self.events.run(), self.configured.store.run()]
        self.account = await self._account()
        answers = self._answers(stack)
        if "reports" in self.settings.controllers:
            self.reports = reports.Reports(
                self.client,
                self.catalogues,
                self.store,
                self.telemetry,
                time.monotonic_ns,
                time.time_ns,
                lambda: self.exceptions.current,
                forms.chosen(openreports=self.settings.openreports, results=self.settings.allowed_results),
                answers.at_hand,
            )
            self.tasks += [self.reports.run(), self.leader.lead(self.reports.sweep)]
        if self.reports is not None and self.settings.background_scan:
            self._scans(self.reports, answers)
        https = await self._admission(answers) if "admission" in self.settings.controllers else None
        if "background" in self.settings.controllers:
            self._background(answers)
            writer = status.PolicyStatusWriter(self.client, self.store, self.telemetry, self.covers, _now)
            self.tasks += [self.leader.lead(writer.run), self.leader.lead(self.tracing.report)]
        if "cleanup" in self.settings.controllers:
            meter = self.telemetry.meter_provider.get_meter("kymograph", __version__)
            cleanup_queue.observe(meter, lambda: self.cleaning.backlogs if self.cleaning else {})
            self.tasks.append(self.leader.lead(lambda: self._clean_up(answers)))
        self.on_kinds_changed.append(self.store.suspect)  # with its definition, every policy of a kind goes
        self.tasks += [self._watch_kinds(), self.leader.run(), self.lock.watch(self.leader.noticed).run()]
        async with lifecycle.supervised(self.tasks, self.stop):
            operator = asyncio.create_task(self._kopf(), name="kopf")
            operator.add_done_callback(self.stop.ended)
            await self.stop.asked()
            await self._drain(https)
            self.stop.done.set()
        # Kopf ends after our own tasks: it waits for whatever was started later than itself, ours included.
        await asyncio.wait([operator], timeout=KOPF_ENDS)
        operator.cancel()

    def forget_unstarted(self) -> None:
        """Let go of what a start that failed did not come to; harmless for what ran."""
        for task in self.tasks:
            task.close()

    async def _account(self) -> str:
        """The operator's own user name; empty where the API server does not tell."""
        try:
            return await account.username(self.client)
        except kubernetes_errors.StatusError as error:
            logger.warning("The API server does not tell who we are, loops between policies go unseen: %s", error)
            return ""

    def _answers(self, stack: contextlib.AsyncExitStack) -> facts.Facts:
        """What answers the questions of rules, wherever they are evaluated."""
        client, telemetry = self.client, self.telemetry
        reached = outside.Outside(self.settings, self.namespace, client, self.catalogues, telemetry, _now)
        stack.push_async_callback(reached.close)
        labels = facts.namespaces(client, self._namespace_changed)
        bindings = rolebindings.RoleBindings(client, self.store, self.exceptions, self.configured.store)
        self.tasks += [*reached.tasks, self.leader.lead(reached.status.run), labels.run(), bindings.run()]
        return facts.Facts(facts.ClusterFacts(client, labels, self.catalogues, bindings), reached.facts)

    def _is_filtered(self, subject: findings.Subject) -> bool:
        """Whether scans leave an object out because the ConfigMap keeps it from webhooks."""
        if self.settings.skip_resource_filters:
            return False
        filters = self.configured.current().filters
        kind = (subject.group, subject.version, subject.kind)
        return bool(filters) and filters.match(kind, "", subject.namespace, subject.name)

    def _namespace_changed(self, name: str, labels: Mapping[str, str] | None) -> None:
        for listener in self.on_namespace_changed:
            listener(name, labels)

    def _scans(self, reporting: reports.Reports, answers: facts.Facts) -> None:
        """What is said of objects that nobody sends to the webhooks, by the replica that leads."""
        scanning = scans.Scans(
            self.client,
            self.catalogues,
            self.store,
            reporting,
            answers,
            lambda: self.exceptions.current,
            self.telling,
            self.telemetry,
            spans.describe,
            time.monotonic_ns,
            time.time_ns,
            self.namespace,
            self.settings.background_scan_interval,
            self._is_filtered,
        )
        self.exceptions.listen(scanning.changes.exceptions_changed)
        self.on_kinds_changed.append(scanning.changes.kinds_changed)
        self.on_namespace_changed.append(scanning.changes.namespace_changed)

        async def scan() -> None:
            await self.exceptions.listed()
            await scanning.run()

        self.tasks.append(self.leader.lead(scan))

    def _background(self, answers: facts.Facts) -> None:
        """What is done after requests, by the replica that leads."""
        working = background.Background(
            self.client,
            self.catalogues,
            self.store,
            answers,
            self.telemetry,
            self.namespace,
            lambda: self.account,
            lambda: self.exceptions.current,
            background_telling.Telling(self.events.add, self.reports),
            self._deletable,
            time.monotonic_ns,
            lambda: self.client.server_time or _now(),
        )
        meter = self.telemetry.meter_provider.get_meter("kymograph", __version__)
        update_requests.observe(meter, lambda: working.waiting, lambda: working.age)
        self.on_kinds_changed.append(working.look_again)
        self.tasks.append(self.leader.lead(working.run))

    async def _deletable(self) -> Iterable[resources.Resource]:
        """The resources of which the operator may list and delete objects in every namespace."""
        granted = await grants.read(self.client, ("list", "delete"))
        return grants.cleanable(self.catalogues.current, granted)

    async def _admission(self, answers: facts.Facts) -> server.Server:
        """Everything that a review needs; serving once it is there."""
        client, telemetry = self.client, self.telemetry
        announced = announcing.Announcing(
            client,
            self.untraced,
            self.store,
            self.catalogues,
            telemetry,
            self.configured,
            self.namespace,
            self.identity,
            _now,
        )
        registered, reached = announced.registration, announced.reachability
        self.on_kinds_changed.append(registered.kinds_changed)
        self.covers = registered.covers
        telemetry.instruments.webhook_configured.observe(
            lambda: [((), int(registered.current))] if self.leader.leading else []
        )
        metrics = ReviewMetrics(telemetry.instruments, self.store)
        reporting = self.reports if self.settings.admission_reports else None
        reviews = review.Reviews(
            self.store,
            answers,
            telemetry,
            metrics,
            time.monotonic_ns,
            reporting.decided if reporting is not None else None,
            lambda: self.exceptions.current,
            updaterequests.UpdateRequests(client, self.namespace, lambda: self.account),
            self.telling,
            managed.Protection(self.namespace, self.account) if self.settings.protect_managed_resources else None,
            filtering.Filtering(self.configured.current, self.catalogues),
            reporting.mutated if reporting is not None else None,
            decisions.Decisions(time.monotonic_ns, telemetry.instruments.decision_records_dropped.bind(()).add),
        )
        checks: dict[tuple[str, str], handlers.Check] = {
            (exception.VERSION, exception.PLURAL): self.exceptions.check,
            (globalcontext.VERSION, globalcontext.PLURAL): outside.check_entry,
        }
        cleanable = collections.Check(client, self.catalogues)
        checks |= {(cleanuppolicy.VERSION, plural): cleanable for plural in cleanuppolicy.PLURALS.values()}
        may = privileges.Privileges(client, lambda: self.account)
        conditions = matchconditions.ConditionCheck(self.untraced)
        handlers.register(self.registry, reviews, self.catalogues, checks, may, conditions, reached.answer)
        registration.register(self.registry, registered, self.configured.names.labels)
        self.seam = handlers.Seam()
        tls = server.TLS()
        certificate = webhookcertificate.WebhookCertificate(
            client, self.namespace, self.settings, tls, registered, telemetry
        )
        await certificate.start()
        https = server.Server(
            httpmetrics.CountedRoutes(
                handlers.routes(self.registry, self.seam, telemetry, metrics), telemetry.instruments
            ),
            tls,
            on_refused=metrics.refused,
        )
        serving = asyncio.Event()
        self.health.require("the webhooks are not served yet", serving.is_set)
        self.health.require(
            "the webhook configurations are not written yet", lambda: registered.registered or self.leader.followed
        )
        self.tasks += [
            self.leader.lead(announced.run),
            certificate.run(),
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
        """Serve once the policies are known: before, an answer would let pass what they forbid; likewise exceptions."""
        await self.store.complete.wait()
        await self.exceptions.listed()
        await self.configured.store.listed()
        try:
            await https.start(self.settings.webhook_host, self.settings.webhook_port)
        except OSError as error:
            raise errors.PortTaken(f"port {self.settings.webhook_port}: {error.strerror or error}") from error
        logger.info("Webhooks are served on port %d", https.port)
        serving.set()
        await asyncio.Event().wait()

    async def _clean_up(self, answers: facts.Facts) -> None:
        """Clean up, each time of leading with a controller of its own: it begins with what the cluster says."""
        cleaning = cleanup.Cleanup(
            self.client,
            self.catalogues,
            answers,
            self.telemetry,
            clock.ServerClock(lambda: self.client.server_time),
            spared.Spared(
                self.namespace, self.settings.protect_managed_resources, lambda: self.configured.current().filters
            ),
            self.events.add,
        )
        self.on_kinds_changed.append(cleaning.look_again)
        self.cleaning = cleaning
        try:
            await cleaning.run()
        finally:
            self.cleaning = None
            self.on_kinds_changed.remove(cleaning.look_again)

    async def _kopf(self) -> None:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.networking.error_backoffs = KOPF_RETRIES
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
        await asyncio.gather(self.leader.resign(), asyncio.sleep(self.settings.shutdown_delay))
        if https is not None:
            await https.drain(DRAIN)
        if self.reports is not None:
            await self.reports.drain(REPORTS_DRAIN)


def _excepted(settings: Settings, namespace: str) -> str | None:
    """Where PolicyExceptions count."""
    return (settings.exception_namespace or namespace) if settings.enable_policy_exception else None


async def _at_once(_generation: int) -> None:
    """What policies wait for where this process registers no webhooks."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
