"""Whether the operator is there, leads, may do its work, and has the same time as the API server."""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from kymograph.cli.diagnosing import cluster as clusters
from kymograph.cli.diagnosing import findings
from kymograph.cli.diagnosing.findings import Finding
from kymograph.clients.kubernetes import errors, resources

LABELS = "app.kubernetes.io/name=kymograph"
LEASE = "kymograph"

MOST_SKEW = 3.0
"""Seconds that clocks may differ: API servers tell theirs to the second, spans in a wrong order mislead."""

RENEWED_WITHIN = 6.0
"""Seconds to wait for the Lease to be renewed, which a leader does every two."""

_POLL = 0.2

_WEBHOOKS = "admissionregistration.k8s.io"

_NEEDED = (
    ("kyverno.io", "clusterpolicies", "list", "", False),
    ("kyverno.io", "clusterpolicies/status", "patch", "", False),
    ("kymograph.dev", "tracingconfigurations", "list", "", False),
    ("kymograph.dev", "tracingconfigurations/status", "patch", "", False),
    (_WEBHOOKS, "validatingwebhookconfigurations", "create", "", False),
    (_WEBHOOKS, "validatingwebhookconfigurations", "patch", "kymograph-resource-validation", False),
    (_WEBHOOKS, "mutatingwebhookconfigurations", "patch", "kymograph-resource-mutation", False),
    ("apiextensions.k8s.io", "customresourcedefinitions", "list", "", False),
    ("", "namespaces", "list", "", False),
    ("wgpolicyk8s.io", "policyreports", "create", "", False),
    ("", "secrets", "patch", "kymograph-tls", True),
    ("coordination.k8s.io", "leases", "update", LEASE, True),
)
"""What the operator cannot do without: group, resource, verb, name, and whether it is in the operator's namespace."""


async def api_server(cluster: clusters.Cluster, now: Callable[[], dt.datetime]) -> list[Finding]:
    """Whether the API server answers, and whether this machine's clock is its.

    Args:
        cluster: The cluster.
        now: This machine's clock.

    Returns:
        Two findings; of an API server that does not answer, one.
    """
    try:
        version = await cluster.version()
    except errors.KubernetesError as error:
        return [findings.problem("api server", str(error), "name a cluster that can be reached with --kubeconfig")]
    found = [findings.ok("api server", f"answers, {version}")]
    server = cluster.now
    if server is None:
        return [*found, findings.not_checked("clock", "the API server's answers have no date")]
    skew = (now() - server).total_seconds()
    return [*found, _clock("clock", "this machine's clock", skew)]


async def pods(cluster: clusters.Cluster) -> tuple[Finding, list[str]]:
    """Whether the operator's Pods are ready; with the names of those that are."""
    try:
        listed = await cluster.listed(clusters.PODS, namespaced=True, labels=LABELS)
    except clusters.Unseen as unseen:
        return findings.not_checked("operator", f"Pods cannot be listed: {unseen}"), []
    if not listed:
        why = f"there are no Pods with {LABELS} in namespace {cluster.namespace}; an operator outside of it is not seen"
        return findings.not_checked("operator", why), []
    ready = [each["metadata"]["name"] for each in listed if _is_ready(each)]
    waiting = [f"{each['metadata']['name']} ({_why(each)})" for each in listed if not _is_ready(each)]
    if waiting:
        fix = (
            f"kubectl -n {cluster.namespace} describe pods -l {LABELS}; kubectl -n {cluster.namespace} logs -l {LABELS}"
        )
        return findings.problem("operator", f"not ready: {', '.join(sorted(waiting))}", fix), ready
    return findings.ok("operator", f"{len(ready)} Pods are ready"), ready


async def leader(cluster: clusters.Cluster) -> list[Finding]:
    """Whether somebody leads, and whether the leader's clock is the API server's.

    The times in a Lease were written by the leader's clock, which may be wrong; so it is watched until it is renewed.
    """
    try:
        lease = await cluster.get(resources.LEASES, LEASE, namespaced=True)
        if lease is None:
            why = f"there is no Lease {cluster.namespace}/{LEASE}: no operator with the admission controller ever ran"
            return [findings.problem("leader", why, f"kubectl -n {cluster.namespace} get deployment kymograph")]
        before = lease["spec"].get("renewTime")
        holder = lease["spec"].get("holderIdentity") or "nobody"
        deadline = asyncio.get_running_loop().time() + RENEWED_WITHIN
        while lease["spec"].get("renewTime") == before:
            if asyncio.get_running_loop().time() > deadline:
                why = f"{holder} holds the Lease {LEASE} and has not renewed it for {RENEWED_WITHIN:g} s"
                fix = f"kubectl -n {cluster.namespace} logs -l {LABELS}: does it run, and does it reach the API server?"
                return [findings.problem("leader", why, fix)]
            await asyncio.sleep(_POLL)
            lease = await cluster.get(resources.LEASES, LEASE, namespaced=True) or lease
    except clusters.Unseen as unseen:
        return [findings.not_checked("leader", f"the Lease cannot be read: {unseen}")]
    found = [findings.ok("leader", f"{lease['spec'].get('holderIdentity')} leads and renews its Lease")]
    renewed, server = _moment(lease["spec"].get("renewTime")), cluster.now
    if renewed is None or server is None:
        return [*found, findings.not_checked("operator clock", "neither the Lease nor the API server says the time")]
    return [*found, _clock("operator clock", "the leader's clock", (renewed - server).total_seconds())]


async def roles(cluster: clusters.Cluster, service_account: str) -> Finding:
    """Whether the operator may do what it cannot do without."""
    missing = []
    try:
        for attributes, said in _questions(cluster.namespace):
            asked = _review(cluster.namespace, service_account, attributes)
            review = await cluster.create(clusters.ACCESS_REVIEWS, asked)
            if not (review.get("status") or {}).get("allowed"):
                missing.append(said)
    except clusters.Unseen as unseen:
        return findings.not_checked("roles", f"nobody may be asked about: {unseen}")
    who = f"ServiceAccount {cluster.namespace}/{service_account}"
    if missing:
        return findings.problem("roles", f"{who} may not {', '.join(missing)}", "kubectl apply -k manifests")
    return findings.ok("roles", f"{who} may do what it has to")


def _clock(check: str, whose: str, skew: float) -> Finding:
    if abs(skew) <= MOST_SKEW:
        return findings.ok(check, f"{whose} is the API server's, within {MOST_SKEW:g} s")
    ahead = "ahead of" if skew > 0 else "behind"
    said = f"{whose} is {abs(skew):.0f} s {ahead} the API server's: spans of one trace stand in a wrong order"
    return findings.problem(check, said, "synchronise the clocks of both machines (NTP)")


def _questions(namespace: str) -> Iterator[tuple[dict[str, str], str]]:
    for group, resource, verb, name, namespaced in _NEEDED:
        plural, _, subresource = resource.partition("/")
        attributes = {"group": group, "resource": plural, "verb": verb, "name": name, "subresource": subresource}
        if namespaced:
            attributes["namespace"] = namespace
        yield {key: value for key, value in attributes.items() if value}, f"{verb} {resource}"


def _review(namespace: str, service_account: str, attributes: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": clusters.ACCESS_REVIEWS.api_version,
        "kind": clusters.ACCESS_REVIEWS.kind,
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{service_account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": attributes,
        },
    }


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _why(pod: dict[str, Any]) -> str:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
    return str(status.get("phase") or "Unknown")


def _moment(text: Any) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
