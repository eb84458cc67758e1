"""What the controllers of one process share: clients, telemetry, policies, Events, the lock that decides who leads."""

import datetime as dt
import random
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import kopf
from opentelemetry import trace

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, discovery
from kymograph.controllers import exceptions, policies, policytraces
from kymograph.controllers.admission import handlers
from kymograph.controllers.cleanup import controller as cleanup
from kymograph.controllers.events import recorder, telling
from kymograph.controllers.reports import controller as reports
from kymograph.runtime import (
    configured,
    forgetting,
    health,
    identity,
    leadership,
    lease,
    lifecycle,
    logs,
    metricaccess,
    metricserver,
    telemetrysecrets,
    tracing,
)
from kymograph.runtime.settings import Settings
from kymograph.telemetry import clientmetrics
from kymograph.telemetry.current import ClientSpans
from kymograph.telemetry.providers import Telemetry


class Parts:
    """The parts of one operator that are there before any controller is.

    Args:
        settings: What the process is started with.
        namespace: Where the operator lives.
        client: Talks to the API server.
        telemetry: Where spans and metrics go.
        connected: How the API server is reached.
        environ: Environment variables.
        log: Where log records go.

    Attributes:
        replica: What this replica is called among the others: its Pod, else as which it stands for election.
        untraced: Talks to the API server about what would fill traces with itself: the Lease.
        compilations: The spans of the policies' compilations.
        on_kinds_changed: Called when the cluster begins or ceases to know a kind.
        on_namespace_changed: Called with the name and the labels of a namespace; None once it is gone.
        covers: Waits until the webhooks cover a generation of the policies.
        seam: What Kopf takes for its webhook server; None where nothing is admitted.
        cleaning: Cleans up; None where this process does not, or not now.
        reports: Writes reports; None where this process does not.
        account: The operator's own user name; empty where the API server does not tell.
        tasks: What runs beside Kopf.
    """

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
        admission = telemetry.tracer_for("admission")
        self.compilations = policytraces.Compilations(self.store, admission)
        worked = telemetry.work("exceptions-controller").reconciled
        self.exceptions = exceptions.ExceptionStore(client, _excepted(settings, namespace), worked, admission)
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
        self.tracing = tracing.Tracing(client, telemetry, self.metrics, secrets, started_with, log.apply, now)
        self.covers: Callable[[int], Awaitable[None]] = _at_once
        self.account = ""
        counted = clientmetrics.ClientMetrics(telemetry.instruments).called
        self.untraced = clients.KubernetesClient(connected, ClientSpans(trace.NoOpTracer(), time.monotonic_ns, counted))
        writing = telemetry.work("event-controller")
        self.events = recorder.Recorder(
            client,
            time.monotonic_ns,
            now,
            environ.get("POD_NAME") or socket.gethostname(),
            telemetry.instruments.events_dropped.bind(()).add,
            telemetry.tracer_for,
            settings.omit_events,
            settings.max_queued_events,
            writing.reconciled,
        )
        writing.queue(lambda: self.events.depth)
        self.telling = telling.Telling(self.events, lambda: self.exceptions.current)
        self.lock = lease.LeaseLock(self.untraced, namespace, identity.election(settings.controllers), now)
        self.identity = identity.candidate(settings, environ)
        self.replica = environ.get("POD_NAME") or self.identity
        self.leader = leadership.Leader(self.lock, self.identity, time.monotonic, random.random, telemetry.tracer)
        elected = (identity.election(settings.controllers),)
        telemetry.instruments.leading.observe(lambda: [(elected, int(self.leader.leading))])
        self.configured = configured.Configured(
            settings,
            namespace,
            client,
            self.events,
            self.telling,
            self.store,
            lambda: self.leader.leading or not self.leader.followed,
            telemetry.work("config-controller").reconciled,
            admission,
        )
        self.seam: handlers.Seam | None = None
        self.cleaning: cleanup.Cleanup | None = None
        self.reports: reports.Reports | None = None
        self.tasks: list[Coroutine[Any, Any, None]] = []


def _excepted(settings: Settings, namespace: str) -> str | None:
    """Where PolicyExceptions count."""
    return (settings.exception_namespace or namespace) if settings.enable_policy_exception else None


async def _at_once(_generation: int) -> None:
    """What policies wait for where this process registers no webhooks."""


def now() -> dt.datetime:
    """The local time, in UTC."""
    return dt.datetime.now(dt.UTC)
