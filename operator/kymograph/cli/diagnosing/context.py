"""Whether API servers trace, whether their context arrives, and whether the audit log says what the operator decided.

None of that can be read off an API server. But the operator counts the context that each request brings, and annotates
audit events; so requests are made (dry runs, which store nothing), and looked for where the operator counts and the API
server logs.
"""

import asyncio
import dataclasses
import pathlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kymograph.cli.diagnosing import cluster as clusters
from kymograph.cli.diagnosing import findings, webhooks
from kymograph.cli.diagnosing.findings import Finding
from kymograph.clients.kubernetes import resources
from kymograph.controllers.admission import webhooknames

TRIES = 3
"""How often the API server is asked: there may be several, and not all of them trace."""

LOGGED_WITHIN = 5.0
"""Seconds that the API server has to write an audit event."""

_TAIL = 8 * 1024 * 1024
"""Bytes of an audit log that are looked at, from its end."""

_COUNT = re.compile(r'^admission_trace_context_total\{[^}]*context="(\w+)"[^}]*\} ([0-9.e+]+)', re.MULTILINE)

_ENABLE = "give the API server the file of `kymograph tracing render --for kube-apiserver`, where you run it"


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """Requests by the context that they brought."""

    sampled: float = 0
    unsampled: float = 0
    none: float = 0

    def since(self, before: "Counts") -> "Counts":
        """What came since."""
        return Counts(self.sampled - before.sampled, self.unsampled - before.unsampled, self.none - before.none)

    @property
    def with_context(self) -> float:
        """Requests that brought any."""
        return self.sampled + self.unsampled


async def arrives(
    cluster: clusters.Cluster, urls: Sequence[str], pods: Sequence[str], port: int, *, tls: bool = False
) -> list[Finding]:
    """Whether requests bring the API server's trace context, and whether that follows the API server's own caller.

    Args:
        cluster: The cluster.
        urls: Where `/metrics` of every replica is; empty for that of the Pods.
        pods: The operator's Pods.
        port: Their port of metrics.
        tls: They serve them over TLS.
    """
    check = "api server tracing"
    scheme = "https:" if tls else ""
    paths = [f"/api/v1/namespaces/{cluster.namespace}/pods/{scheme}{pod}:{port}/proxy/metrics" for pod in pods]
    if not urls and not paths:
        return [findings.not_checked(check, "the operator's metrics cannot be found: name them with --metrics-url")]
    try:
        plain = await _counted(cluster, urls, paths, {})
        if not plain.with_context and not plain.none:
            return [findings.not_checked(check, "dry runs were not counted by any replica whose metrics are looked at")]
        own = _own(check, plain)
        if plain.sampled:  # so is everything that a caller would ask for
            return [own]
        given = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        asked = await _counted(cluster, urls, paths, {"traceparent": given})
    except clusters.Unseen as unseen:
        return [findings.not_checked(check, str(unseen))]
    return [own, _callers(asked)]


async def audited(cluster: clusters.Cluster, told: webhooks.Configurations, log: pathlib.Path | None) -> Finding:
    """Whether audit events carry the operator's annotations.

    Args:
        cluster: The cluster.
        told: The webhook configurations that are there.
        log: The API server's audit log; None where it is not known.
    """
    check = "audit annotations"
    if log is None:
        return findings.not_checked(check, "name the API server's audit log with --audit-log")
    probe = _covered(told.get(webhooknames.KYMOGRAPH.validation) or told.get(webhooknames.KYVERNO.validation))
    if probe is None:
        return findings.not_checked(check, "no policy is about Pods or ConfigMaps, of which one could be tried")
    path, document = probe
    try:
        answer = await cluster.probe(path, document, {})
        event = await _event(log, answer.audit_id)
    except clusters.Unseen as unseen:
        return findings.not_checked(check, str(unseen))
    if event is None:
        said = f"{log} has no event of the request {answer.audit_id}"
        fix = "have the audit policy record writes at level Metadata or above, and name the log of the API server asked"
        return findings.problem(check, said, fix)
    names = {webhook["name"] for each in told.values() for webhook in each.get("webhooks") or ()}
    annotations = event.get("annotations") or {}
    ours = sorted(key for key in annotations if key.rpartition("/")[0] in names)
    if not ours:
        said = f"the event of the request {answer.audit_id} has no annotations of the operator"
        return findings.problem(check, said, "look at the findings `webhook call` and `webhook ca`")
    return findings.ok(check, f"an audit event carries {', '.join(ours)}")


