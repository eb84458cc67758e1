"""Whether API servers are told of the webhooks, trust what they present, and get an answer."""

import base64
import binascii
import datetime as dt
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from kymograph.cli.diagnosing import cluster as clusters
from kymograph.cli.diagnosing import findings
from kymograph.cli.diagnosing.findings import Finding
from kymograph.clients.kubernetes import resources
from kymograph.controllers.admission import webhooknames, webhooks
from kymograph.runtime import certificates, secretstore
from kymograph.runtime.certificates import inspection, pem

RESOURCES = {
    resource.kind: resource
    for resource in (resources.VALIDATING_WEBHOOK_CONFIGURATIONS, resources.MUTATING_WEBHOOK_CONFIGURATIONS)
}
"""The resources of webhook configurations, by kind."""

_LATE = dt.timedelta(days=1)
"""How long after a certificate was to be renewed it is a problem that it was not."""

Configurations = Mapping[str, Mapping[str, Any]]
"""The webhook configurations that are there, by name."""


async def configurations(cluster: clusters.Cluster) -> tuple[Finding, Configurations]:
    """Whether API servers are told of the webhooks; with what they are told."""
    found: dict[str, Mapping[str, Any]] = {}
    try:
        names = await names_of(cluster)
        for kind, name in webhooks.configurations(names):
            document = await cluster.get(RESOURCES[kind], name)
            if document is not None:
                found[name] = document
        policies = await cluster.listed(resources.CLUSTER_POLICIES) + await cluster.listed(resources.POLICIES)
    except clusters.Unseen as unseen:
        return findings.not_checked("webhooks", str(unseen)), found
    if names.policies not in found:
        said = f"there is no ValidatingWebhookConfiguration {names.policies}: policies go unchecked"
        return findings.problem("webhooks", said, _WRITES), found
    enforced = [each for each in policies if _is_ready(each) and (each.get("spec") or {}).get("admission", True)]
    if enforced and not {names.validation, names.mutation}.intersection(found):
        said = f"{len(enforced)} policies are ready, and no webhook is there for what they match"
        return findings.problem("webhooks", said, _WRITES), found
    return findings.ok("webhooks", f"{', '.join(sorted(found))}; {len(policies)} policies"), found


async def names_of(cluster: clusters.Cluster) -> webhooknames.Names:
    """What webhook configurations are called here: in Kyverno's words only where those are ours.

    Raises:
        Unseen: They cannot be read.
    """
    document = await cluster.get(resources.VALIDATING_WEBHOOK_CONFIGURATIONS, webhooknames.KYVERNO.policies)
    return webhooknames.KYVERNO if document is not None and webhooks.is_ours(document) else webhooknames.KYMOGRAPH


_WRITES = "the leader writes them: look at the findings `leader` and `roles`, and at its log"


async def trust(cluster: clusters.Cluster, told: Configurations, now: dt.datetime) -> list[Finding]:
    """Whether API servers trust the certificate that is served, and whether it lasts.

    Args:
        cluster: The cluster.
        told: What API servers are told.
        now: The API server's clock.
    """
    try:
        secret = await cluster.get(resources.SECRETS, secretstore.NAME, namespaced=True)
    except clusters.Unseen as unseen:
        why = f"the Secret {cluster.namespace}/{secretstore.NAME} cannot be read: {unseen}"
        return [findings.not_checked("webhook ca", why), findings.not_checked("certificate", why)]
    rotate = f"kubectl -n {cluster.namespace} delete secret {secretstore.NAME}: it is made again at once"
    if secret is None:
        said = f"there is no Secret {cluster.namespace}/{secretstore.NAME}"
        return [findings.problem("certificate", said, "start the operator: it makes the Secret")]
    try:
        serving = pem.certificates(_decoded((secret.get("data") or {}).get("tls.crt")))[0]
    except certificates.CertificateError as error:
        return [findings.problem("certificate", f"Secret {secretstore.NAME}: {error}", rotate)]
    return [_trusted(serving, told), _lasts(serving, now, rotate)]


async def answers(cluster: clusters.Cluster) -> Finding:
    """Whether a webhook answers, asked by a dry run of a policy."""
    try:
        answer = await cluster.probe(resources.CLUSTER_POLICIES.path(), policy(), {})
    except clusters.Unseen as unseen:
        return findings.not_checked("webhook call", str(unseen))
    if answer.status < 300:
        return findings.ok("webhook call", f"a dry run of a policy was answered in {answer.seconds * 1e3:.0f} ms")
    if "webhook" not in answer.message:
        return findings.not_checked("webhook call", f"a policy cannot be tried: {answer.status}: {answer.message}")
    fix = "let the API server reach the Service or --webhook-url, and look at `webhook ca`, `certificate`, `operator`"
    return findings.problem("webhook call", answer.message, fix)


def policy() -> dict[str, Any]:
    """A policy that changes nothing if it is not only tried: it audits ConfigMaps of a name that nobody has."""
    name = f"kymograph-doctor-{secrets.token_hex(4)}"
    rule = {
        "name": "nothing",
        "match": {"any": [{"resources": {"kinds": ["ConfigMap"], "names": [name]}}]},
        "validate": {"failureAction": "Audit", "message": "tried", "pattern": {"metadata": {"name": "?*"}}},
    }
    return {
        "apiVersion": resources.CLUSTER_POLICIES.api_version,
        "kind": resources.CLUSTER_POLICIES.kind,
        "metadata": {"name": name},
        "spec": {"background": False, "rules": [rule]},
    }


def _trusted(serving: x509.Certificate, told: Configurations) -> Finding:
    wrong = []
    for name, document in told.items():
        for webhook in document.get("webhooks") or ():
            bundle = _decoded((webhook.get("clientConfig") or {}).get("caBundle"))
            try:
                trusted = _issued(serving, pem.certificates(bundle))
            except certificates.CertificateError:
                trusted = False
            if not trusted:
                wrong.append(f"{webhook.get('name')} of {name}")
    if wrong:
        said = f"the certificate that is served was not issued by the caBundle of {', '.join(wrong)}"
        fix = "kubectl delete the webhook configurations: the leader writes them anew; see `leader` if it does not"
        return findings.problem("webhook ca", said, fix)
    if not told:
        return findings.not_checked("webhook ca", "there are no webhook configurations")
    return findings.ok("webhook ca", "every caBundle is that of the certificate that is served")


def _issued(serving: x509.Certificate, authorities: Iterable[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            serving.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _lasts(serving: x509.Certificate, now: dt.datetime, rotate: str) -> Finding:
    begins, ends = serving.not_valid_before_utc, serving.not_valid_after_utc
    if now < begins:
        return findings.problem("certificate", f"it begins {begins.isoformat()}", rotate)
    if now >= ends:
        return findings.problem("certificate", f"it ended {ends.isoformat()}", rotate)
    if now > ends - inspection.RENEW_BEFORE + _LATE:
        due = (ends - inspection.RENEW_BEFORE).isoformat()
        return findings.problem("certificate", f"it ends {ends.isoformat()} and was to be renewed {due}", rotate)
    return findings.ok("certificate", f"it lasts until {ends.isoformat()}")


def _is_ready(policy_: Mapping[str, Any]) -> bool:
    conditions = (policy_.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _decoded(encoded: Any) -> bytes:
    try:
        return base64.b64decode(str(encoded or ""), validate=True)
    except binascii.Error:
        return b""
