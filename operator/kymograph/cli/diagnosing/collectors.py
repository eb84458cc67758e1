"""Whether collectors take what the operator is to send them, each signal by itself.

A collector that takes traces need not take logs: OTLP has a service and a path for each signal. So each is asked with a
request of its own, sent as the operator sends it and holding nothing: a resource without a span, a metric or a record,
which a receiver answers and nobody stores. It goes through TLS, credentials and the receiver; what stands behind the
receiver, and refuses what is not empty, is in the findings `exporting` and `replicas`.
"""

import asyncio
import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.cli.diagnosing import cluster as clusters
from kymograph.cli.diagnosing import exporting, findings
from kymograph.cli.diagnosing.findings import Finding
from kymograph.telemetry import delivery, destination, errors, otlp, settings, wire

PATIENCE = 15.0
"""Seconds that a receiver has for an answer at most; it has less where the configuration's `timeout` is less."""

_REQUEST = wire.field(b"\x0a", wire.field(b"\x0a", wire.attributes(b"\x0a", {"service.name": "kymograph-doctor"})))
"""A request with a resource and nothing of it: the outer messages of all signals have the same numbers."""

_UNSERVED = frozenset({"UNIMPLEMENTED", "404", "405"})
_UNTRUSTED = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "401", "403", "407"})
_BUSY = frozenset({"RESOURCE_EXHAUSTED", "429", "502", "503", "504"})

_EDIT = "kubectl edit tracingconfiguration default"


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """A receiver, and what is asked of it.

    Attributes:
        field: The field under `spec` that names it.
        exporter: Its settings.
        signal: What it is to take.
        said: What the resource says in that field.
    """

    field: str
    exporter: destination.ExporterSettings
    signal: destination.Signal
    said: Mapping[str, Any]

    @property
    def check(self) -> str:
        return f"collector ({self.field})"

    @property
    def items(self) -> str:
        return self.signal.name.lower()

    def details(self, **known: object) -> dict[str, object]:
        """What programs are told: of what is not known, nothing."""
        told = {"signal": self.items, "endpoint": self.exporter.endpoint, "protocol": self.exporter.protocol.value}
        return {**told, **known}


async def asked(cluster: clusters.Cluster, spec: Mapping[str, Any], *, inside: bool) -> list[Finding]:
    """Whether each receiver can be reached from this machine, takes its signal, and how fast; all at the same time.

    Args:
        cluster: Where the Secrets of exporters are.
        spec: The `spec` of the TracingConfiguration.
        inside: The operator runs in Pods, whose loopback and names are not this machine's.

    Returns:
        A finding for each destination of each signal. Its details have `signal`, `endpoint`, `protocol` and, where it
        was asked, `reachable`, `accepting`, and of one that accepts `latencySeconds` and `connectingSeconds`.
    """
    try:
        wanted = settings.from_spec(spec)
    except errors.SettingsInvalid as error:
        return [findings.not_checked("collector", f"the TracingConfiguration cannot be used: {error}")]
    found = await asyncio.gather(*(_finding(cluster, each, inside=inside) for each in _destinations(spec, wanted)))
    return list(found) or [findings.not_checked("collector", "nothing is exported over OTLP")]


def _destinations(spec: Mapping[str, Any], wanted: settings.TelemetrySettings) -> Iterator[_Asked]:
    traces, metrics, logs = (spec.get(part) or {} for part in ("traces", "metrics", "logs"))
    if wanted.traces is not None:
        yield _Asked("traces", wanted.traces, destination.Signal.TRACES, traces)
        for each, said in zip(wanted.traces.additional, traces.get("additional") or (), strict=True):
            yield _Asked(f"traces.additional[{each.name}]", each, destination.Signal.TRACES, said)
    if wanted.metrics.otlp is not None:
        yield _Asked("metrics.otlp", wanted.metrics.otlp, destination.Signal.METRICS, metrics.get("otlp") or {})
    if wanted.logs.otlp is not None:
        yield _Asked("logs.otlp", wanted.logs.otlp, destination.Signal.LOGS, logs.get("otlp") or {})