def _own(check: str, plain: Counts) -> Finding:
    if not plain.with_context:
        return findings.problem(check, "requests come without a trace context: the API server does not trace", _ENABLE)
    if plain.none:
        said = "some requests come with a trace context and some without: not every API server traces, or others call"
        return findings.problem(check, said, _ENABLE)
    sampled = "sampled" if plain.sampled else "not sampled: its samplingRatePerMillion is low"
    return findings.ok(check, f"requests come with the API server's trace context, {sampled}")


def _callers(asked: Counts) -> Finding:
    check = "caller's trace"
    if asked.sampled:
        return findings.ok(check, "a request of a sampled trace is traced by the API server and arrives sampled")
    why = "a request of a sampled trace arrives unsampled: API servers follow the callers in system:masters only"
    return findings.not_checked(check, why)


async def _counted(
    cluster: clusters.Cluster, urls: Sequence[str], paths: Sequence[str], headers: Mapping[str, str]
) -> Counts:
    """What the operator counted while it was asked about policies."""
    before = await _counts(cluster, urls, paths)
    for _ in range(TRIES):
        answer = await cluster.probe(resources.CLUSTER_POLICIES.path(), webhooks.policy(), headers)
        if answer.status >= 300:
            raise clusters.Unseen(f"a policy cannot be tried: {answer.status}: {answer.message}")
    return (await _counts(cluster, urls, paths)).since(before)


async def _counts(cluster: clusters.Cluster, urls: Sequence[str], paths: Sequence[str]) -> Counts:
    texts = [await cluster.fetched(url) for url in urls] or [await cluster.text(path) for path in paths]
    total = dict.fromkeys(("sampled", "unsampled", "none"), 0.0)
    for text in texts:
        for context, count in _COUNT.findall(text):
            total[context] = total.get(context, 0.0) + float(count)
    return Counts(total["sampled"], total["unsampled"], total["none"])


def _covered(configuration: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]] | None:
    """An object that a webhook is asked about, and where it would be created."""
    for webhook in (configuration or {}).get("webhooks") or ():
        for rule in webhook.get("rules") or ():
            core = {"", "*"}.intersection(rule.get("apiGroups") or ())
            if not core or not {"CREATE", "*"}.intersection(rule.get("operations") or ()):
                continue
            for plural, document in _objects().items():
                if {plural, "*", "*/*"}.intersection(rule.get("resources") or ()):
                    return f"/api/v1/namespaces/default/{plural}", document
    return None


def _objects() -> dict[str, dict[str, Any]]:
    metadata = {"name": f"kymograph-doctor-{secrets.token_hex(4)}", "namespace": "default"}
    container = {"name": "doctor", "image": "kymograph.invalid/doctor"}
    return {
        "configmaps": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata},
        "pods": {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}},
    }


async def _event(log: pathlib.Path, audit_id: str) -> Mapping[str, Any] | None:
    """The audit event of a request, once it is logged."""
    deadline = asyncio.get_running_loop().time() + LOGGED_WITHIN
    while True:
        found = await asyncio.to_thread(_search, log, audit_id)
        if found is not None or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.2)


def _search(log: pathlib.Path, audit_id: str) -> Mapping[str, Any] | None:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            lines = file.read().split(b"\n")[:-1]  # the last may be half written
    except OSError as error:
        raise clusters.Unseen(f"{log}: {error.strerror}") from error
    for line in reversed(lines):
        if audit_id.encode() in line and b"ResponseComplete" in line:
            event: Mapping[str, Any] = orjson.loads(line)
            return event
    return None
