"""All policies of a cluster at one moment, and the quick choice of those that may concern a request.

A set never changes; adding or removing a policy makes another one, so an evaluation that has begun keeps what it
began with. The choice is by kind, operation and namespace only and is remembered; whether a policy matches is decided
by its evaluation.
"""

import bisect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from kymograph.apimachinery import wildcard
from kymograph.engine import policy
from kymograph.engine.match import filters

SAME_KIND = frozenset({"", "status", "ephemeralcontainers"})
"""Subresources whose requests carry the kind of the object itself; other requests carry one of their own."""

_REMEMBERED = 4096

_Key: TypeAlias = tuple[str, str, str, str, str, str | None, str, str]


class _Selection:
    """The policies that may concern requests of one kind and operation, in any namespace."""

    __slots__ = ("by_namespace", "everywhere", "policies")

    def __init__(self, policies: tuple[policy.CompiledPolicy, ...], *, everywhere: bool) -> None:
        self.policies = policies
        self.everywhere = everywhere
        self.by_namespace: dict[str, tuple[policy.CompiledPolicy, ...]] = {}


class PolicySet:
    """An immutable set of compiled policies.

    Args:
        policies: The policies, in any order; the last one with a key counts.
        generation: How many changes led to this set.

    Attributes:
        policies: The policies, sorted by name: the order of their evaluation.
        generation: As above.
    """

    __slots__ = ("_remembered", "generation", "policies")

    def __init__(self, policies: Iterable[policy.CompiledPolicy] = (), generation: int = 0) -> None:
        by_key = {each.key: each for each in policies}
        self.policies = tuple(sorted(by_key.values(), key=_order))
        self.generation = generation
        self._remembered: dict[_Key, _Selection] = {}

    def __len__(self) -> int:
        return len(self.policies)

    def replace(self, new: policy.CompiledPolicy) -> "PolicySet":
        """The set with a policy added, or put in place of the one with its key."""
        others = [each for each in self.policies if each.key != new.key]
        bisect.insort(others, new, key=_order)
        return PolicySet(others, self.generation + 1)

    def remove(self, key: str) -> "PolicySet":
        """The set without the policy of a key; itself if there is none."""
        if all(each.key != key for each in self.policies):
            return self
        return PolicySet((each for each in self.policies if each.key != key), self.generation + 1)

    def lookup(
        self, request: Mapping[str, Any], failure_policy: str | None, type_: str = "validate", alone: str = ""
    ) -> tuple[policy.CompiledPolicy, ...]:
        """The policies that may concern a request, in the order of their evaluation.

        Args:
            request: An AdmissionRequest; `kind`, `subResource`, `operation` and `namespace` are looked at.
            failure_policy: `Fail` or `Ignore` for admission: only policies with that failure policy which are for
                admission at all. None for every policy, as background work wants it.
            type_: The type of the rules that may concern it: `validate`, `mutate` or `generate`.
            alone: For admission: the key of the one policy with match conditions that the request is about, since API
                servers have evaluated these for it; empty for all policies without such conditions.
        """
        if not self.policies:
            return ()
        kind = request["kind"]
        key = (
            kind["group"],
            kind["version"],
            kind["kind"],
            request.get("subResource") or "",
            request.get("operation") or "",
            failure_policy,
            type_,
            alone,
        )
        selection = self._remembered.get(key)
        if selection is None:
            selection = self._select(key)
        if selection.everywhere:
            return selection.policies
        namespace = request.get("namespace") or ""
        found = selection.by_namespace.get(namespace)
        if found is None:
            found = tuple(each for each in selection.policies if _may_concern(each, key, namespace))
            if len(selection.by_namespace) >= _REMEMBERED:
                selection.by_namespace.clear()
            selection.by_namespace[namespace] = found
        return found

    def _select(self, key: _Key) -> _Selection:
        failure_policy, alone = key[5], key[7]
        chosen = tuple(
            each
            for each in self.policies
            if (failure_policy is None or _is_asked(each, failure_policy, alone)) and _may_concern(each, key, None)
        )
        selection = _Selection(chosen, everywhere=not any(_minds_namespace(each) for each in chosen))
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = selection
        return selection


def _order(each: policy.CompiledPolicy) -> tuple[str, str]:
    return each.name, each.namespace


def _is_asked(each: policy.CompiledPolicy, failure_policy: str, alone: str) -> bool:
    """Whether a policy is for admission, in the webhook that a request came by."""
    chosen = each.key == alone if alone else not each.match_conditions
    return chosen and each.admission and each.failure_policy == failure_policy


def _minds_namespace(each: policy.CompiledPolicy) -> bool:
    return bool(each.namespace) or any(scope.namespaces for rule in each.rules for scope in rule.match.scopes)


def _may_concern(each: policy.CompiledPolicy, key: _Key, namespace: str | None) -> bool:
    """Whether a policy may have a rule for a kind and operation, and for a namespace if one is given."""
    kind = key[2]
    if namespace is not None and each.namespace and (each.namespace != namespace or kind == "Namespace"):
        return False
    table = each.table(key[6])
    for rule in table.of(kind) if key[3] in SAME_KIND else table.every:
        combine = all if rule.match.conjunction else any
        if combine(_may_cover(scope, key, namespace) for scope in rule.match.scopes):
            return True
    return False


def _may_cover(scope: filters.Scope, key: _Key, namespace: str | None) -> bool:
    group, version, kind, subresource, operation, *_ = key
    if operation and operation not in scope.operations:
        return False
    if namespace and kind != "Namespace" and not _covers(scope.namespaces, namespace):
        return False
    if subresource not in SAME_KIND:  # the request's kind says nothing about the object that has the subresource
        return any(wildcard.match(selector.subresource, subresource) for selector in scope.kinds)
    return filters.selects(scope.kinds, (group, version, kind, subresource))


def _covers(namespaces: tuple[str, ...], namespace: str) -> bool:
    return not namespaces or any(wildcard.match(each, namespace) for each in namespaces)