async def _finding(cluster: clusters.Cluster, about: _Asked, *, inside: bool) -> Finding:
    exporter = about.exporter
    if "endpoint" not in about.said:
        why = f"spec.{about.field}.endpoint is not set: it is what the operator's flags and environment say"
        return findings.not_checked(about.check, why)
    if inside and destination.is_loopback(destination.host_of(exporter.endpoint)):
        why = f"{exporter.endpoint} is the loopback of the operator's Pods"
        return findings.not_checked(about.check, why, about.details())
    try:
        secrets = await cluster.telemetry_secrets(exporter.secrets)
        to = await asyncio.to_thread(destination.resolve, exporter, secrets, about.field)
    except clusters.Unseen as unseen:
        return findings.not_checked(about.check, str(unseen), about.details())
    except (errors.SecretMissing, errors.SecretNotAllowed) as error:
        return findings.problem(about.check, str(error), exporting.secrets_fix(cluster.namespace), about.details())
    except errors.SettingsInvalid as error:
        return findings.problem(about.check, str(error), _EDIT, about.details())
    try:
        await asyncio.get_running_loop().getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = f"{to.host} does not resolve here ({error.strerror}), perhaps only within the cluster; see `exporting`"
        return findings.not_checked(about.check, why, about.details())
    try:
        connecting, latency = await asyncio.to_thread(_sent, to, about.signal)
    except delivery.Refused as refusal:
        return await _refused(about, to, refusal)
    took = f"{latency * 1e3:.1f} ms, with connecting {connecting * 1e3:.1f} ms"
    known = about.details(reachable=True, accepting=True, latencySeconds=latency, connectingSeconds=connecting)
    said = f"{to.endpoint} is reachable from this machine and accepts {about.items}: {took}"
    return findings.ok(about.check, said, known)


def _sent(to: destination.Destination, signal: destination.Signal) -> tuple[float, float]:
    """Ask twice; how many seconds it took with connecting and without.

    Raises:
        Refused: It was not taken, or not by a receiver of OTLP.
    """
    transport = otlp.transport(to, signal)
    try:
        began = time.monotonic()
        _ask(transport, to)
        connected = time.monotonic()
        _ask(transport, to)
        return connected - began, time.monotonic() - connected
    finally:
        transport.close()


def _ask(transport: delivery.Transport, to: destination.Destination) -> None:
    receipt = delivery.read(transport.attempt(_REQUEST, min(to.timeout, PATIENCE)))
    if receipt is None:
        raise delivery.Refused("what answers is no receiver of OTLP", passing=False)
    if receipt.rejected > 0:
        raise delivery.Refused(receipt.reason or "rejected by the receiver", passing=False)


async def _refused(about: _Asked, to: destination.Destination, refusal: delivery.Refused) -> Finding:
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(to.host, to.port)
    except OSError as error:  # that nothing comes in time is one, too
        why = os.strerror(error.errno) if error.errno else str(error) or "no answer in time"
        fix = f"see that an OTLP receiver listens at {to.endpoint} and may be reached from here, or {_EDIT}"
        said = f"{to.endpoint} cannot be reached from this machine: {why}"
        return findings.problem(about.check, said, fix, about.details(reachable=False, accepting=False))
    writer.close()
    with contextlib.suppress(OSError):  # it may have been broken off meanwhile
        await writer.wait_closed()
    why = to.redacted(str(refusal))
    said = f"{to.endpoint} is reachable from this machine, but does not accept {about.items}: {why}"
    known = about.details(reachable=True, accepting=False)
    return findings.problem(about.check, said, _fix(about, to, refusal.code), known)


def _fix(about: _Asked, to: destination.Destination, code: str) -> str:
    if code in _UNSERVED:
        at = "its OTLP receiver" if to.protocol is destination.Protocol.GRPC else f"its OTLP receiver ({to.path})"
        pipeline = f"add {at} to a pipeline of {about.items} (service.pipelines.{about.items}.receivers)"
        return f"in the collector at {to.endpoint}, {pipeline}, or name another one in spec.{about.field}.endpoint"
    if code in _UNTRUSTED:
        return f"see that spec.{about.field}.headers and .tls hold what {to.endpoint} asks for"
    if code in _BUSY:
        return f"look at the log of the collector at {to.endpoint}: it, or where it sends to, has too much to do"
    way = "in plaintext" if to.plaintext else "with TLS"
    return (
        f"see that the receiver at {to.endpoint} speaks OTLP over {to.protocol.value} {way} "
        f"(spec.{about.field}.protocol, .insecure and .tls), and look at its log"
    )
