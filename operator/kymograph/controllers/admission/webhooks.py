"""Which webhook configurations the policies need: exact resource rules, derived and nothing more.

Pure: (policies, what the API server serves, how it reaches us) to documents. Fail and Ignore policies get a webhook
each, so that an outage of the operator blocks only what its authors asked to have blocked. The operator's own
namespace is always excluded: it must be able to come back.

The validating webhooks cover the rules of every type, the mutating ones only what mutates the request's own object:
only a validating webhook sees the name and uid that an object ends up with, which the audit event is told.
"""

import base64
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kymograph.apimachinery import gvk, wildcard
from kymograph.clients.kubernetes import discovery
from kymograph.engine.match import filters
from kymograph.engine.policy import CompiledPolicy, CompiledRule
from kymograph.model import cleanuppolicy, exception, globalcontext
from kymograph.model import policy as model

RESOURCE_CONFIGURATION = "kymograph-resource-validation"
MUTATION_CONFIGURATION = "kymograph-resource-mutation"
POLICY_CONFIGURATION = "kymograph-policy-validation"
MANAGED_BY = {"app.kubernetes.io/managed-by": "kymograph"}

FAIL_PATH = "/validate/fail"
IGNORE_PATH = "/validate/ignore"
MUTATE_FAIL_PATH = "/mutate/fail"
MUTATE_IGNORE_PATH = "/mutate/ignore"
POLICIES_PATH = "/validate/policies"

DEFAULT_TIMEOUT = 10
MOST_TIMEOUT = 30
"""Seconds the API server waits for an answer: what Kyverno asks for without a setting, and what Kubernetes allows."""

VALIDATING = "ValidatingWebhookConfiguration"
MUTATING = "MutatingWebhookConfiguration"

_MUTABLE = ("CREATE", "UPDATE")
"""Operations that a mutate rule is for where it names none, as in Kyverno: the others bring no object of its kind."""

_EPHEMERAL_CONTAINERS = "pods/ephemeralcontainers"
"""A debug container is a change of its Pod: what asks about Pods asks about these, as in the engine and in Kyverno."""

_NAMESPACE_NAME = "kubernetes.io/metadata.name"


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """How the API server reaches the webhook server.

    Attributes:
        ca_pem: The CA that its certificate chains to.
        url: The base URL, for an operator outside the cluster; None inside.
        namespace: The operator's own namespace, never sent to the webhooks.
        service: The Service in that namespace, on port 443.
        owner: An owner reference, so that removing the operator removes its webhooks; None where it has none.
    """

    ca_pem: bytes
    url: str | None
    namespace: str
    service: str
    owner: Mapping[str, Any] | None = None

    def client_config(self, path: str) -> dict[str, Any]:
        """The clientConfig of a webhook that is called at a path."""
        bundle = base64.b64encode(self.ca_pem).decode()
        if self.url is not None:
            return {"url": f"{self.url}{path}", "caBundle": bundle}
        return {
            "service": {"namespace": self.namespace, "name": self.service, "path": path, "port": 443},
            "caBundle": bundle,
        }


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class _Target:
    group: str
    version: str
    resource: str
    scope: str


def resource_configuration(
    policies: Iterable[CompiledPolicy], catalogue: discovery.Catalogue, address: Address
) -> dict[str, Any] | None:
    """The ValidatingWebhookConfiguration for the resources that policies match; None where nothing is needed.

    Kinds that the API server does not serve yet are left out; they enter when they are served.
    """
    paths = {"Fail": FAIL_PATH, "Ignore": IGNORE_PATH}
    webhooks = _resource_webhooks(policies, catalogue, address, "validate", paths, lambda _rule: True)
    return _configuration(VALIDATING, RESOURCE_CONFIGURATION, webhooks, address) if webhooks else None


def mutation_configuration(
    policies: Iterable[CompiledPolicy], catalogue: discovery.Catalogue, address: Address
) -> dict[str, Any] | None:
    """The MutatingWebhookConfiguration for the resources that policies mutate; None where nothing is needed.

    Called again where another webhook changed the object after us, as Kyverno's is.
    """
    paths = {"Fail": MUTATE_FAIL_PATH, "Ignore": MUTATE_IGNORE_PATH}
    webhooks = _resource_webhooks(policies, catalogue, address, "mutate", paths, _mutates_its_object)
    for webhook in webhooks:
        webhook["reinvocationPolicy"] = "IfNeeded"
    return _configuration(MUTATING, MUTATION_CONFIGURATION, webhooks, address) if webhooks else None


def _mutates_its_object(rule: CompiledRule) -> bool:
    return rule.type == "mutate" and not rule.body.targets


def _resource_webhooks(
    policies: Iterable[CompiledPolicy],
    catalogue: discovery.Catalogue,
    address: Address,
    verb: str,
    paths: Mapping[str, str],
    chosen: Callable[[CompiledRule], bool],
) -> list[dict[str, Any]]:
    """A webhook for each failure policy whose policies have rules of the chosen sort."""
    webhooks = []
    held = [policy for policy in policies if any(map(chosen, policy.rules))]
    for failure_policy, path in paths.items():
        selected = [policy for policy in held if policy.failure_policy == failure_policy]
        operations = _MUTABLE if verb == "mutate" else None
        rules = _rules((rule for policy in selected for rule in policy.rules if chosen(rule)), catalogue, operations)
        if rules:
            name = f"{failure_policy.lower()}.{verb}.kymograph.dev"
            timeout = _timeout(selected)
            webhooks.append(
                _webhook(
                    name,
                    address,
                    path,
                    rules,
                    failure_policy=failure_policy,
                    timeout=timeout,
                    side_effects="NoneOnDryRun" if verb == "validate" else "None",  # UpdateRequests are written
                )
            )
    return webhooks


