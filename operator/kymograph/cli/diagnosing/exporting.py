"""Whether telemetry is configured and exported, by what the operator says of it."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from kymograph.cli.diagnosing import cluster as clusters
from kymograph.cli.diagnosing import findings
from kymograph.cli.diagnosing.findings import Finding
from kymograph.clients.kubernetes import resources
from kymograph.model import otlpexporter
from kymograph.model import tracingconfiguration as model
from kymograph.telemetry import errors

NOTICED_WITHIN = 5.0
"""Seconds that replicas have to notice a change of the resource, and to say so."""

_POLL = 0.2

_EDIT = "kubectl edit tracingconfiguration default"

_ABOUT_SECRETS = frozenset({errors.SecretMissing.__name__, errors.SecretNotAllowed.__name__})
"""Reasons of the condition `Accepted`."""


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
        fix = secrets_fix(cluster.namespace) if accepted["reason"] in _ABOUT_SECRETS else _EDIT
        return [findings.problem("tracing configuration", f"{accepted['reason']}: {accepted['message']}", fix)], spec
    replicas = await _noticed(cluster, document)
    return [findings.ok("tracing configuration", "it is in force"), _exporting(exporting), replicas], spec


def secrets_fix(namespace: str) -> str:
    """What to do about a Secret that is not there, or that exporters may not use."""
    label = f"kubectl -n {namespace} label secret NAME {otlpexporter.SECRET_LABEL}=true"
    return f"make that Secret in the namespace {namespace}, and if it may leave the cluster: {label}; or {_EDIT}"


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
