"""Whether telemetry is configured, exported, and taken by those it is sent to."""

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kymograph.cli.diagnosing import cluster as clusters
from kymograph.cli.diagnosing import findings
from kymograph.cli.diagnosing.findings import Finding
from kymograph.clients.kubernetes import resources
from kymograph.model import tracingconfiguration as model
from kymograph.telemetry import destination, errors, otlp, settings

PATIENCE = 5.0
"""Seconds that a receiver has for an empty export."""

NOTICED_WITHIN = 5.0
"""Seconds that replicas have to notice a change of the resource, and to say so."""

_POLL = 0.2

_EDIT = "kubectl edit tracingconfiguration default"


async def configuration(cluster: clusters.Cluster) -> tuple[list[Finding], Mapping[str, Any] | None]:
    """What the conditions of the TracingConfiguration say; with its `spec`, None where it cannot be read."""
    try:
        document = await cluster.get(resources.TRACING_CONFIGURATIONS, model.NAME)
    except clusters.Unseen as unseen:
        return [findings.not_checked("tracing configuration", str(unseen))], None
    if document is None:
        fix = "kubectl apply -k crds, and see that the operator runs: it makes the resource"
        return [findings.problem("tracing configuration", f"there is no TracingConfiguration {model.NAME}", fix)], None
    conditions = {each["type"]: each for each in (document.get("status") or {}).get("conditions") or ()}
    generation = document["metadata"].get("generation")
    accepted, exporting = conditions.get("Accepted"), conditions.get("Exporting")
    spec: Mapping[str, Any] = document.get("spec") or {}
    if accepted is None or exporting is None or accepted.get("observedGeneration") != generation:
        said = "its status is not about what it says now"
        fix = "the leader writes it, with the background controller: look at the finding `leader`"
        return [findings.problem("tracing configuration", said, fix)], spec
    if accepted["status"] != "True":
        return [findings.problem("tracing configuration", f"{accepted['reason']}: {accepted['message']}", _EDIT)], spec
    replicas = await _noticed(cluster, document)
    return [findings.ok("tracing configuration", "it is in force"), _exporting(exporting), replicas], spec


async def receivers(cluster: clusters.Cluster, spec: Mapping[str, Any], *, inside: bool) -> list[Finding]:
    """Whether each receiver takes an empty export from this machine, and how fast.

    Args:
        cluster: Where the Secrets of exporters are.
        spec: The `spec` of the TracingConfiguration.
        inside: The operator runs in Pods, whose loopback and names are not this machine's.
    """
    try:
        wanted = settings.from_spec(spec)
    except errors.SettingsInvalid as error:
        return [findings.not_checked("collector", f"the TracingConfiguration cannot be used: {error}")]
    found = []
    for field, exporter, signal, said in _exporters(spec, wanted):
        check = f"collector ({field})"
        if "endpoint" not in said:
            why = f"spec.{field}.endpoint is not set: it is what the operator's flags and environment say"
            found.append(findings.not_checked(check, why))
        elif inside and destination.is_loopback(destination.host_of(exporter.endpoint)):
            found.append(findings.not_checked(check, f"{exporter.endpoint} is the loopback of the operator's Pods"))
        else:
            found.append(await _receiver(cluster, check, field, exporter, signal))
    return found or [findings.not_checked("collector", "nothing is exported over OTLP")]


def _exporters(
    spec: Mapping[str, Any], wanted: settings.TelemetrySettings
) -> Iterator[tuple[str, destination.ExporterSettings, destination.Signal, Mapping[str, Any]]]:
    """What is exported: the field, its settings, the signal, and what the field says."""
    traces, metrics, logs = (spec.get(part) or {} for part in ("traces", "metrics", "logs"))
    if wanted.traces is not None:
        yield "traces", wanted.traces, destination.Signal.TRACES, traces
        for each, said in zip(wanted.traces.additional, traces.get("additional") or (), strict=True):
            yield f"traces.additional[{each.name}]", each, destination.Signal.TRACES, said
    if wanted.metrics.otlp is not None:
        yield "metrics.otlp", wanted.metrics.otlp, destination.Signal.METRICS, metrics.get("otlp") or {}
    if wanted.logs.otlp is not None:
        yield "logs.otlp", wanted.logs.otlp, destination.Signal.LOGS, logs.get("otlp") or {}


