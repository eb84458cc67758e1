"""Which requests the API server is to ask about because of some rules of policies: exact, and each told once. Pure.

What it derives is what Kyverno does (`pkg/controllers/webhook`): every kind that a rule selects, looked up in what the
API server serves, for the operations that its filter names or that its type is for, without those that `exclude` takes
away for certain; and the kinds that a rule generates, whose changes may have to be undone.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from kymograph.apimachinery import gvk, wildcard
from kymograph.clients.kubernetes import discovery
from kymograph.engine.match import filters
from kymograph.engine.policy import CompiledPolicy, CompiledRule

MUTABLE = ("CREATE", "UPDATE")
"""Operations that a mutate rule is for where it names none, as in Kyverno: the others bring no object of its kind."""

_GENERATED = frozenset({"CREATE", "DELETE", "UPDATE"})
"""Operations on what a rule generates that the API server asks about, as in Kyverno."""

_EPHEMERAL_CONTAINERS = "pods/ephemeralcontainers"
"""A debug container is a change of its Pod: what asks about Pods asks about these, as in the engine and in Kyverno."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class _Target:
    group: str
    version: str
    resource: str
    scope: str


def unresolved(policies: Iterable[CompiledPolicy], catalogue: discovery.Catalogue) -> set[str]:
    """Kinds that policies name and the API server does not serve (yet)."""
    missing = set()
    for policy in policies:
        for rule in policy.rules:
            for kind in (kind for scope in rule.match.scopes for kind in scope.kinds):
                if next(catalogue.find(kind.group, kind.version, kind.kind, kind.subresource), None) is None:
                    missing.add(str(kind))
    return missing


def derive(
    rules: Iterable[CompiledRule], catalogue: discovery.Catalogue, default: tuple[str, ...] | None
) -> list[dict[str, Any]]:
    """The rules, grouped by (group, version, scope, operations), sorted, so that equal policies give equal rules.

    What another rule asks about already is left out.

    Args:
        rules: The policies' rules.
        catalogue: What the API server serves.
        default: The operations where a filter names none; None for those that its rule can be about.
    """
    operations: dict[_Target, set[str]] = {}
    for rule in rules:
        for kind, named in _wanted(rule, default or _possible(rule)):
            if named:
                for target in _targets(kind.group, kind.version, kind.kind, kind.subresource, catalogue):
                    inside = dataclasses.replace(target, scope="Namespaced") if _is_namespaced(rule) else target
                    operations.setdefault(inside, set()).update(named)
        for kind in _generated(rule):
            for target in _targets(kind.group, kind.version, kind.kind, kind.subresource, catalogue):
                operations.setdefault(target, set()).update(_GENERATED)
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


def _possible(rule: CompiledRule) -> tuple[str, ...]:
    return MUTABLE if rule.type == "mutate" and not rule.body.targets else filters.OPERATIONS


def _generated(rule: CompiledRule) -> Iterator[gvk.KindSelector]:
    """The kinds that a rule generates; those that only a request tells are left out, as in Kyverno."""
    for written in rule.body.kinds if rule.type == "generate" else ():
        if "{{" not in written:
            try:
                yield gvk.parse_kind_selector(written)
            except ValueError:
                continue


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
