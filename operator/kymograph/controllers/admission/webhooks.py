"""Which webhook configurations the policies need: derived, and nothing more.

Pure: (policies, what the API server serves, how it reaches us, what the installation wants) to documents. Fail and
Ignore policies get a webhook each, so that an outage of the operator blocks only what its authors asked to have
blocked; a policy with match conditions gets one of its own, since these are said per webhook. The operator's own
namespace is always excluded: it must be able to come back.

The validating webhooks cover the rules of every type, the mutating ones only what mutates the request's own object:
only a validating webhook sees the name and uid that an object ends up with, which the audit event is told.
"""

import base64
import dataclasses
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kymograph.clients.kubernetes import discovery
from kymograph.controllers.admission import webhooknames, webhookrules
from kymograph.engine.policy import CompiledPolicy, CompiledRule
from kymograph.model import cleanuppolicy, exception, globalcontext
from kymograph.model import policy as model

FAIL_PATH = "/validate/fail"
IGNORE_PATH = "/validate/ignore"
MUTATE_FAIL_PATH = "/mutate/fail"
MUTATE_IGNORE_PATH = "/mutate/ignore"
POLICIES_PATH = "/validate/policies"
REACHABILITY_PATH = "/mutate/reachability"
TTL_PATH = "/validate/ttl"

FINE_GRAINED = "/finegrained/"
"""Between the path of a webhook for resources and the key of the one policy that a request is about."""

DEFAULT_TIMEOUT = 10
MOST_TIMEOUT = 30
"""Seconds the API server waits for an answer: what is asked for without a setting, as in Kyverno, and the most."""

VALIDATING = "ValidatingWebhookConfiguration"
MUTATING = "MutatingWebhookConfiguration"

_NAMESPACE_NAME = "kubernetes.io/metadata.name"

