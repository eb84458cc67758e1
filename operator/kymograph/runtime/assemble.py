"""Puts the process together: the only place where rooms are wired to each other.

The order matters: telemetry is configured and the first complete set of policies compiled before anything is served;
our own tasks start before Kopf, which cancels whatever was started after it when it ends.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from kymograph.clients.kubernetes import account, informer, resources
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers import policies, policymetrics
from kymograph.controllers.admission import (
    facts,
    rolebindings,
    server,
    spans,
)
from kymograph.controllers.background import controller as background
from kymograph.controllers.background import status
from kymograph.controllers.background import telling as background_telling
from kymograph.controllers.cleanup import clock, grants, spared
from kymograph.controllers.cleanup import controller as cleanup
from kymograph.controllers.reports import controller as reports
from kymograph.controllers.reports import findings, forms
from kymograph.controllers.reports.scans import controller as scans
from kymograph.runtime import (
    admitting,
    certificates,
    connecting,
    errors,
    health,
    identity,
    kopfing,
    lifecycle,
    logs,
    outside,
    parts,
    secretstore,
    tracing,
    tracingreport,
)
from kymograph.runtime.settings import Settings
from kymograph.telemetry import roots
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

DRAIN = 20.0
"""Seconds that requests in flight have when the process stops: two thirds of the most an API server waits."""

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
        telemetry = Telemetry(
            spans.describe,
            facts=identity.facts(namespace, environ),
            environ=environ,
            callers_known=settings.webhook_client_ca is not None,
        )
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


class _Process(parts.Parts):
    """One running operator."""

    async def run(self, stack: contextlib.AsyncExitStack) -> None:
        stack.push_async_callback(self.untraced.close)
        probes = await health.serve(self.health, self.settings.health_port)
        stack.push_async_callback(probes.cleanup)
        stack.push_async_callback(self.metrics.serve, None)
        self.health.require("policies are being compiled", self.store.complete.is_set)
        policies.register(self.registry, self.store)
        policymetrics.PolicyMetrics(self.telemetry.instruments, self.store)
        tracing.register(self.registry, self.tracing)
        self.tasks.append(self.store.keep_true(self.client))
        await self.tracing.start()
        self.on_kinds_changed.append(self.tracing.kinds_changed)
        telling = tracingreport.TracingReport(self.client, self.tracing, self.replica, parts.now, self.telemetry.tracer)
        self.tasks += [self.tracing.follow_secrets(), self.tracing.make_up(), telling.tell()]
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
        https = await admitting.start(self, answers) if "admission" in self.settings.controllers else None
        if "background" in self.settings.controllers:
            self._background(answers)
            writer = status.PolicyStatusWriter(
                self.client, self.store, self.telemetry, self.covers, parts.now, self.compilations.of
            )
            self.tasks += [self.leader.lead(writer.run), self.leader.lead(telling.report)]
        if "cleanup" in self.settings.controllers:
            told = self.telemetry.instruments
            told.cleanup_depth.observe(lambda: [((queue,), depth) for queue, (depth, _) in self._backlogs()])
            told.cleanup_oldest.observe(lambda: [((queue,), age) for queue, (_, age) in self._backlogs()])
            self.tasks.append(self.leader.lead(lambda: self._clean_up(answers)))
        self.on_kinds_changed.append(self.store.suspect)  # with its definition, every policy of a kind goes
        self.tasks += [self._watch_kinds(), self.leader.run(), self.lock.watch(self.leader.noticed).run()]
        async with lifecycle.supervised(self.tasks, self.stop):
            kopf = kopfing.run(self.registry, self.connected, self.telemetry.client_spans, self.stop, self.seam)
            operator = asyncio.create_task(kopf, name="kopf")
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
            with roots.root(self.telemetry.tracer, "OPERATOR account"):
                return await account.username(self.client)
        except kubernetes_errors.StatusError as error:
            logger.warning("The API server does not tell who we are, loops between policies go unseen: %s", error)
            return ""

    def _answers(self, stack: contextlib.AsyncExitStack) -> facts.Facts:
        """What answers the questions of rules, wherever they are evaluated."""
        client, telemetry = self.client, self.telemetry
        reached = outside.Outside(
            self.settings, self.namespace, client, self.catalogues, telemetry, parts.now, self.events.add
        )
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
            self.compilations,
        )
        self.exceptions.listen(scanning.changes.exceptions_changed)
        self.on_kinds_changed.append(scanning.changes.kinds_changed)
        self.on_namespace_changed.append(scanning.changes.namespace_changed)

        async def scan() -> None:
            await self.exceptions.listed()
            await self.configured.store.listed()
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
            lambda: self.client.server_time or parts.now(),
            lambda: self.configured.current().most_update_requests,
            self.compilations.of,
        )
        told = self.telemetry.instruments
        told.update_requests_waiting.observe(
            lambda: [((str(state),), count) for state, count in working.waiting.items()]
        )
        told.update_requests_oldest.observe(lambda: [((), working.age)])
        self.on_kinds_changed.append(working.look_again)

        async def work() -> None:
            await self.configured.store.listed()
            await working.run()

        self.tasks.append(self.leader.lead(work))

    def _backlogs(self) -> Iterable[tuple[str, tuple[int, float]]]:
        """By queue of clean-ups how many wait, and the seconds since the first of them was due."""
        return self.cleaning.backlogs.items() if self.cleaning else ()

    async def _deletable(self) -> Iterable[resources.Resource]:
        """The resources of which the operator may list and delete objects in every namespace."""
        granted = await grants.read(self.client, ("list", "delete"))
        return grants.cleanable(self.catalogues.current, granted)

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

    async def _drain(self, https: server.Server | None) -> None:
        self.health.stopping = True
        logger.info("Stopping: readiness fails, requests are served for %.1f s more", self.settings.shutdown_delay)
        await asyncio.gather(self.leader.resign(), asyncio.sleep(self.settings.shutdown_delay))
        if https is not None:
            await https.drain(DRAIN)
        if self.reports is not None:
            await self.reports.drain(REPORTS_DRAIN)