async def _receiver(
    cluster: clusters.Cluster,
    check: str,
    field: str,
    exporter: destination.ExporterSettings,
    signal: destination.Signal,
) -> Finding:
    try:
        secrets = await cluster.telemetry_secrets(exporter.secrets)
        to = dataclasses.replace(destination.resolve(exporter, secrets, field), timeout=PATIENCE)
    except clusters.Unseen as unseen:
        return findings.not_checked(check, str(unseen))
    except errors.SettingsInvalid as error:
        return findings.problem(check, str(error), _EDIT)
    try:
        await asyncio.get_running_loop().getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = f"{to.host} does not resolve here ({error.strerror}), perhaps only within the cluster; see `exporting`"
        return findings.not_checked(check, why)
    try:
        connecting, seconds = await asyncio.to_thread(_sent, to, signal)
    except errors.ExportFailed as error:
        fix = f"see that an OTLP receiver listens at {to.endpoint} ({to.protocol}), or {_EDIT}"
        return findings.problem(check, f"{to.endpoint} does not take an empty export: {error}", fix)
    took = f"{seconds * 1e3:.1f} ms, with connecting in {connecting * 1e3:.1f} ms"
    return findings.ok(check, f"{to.endpoint} takes an empty export from this machine in {took}")


def _sent(to: destination.Destination, signal: destination.Signal) -> tuple[float, float]:
    """Export nothing, twice; how long it took with connecting and without."""
    delivery = otlp.deliveries(to, signal)
    try:
        began = time.monotonic()
        delivery.deliver(b"")
        connected = time.monotonic()
        delivery.deliver(b"")
        return connected - began, time.monotonic() - connected
    finally:
        delivery.close()


async def _noticed(cluster: clusters.Cluster, document: Mapping[str, Any]) -> Finding:
    """What replicas say of themselves, once each has had the time to notice the last change."""
    deadline = asyncio.get_running_loop().time() + NOTICED_WITHIN
    while True:
        generation = document["metadata"].get("generation")
        told = (document.get("status") or {}).get("replicas") or ()
        late = any(each.get("observedGeneration") != generation for each in told)
        if not late or asyncio.get_running_loop().time() > deadline:
            return _replicas(told, generation)
        await asyncio.sleep(_POLL)
        with contextlib.suppress(clusters.Unseen):
            document = await cluster.get(resources.TRACING_CONFIGURATIONS, model.NAME) or document


def _replicas(told: Sequence[Mapping[str, Any]], generation: Any) -> Finding:
    """What replicas say of themselves, each of which may be alone in not reaching a collector."""
    check = "replicas"
    if not told:
        fix = "kubectl apply -k crds: replicas cannot say what they do where the TracingConfiguration has no such field"
        return findings.problem(check, "no replica says that it is there", fix)
    wrong = []
    for each in told:
        conditions = {condition["type"]: condition for condition in each.get("conditions") or ()}
        accepted, exporting = conditions.get("Accepted") or {}, conditions.get("Exporting") or {}
        if each.get("observedGeneration") != generation:
            wrong.append(f"{each['name']} has not noticed the last change")
        elif accepted.get("status") == "False":
            wrong.append(f"{each['name']}: {accepted.get('message')}")
        elif exporting.get("reason") == "ExportFailed":
            wrong.append(f"{each['name']}: {exporting.get('message')}")
    if wrong:
        fix = "look at the log of each, and whether the collector can be reached from its node"
        return findings.problem(check, "; ".join(wrong), fix)
    return findings.ok(check, f"{', '.join(each['name'] for each in told)} have it in force, and no export fails")


def _exporting(condition: Mapping[str, Any]) -> Finding:
    message = str(condition.get("message"))
    if condition["status"] == "True":
        return findings.ok("exporting", message)
    if condition["status"] == "Unknown" or condition.get("reason") == "NotConfigured":
        return findings.not_checked("exporting", message)
    return findings.problem("exporting", message, f"look at the finding `collector`, or {_EDIT}")