_BOOTSTRAP = {
    "name": "kymograph-exclude-bootstrap-resources",
    "expression": '!(request.resource.group == "" && request.resource.resource == "nodes") && '
    '!(request.resource.group == "certificates.k8s.io" && '
    'request.resource.resource == "certificatesigningrequests")',
}
"""Says that a webhook is not for what a node needs to join. API servers evaluate it, with or without an operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """How the API server reaches the webhook server.

    Attributes:
        ca_pem: The CA that its certificate chains to.
        url: The base URL, for an operator outside the cluster; None inside.
        namespace: The operator's own namespace, never sent to the webhooks.
        service: The Service in that namespace.
        port: Its port.
        owner: An owner reference, so that removing the operator removes its webhooks; None where it has none.
    """

    ca_pem: bytes
    url: str | None
    namespace: str
    service: str
    port: int = 443
    owner: Mapping[str, Any] | None = None

    def client_config(self, path: str) -> dict[str, Any]:
        """The clientConfig of a webhook that is called at a path."""
        bundle = base64.b64encode(self.ca_pem).decode()
        if self.url is not None:
            return {"url": f"{self.url}{path}", "caBundle": bundle}
        return {
            "service": {"namespace": self.namespace, "name": self.service, "path": path, "port": self.port},
            "caBundle": bundle,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """What an installation wants of its webhook configurations.

    Attributes:
        names: What they are called.
        namespace_selector: Objects of which namespaces are asked about, besides never the operator's own.
        object_selector: Which objects are asked about.
        match_conditions: What the API server evaluates before it asks, but for policies with conditions of their own.
        annotations: Annotations of the configurations.
        labels: Labels of them, beside the one that says whose they are.
        spares_bootstrap: Fail webhooks ask about no Node and no CertificateSigningRequest.
        timeout: Seconds that API servers wait for an answer where no policy asks for more.
        ttl_label: The label by which objects say when they go, whose value is to be checked; empty for none.
    """

    names: webhooknames.Names = webhooknames.KYMOGRAPH
    namespace_selector: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    object_selector: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    match_conditions: tuple[Mapping[str, str], ...] = ()
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spares_bootstrap: bool = False
    timeout: int = DEFAULT_TIMEOUT
    ttl_label: str = ""


NOTHING = Wishes()
"""No wishes: our names, and everything that policies are about."""


def resource_configuration(
    policies: Iterable[CompiledPolicy], catalogue: discovery.Catalogue, address: Address, wishes: Wishes = NOTHING
) -> dict[str, Any] | None:
    """The ValidatingWebhookConfiguration for the resources that policies match; None where nothing is needed."""
    webhooks = _Derivation(catalogue, address, wishes, "validate", lambda _rule: True, None).webhooks(policies)
    return _configuration(VALIDATING, wishes.names.validation, webhooks, address, wishes) if webhooks else None


def mutation_configuration(
    policies: Iterable[CompiledPolicy], catalogue: discovery.Catalogue, address: Address, wishes: Wishes = NOTHING
) -> dict[str, Any] | None:
    """The MutatingWebhookConfiguration for resources that policies mutate or verify images of; None for none.

    Called again where another webhook changed the object after us, as Kyverno's is.
    """
    derivation = _Derivation(catalogue, address, wishes, "mutate", _mutates_its_object, webhookrules.MUTABLE)
    webhooks = [{**webhook, "reinvocationPolicy": "IfNeeded"} for webhook in derivation.webhooks(policies)]
    return _configuration(MUTATING, wishes.names.mutation, webhooks, address, wishes) if webhooks else None


def policy_configuration(address: Address, wishes: Wishes = NOTHING) -> dict[str, Any]:
    """The ValidatingWebhookConfiguration that has policies, and what goes with them, checked when they are written.

    It fails closed: a policy that nobody checked could use what is not enforced, and nobody would notice. Those of the
    operator's own namespace are checked too: nothing that the operator needs to come back is among them.
    """
    beside = (exception.PLURAL, globalcontext.PLURAL, *cleanuppolicy.PLURALS.values())
    checked = {model.VERSION: model.PLURALS.values(), exception.VERSION: beside}
    rules = [
        {
            "apiGroups": [model.GROUP],
            "apiVersions": [version],  # the others come converted: Kopf knows the preferred version only
            "operations": ["CREATE", "UPDATE"],
            "resources": sorted(plurals),
            "scope": "*",
        }
        for version, plurals in checked.items()
    ]
    webhook = _webhook(wishes.names.policy_webhook, address.client_config(POLICIES_PATH), rules, "Fail", wishes.timeout)
    return _configuration(VALIDATING, wishes.names.policies, [webhook], address, wishes)


def reachability_configuration(address: Address, wishes: Wishes = NOTHING) -> dict[str, Any]:
    """The MutatingWebhookConfiguration by which an API server shows that it reaches us: it asks about one Lease.

    It never fails: the Lease says whether it was asked, and is no reason to refuse a write.
    """
    rule = {
        "apiGroups": ["coordination.k8s.io"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["leases"],
        "scope": "Namespaced",
    }
    webhook = {
        **_webhook(
            wishes.names.reachability_webhook,
            address.client_config(REACHABILITY_PATH),
            [rule],
            "Ignore",
            _REACHED_WITHIN,
        ),
        "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: address.namespace}},
        "objectSelector": {"matchLabels": dict(wishes.names.labels)},
    }
    return _configuration(MUTATING, wishes.names.reachability, [webhook], address, wishes)


def ttl_configuration(address: Address, wishes: Wishes = NOTHING) -> dict[str, Any] | None:
    """The ValidatingWebhookConfiguration that has the labels checked by which objects say when they go; None for none.

    It never fails: who writes such a label wrongly is warned, as by Kyverno's `/verifyttl`.
    """
    if not wishes.ttl_label:
        return None
    rule = {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["*"],
        "scope": "*",
    }
    own = {"key": _NAMESPACE_NAME, "operator": "NotIn", "values": [address.namespace]}
    webhook = {
        **_webhook(wishes.names.ttl_webhook, address.client_config(TTL_PATH), [rule], "Ignore", _WARNED_WITHIN),
        "namespaceSelector": {"matchExpressions": [own]},
        "objectSelector": {"matchExpressions": [{"key": wishes.ttl_label, "operator": "Exists"}]},
    }
    return _configuration(VALIDATING, wishes.names.ttl, [webhook], address, wishes)


def configurations(names: webhooknames.Names) -> tuple[tuple[str, str], ...]:
    """The kind and the name of every configuration that there may be; those that can block a request come first."""
    return (
        (VALIDATING, names.validation),
        (MUTATING, names.mutation),
        (VALIDATING, names.policies),
        (VALIDATING, names.ttl),
        (MUTATING, names.reachability),
    )


def superseded(names: webhooknames.Names) -> tuple[tuple[str, str], ...]:
    """Configurations that were ours under names that are used no more. Those with Kyverno's may be Kyverno's."""
    return () if names is webhooknames.KYMOGRAPH else configurations(webhooknames.KYMOGRAPH)


def is_ours(document: Mapping[str, Any]) -> bool:
    """Whether the configuration that has policies checked leads to this operator, whatever it is called."""
    return any(_path(webhook) == POLICIES_PATH for webhook in document.get("webhooks") or ())


def _path(webhook: Mapping[str, Any]) -> str:
    config = webhook.get("clientConfig") or {}
    service = config.get("service") or {}
    return str(service.get("path") or urllib.parse.urlsplit(str(config.get("url") or "")).path)


_REACHED_WITHIN = 5
"""Seconds that an API server tries to reach us, to see whether it can."""

_WARNED_WITHIN = 2
"""Seconds that a write may wait to be warned of its label."""


def _mutates_its_object(rule: CompiledRule) -> bool:
    return rule.type == "imageVerify" or (rule.type == "mutate" and not rule.body.targets)


@dataclasses.dataclass(frozen=True, slots=True)
class _Derivation:
    """The webhooks of one configuration for resources.

    Attributes:
        catalogue: What the API server serves.
        address: How it reaches us.
        wishes: What the installation wants.
        verb: `validate` or `mutate`.
        chosen: Which rules count.
        operations: What a rule is for that names no operations; None for all that it can be for.
    """

    catalogue: discovery.Catalogue
    address: Address
    wishes: Wishes
    verb: str
    chosen: Callable[[CompiledRule], bool]
    operations: tuple[str, ...] | None

    def webhooks(self, policies: Iterable[CompiledPolicy]) -> list[dict[str, Any]]:
        """A webhook for each failure policy, and one for each policy with conditions of its own, sorted by name."""
        found = []
        held = [policy for policy in policies if policy.admission and any(map(self.chosen, policy.rules))]
        for failure_policy in ("Fail", "Ignore"):
            selected = [policy for policy in held if policy.failure_policy == failure_policy]
            shared = [policy for policy in selected if not policy.match_conditions]
            own = [policy for policy in selected if policy.match_conditions]
            name, path = self.wishes.names.shared(self.verb, failure_policy), f"/{self.verb}/{failure_policy.lower()}"
            found += self._webhook(name, path, failure_policy, shared, self.wishes.match_conditions)
            names = self.wishes.names.of_policies(self.verb, failure_policy, [policy.key for policy in own])
            for policy in own:
                found += self._webhook(
                    names[policy.key],
                    f"{path}{FINE_GRAINED}{policy.key}",
                    failure_policy,
                    (policy,),
                    policy.match_conditions,
                )
        return sorted(found, key=lambda webhook: str(webhook["name"]))

    def _webhook(
        self,
        name: str,
        path: str,
        failure_policy: str,
        policies: Sequence[CompiledPolicy],
        conditions: Sequence[Mapping[str, str]],
    ) -> list[dict[str, Any]]:
        """The webhook for some policies, or none where their kinds are not served."""
        rules = webhookrules.derive(
            (rule for policy in policies for rule in policy.rules if self.chosen(rule)), self.catalogue, self.operations
        )
        if not rules:
            return []
        webhook = {
            **_webhook(name, self.address.client_config(path), rules, failure_policy, self._timeout(policies)),
            "namespaceSelector": self._namespaces(),
            "objectSelector": dict(self.wishes.object_selector),
            "sideEffects": "NoneOnDryRun",  # UpdateRequests are written
        }
        named = any(each["name"] == _BOOTSTRAP["name"] for each in conditions)  # each name may be there once
        spares = self.wishes.spares_bootstrap and failure_policy == "Fail" and not named
        spared = (_BOOTSTRAP,) if spares else ()
        if conditions or spared:
            webhook["matchConditions"] = [dict(each) for each in (*conditions, *spared)]
        return [webhook]

    def _timeout(self, policies: Iterable[CompiledPolicy]) -> int:
        """The time that satisfies every policy: what the most patient one asks for, and never less than the default.

        So it is in Kyverno: a policy can ask for more time than others have, not for less.
        """
        wanted = (self.wishes.timeout, *(policy.timeout_seconds or 0 for policy in policies))
        return min(max(wanted), MOST_TIMEOUT)

    def _namespaces(self) -> dict[str, Any]:
        selector = self.wishes.namespace_selector
        own = {"key": _NAMESPACE_NAME, "operator": "NotIn", "values": [self.address.namespace]}
        return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), own]}


def _configuration(
    kind: str, name: str, webhooks: list[dict[str, Any]], address: Address, wishes: Wishes
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": {**wishes.labels, **wishes.names.labels}}
    if wishes.annotations:
        metadata["annotations"] = dict(wishes.annotations)
    if address.owner is not None:
        metadata["ownerReferences"] = [dict(address.owner)]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "webhooks": webhooks,
    }


def _webhook(
    name: str, client_config: Mapping[str, Any], rules: list[dict[str, Any]], failure_policy: str, timeout: int
) -> dict[str, Any]:
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": dict(client_config),
        "failurePolicy": failure_policy,
        "matchPolicy": "Equivalent",
        "namespaceSelector": {},
        "objectSelector": {},
        "rules": rules,
        "sideEffects": "None",
        "timeoutSeconds": timeout,
    }
