"""Which resources are scanned for which policies. Pure.

Only validate rules of policies with `background: true` are; rules that change or make objects have nothing to say of
an object that exists (Kyverno's scanner runs `Validate` alone). A kind that is served in several versions is read in
the first of them that a policy selects, as discovery orders them: the preferred one first.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from kymograph.apimachinery import gvk
from kymograph.clients.kubernetes import discovery, resources
from kymograph.controllers.reports import findings, writer
from kymograph.engine.policy import CompiledPolicy, CompiledRule

_SCANNED_AS = "CREATE"

Coverage: TypeAlias = Mapping[resources.Resource, tuple[CompiledPolicy, ...]]
"""The resources to be listed, each with the policies that may concern its objects."""


def is_scanned(policy: CompiledPolicy) -> bool:
    """Whether a policy has anything to say in a scan, and may.

    With match conditions it has not: API servers evaluate them, for requests, and an existing object is none.
    """
    judges = policy.background and bool(policy.validate.every) and not policy.match_conditions
    return judges and writer.DISABLED not in policy.labels


def of(policies: Iterable[CompiledPolicy], catalogue: discovery.Catalogue) -> Coverage:
    """What some policies have to say in scans.

    Args:
        policies: The policies; those that are not scanned for are left out.
        catalogue: What the API server serves; kinds that it does not are left out.
    """
    served = _Served(catalogue)
    found: dict[resources.Resource, list[CompiledPolicy]] = {}
    for policy in policies:
        if is_scanned(policy):
            for resource in served.resources(policy):
                found.setdefault(resource, []).append(policy)
    return {resource: tuple(several) for resource, several in found.items()}


class _Served:
    """What selectors of kinds mean here; each looked up once, because policies select the same kinds."""

    def __init__(self, catalogue: discovery.Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[gvk.KindSelector, frozenset[discovery.Served]] = {}

    def resources(self, policy: CompiledPolicy) -> Iterator[resources.Resource]:
        """The resources that a policy selects, each in one version."""
        selected = frozenset[discovery.Served]().union(*(self._of_rule(rule) for rule in policy.validate.every))
        seen: set[tuple[str, str]] = set()
        for entry in self._catalogue.served:
            name = (entry.group, entry.plural)
            if entry in selected and name not in seen and (entry.namespaced or not policy.namespace):
                seen.add(name)
                yield resources.Resource(entry.group, entry.version, entry.plural, entry.kind, entry.namespaced)

    def _of_rule(self, rule: CompiledRule) -> frozenset[discovery.Served]:
        by_scope = [
            frozenset[discovery.Served]().union(*(self._of_selector(each) for each in scope.kinds))
            if _SCANNED_AS in scope.operations
            else frozenset[discovery.Served]()
            for scope in rule.match.scopes
        ]
        if rule.match.conjunction:
            return frozenset.intersection(*by_scope) if by_scope else frozenset()
        return frozenset[discovery.Served]().union(*by_scope)

    def _of_selector(self, selector: gvk.KindSelector) -> frozenset[discovery.Served]:
        if selector.subresource:
            return frozenset()
        found = self._known.get(selector)
        if found is None:
            entries = self._catalogue.find(selector.group, selector.version, selector.kind, "")
            found = self._known[selector] = frozenset(entry for entry in entries if _can_be_scanned(entry))
        return found


def _can_be_scanned(entry: discovery.Served) -> bool:
    """Whether objects can be read and followed; those that cannot, such as PodMetrics, are computed and have no uid."""
    return (
        not entry.subresource
        and {"get", "list", "watch"} <= entry.verbs
        and findings.is_reported_kind(entry.group, entry.kind)
    )