def policy_configuration(address: Address) -> dict[str, Any]:
    """The ValidatingWebhookConfiguration that has policies, and what goes with them, checked when they are written.

    It fails closed: a policy that nobody checked could use what is not enforced, and nobody would notice.
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
    webhook = _webhook("policies.validate.kymograph.dev", address, POLICIES_PATH, rules, failure_policy="Fail")
    return _configuration(VALIDATING, POLICY_CONFIGURATION, [webhook], address)


def unresolved(policies: Iterable[CompiledPolicy], catalogue: discovery.Catalogue) -> set[str]:
    """Kinds that policies name and the API server does not serve (yet)."""
    missing = set()
    for policy in policies:
        for rule in policy.rules:
            for kind in (kind for scope in rule.match.scopes for kind in scope.kinds):
                if next(catalogue.find(kind.group, kind.version, kind.kind, kind.subresource), None) is None:
                    missing.add(str(kind))
    return missing


def _configuration(kind: str, name: str, webhooks: list[dict[str, Any]], address: Address) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": dict(MANAGED_BY)}
    if address.owner is not None:
        metadata["ownerReferences"] = [dict(address.owner)]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "webhooks": webhooks,
    }


def _webhook(
    name: str,
    address: Address,
    path: str,
    rules: list[dict[str, Any]],
    *,
    failure_policy: str,
    timeout: int = DEFAULT_TIMEOUT,
    side_effects: str = "None",
) -> dict[str, Any]:
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": address.client_config(path),
        "failurePolicy": failure_policy,
        "matchPolicy": "Equivalent",
        "namespaceSelector": {
            "matchExpressions": [{"key": _NAMESPACE_NAME, "operator": "NotIn", "values": [address.namespace]}]
        },
        "objectSelector": {},
        "rules": rules,
        "sideEffects": side_effects,
        "timeoutSeconds": timeout,
    }


def _timeout(policies: Iterable[CompiledPolicy]) -> int:
    """The time that satisfies every policy: what the most patient one asks for, the default where one asks nothing."""
    return min(max(policy.timeout_seconds or DEFAULT_TIMEOUT for policy in policies), MOST_TIMEOUT)


def _rules(
    rules: Iterable[CompiledRule], catalogue: discovery.Catalogue, default: tuple[str, ...] | None
) -> list[dict[str, Any]]:
    """The rules, grouped by (group, version, scope, operations), sorted, so that equal policies give equal rules.

    What another rule asks about already is left out.

    Args:
        rules: The policies' rules.
        catalogue: What the API server serves.
        default: The operations where a filter names none; None for all.
    """
    operations: dict[_Target, set[str]] = {}
    for rule in rules:
        for kind, named in _wanted(rule, default or filters.OPERATIONS):
            if named:
                for target in _targets(kind.group, kind.version, kind.kind, kind.subresource, catalogue):
                    inside = dataclasses.replace(target, scope="Namespaced") if _is_namespaced(rule) else target
                    operations.setdefault(inside, set()).update(named)
    grouped: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    for target, wanted in operations.items():
        own = wanted.difference(*(operations.get(broader, ()) for broader in _broader(target)))
        if own:
            key = (target.group, target.version, target.scope, tuple(sorted(own)))
            grouped.setdefault(key, []).append(target.resource)
    for (group, version, _, _), resources in grouped.items():
        if group in ("", "*") and version in ("v1", "*") and not {"pods", "*"}.isdisjoint(resources):
            resources.append(_EPHEMERAL_CONTAINERS)
    return [
        {
            "apiGroups": [group],
            "apiVersions": [version],
            "operations": list(wanted),
            "resources": sorted(set(resources)),
            "scope": scope,
        }
        for (group, version, scope, wanted), resources in sorted(grouped.items())
    ]


def _wanted(rule: CompiledRule, default: tuple[str, ...]) -> Iterator[tuple[gvk.KindSelector, set[str]]]:
    """The kinds that a rule matches, each with its operations but for those that `exclude` takes away for certain."""
    for scope in rule.match.scopes:
        operations = default if scope.operations == filters.OPERATIONS else scope.operations
        for kind in scope.kinds:
            taken = (each.operations for each in rule.match.exclusions if not each.kinds or kind in each.kinds)
            yield kind, set(operations).difference(*taken)


def _is_namespaced(rule: CompiledRule) -> bool:
    """Whether a rule is of a namespaced policy, which no cluster-wide object is for, whatever its wildcards select."""
    return "/" in rule.policy


def _broader(target: _Target) -> Iterator[_Target]:
    """What makes the API server ask about all that a target is about, and more."""
    name, _, subresource = target.resource.partition("/")
    resources = {target.resource, "*/*", *((f"{name}/*", f"*/{subresource}") if subresource else "*")}
    for group, version, resource, scope in itertools.product(
        {target.group, "*"}, {target.version, "*"}, resources, {target.scope, "*"}
    ):
        other = _Target(group, version, resource, scope)
        if other != target:
            yield other


def _targets(
    group: str, version: str, kind: str, subresource: str, catalogue: discovery.Catalogue
) -> Iterator[_Target]:
    """What one kind selector is to the API server, which knows no wildcard but a whole `*`: others are looked up."""
    if kind == "*" and not any(part != "*" and wildcard.has(part) for part in (group, version, subresource)):
        yield _Target(group, version, f"*/{subresource}" if subresource else "*", "*")
        return
    for served in catalogue.find(group, version, kind, subresource):
        if served.subresource and not wildcard.match(subresource, served.subresource):
            continue  # containers added to Pods, which come with what asks about Pods
        resource = f"{served.plural}/{served.subresource}" if served.subresource else served.plural
        yield _Target(served.group, served.version, resource, "Namespaced" if served.namespaced else "*")
