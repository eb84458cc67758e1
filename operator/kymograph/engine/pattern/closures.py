"""Patterns to nested closures.

Each closure takes a value, and gives a mismatch or None. Order is Kyverno's, because it decides which path a
failure names: in a map first the anchors in the order of their keys, then keys that have anchors below them (the last
first), then the others. A mismatch under a condition anchor skips its map; a list of maps is skipped when all of its
elements are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from kymograph.apimachinery import wildcard
from kymograph.engine import errors, values
from kymograph.engine.budget import Budget
from kymograph.engine.pattern import anchors, operators
from kymograph.engine.pattern.anchors import Anchor
from kymograph.engine.pattern.mismatches import Kind, Mismatch, Place, Skipped, ValueMismatch


@dataclasses.dataclass(frozen=True, slots=True)
class Tracked:
    """An anchor whose key should be met somewhere in the resource.

    Attributes:
        written: The key with its anchor.
        is_in: Whether a map has the key.
    """

    written: str
    is_in: Callable[[dict[str, Any]], bool]


Visited: TypeAlias = list[tuple[tuple[Tracked, ...], dict[str, Any]]]
"""The maps that anchors of conditions and existence were laid on in one evaluation, and these anchors."""

Check: TypeAlias = Callable[[values.JSON, Budget, Visited], Mismatch | None]
"""Lays a part of a pattern on a value; the budget pays for list elements."""

_Entry: TypeAlias = Callable[[str, dict[str, Any], Budget, Visited], Mismatch | None]
"""Lays what stands under a key on a map: the key without its anchor, the map, then as for a check."""


def misses_key(visited: Visited) -> bool:
    """Whether some of the anchors met no map with its key, wherever it stood."""
    found: dict[str, bool] = {}
    for tracked, mapping in visited:
        for anchor in tracked:
            found[anchor.written] = found.get(anchor.written, False) or anchor.is_in(mapping)
    return not all(found.values())


class _Key(NamedTuple):
    """A key of a map.

    Attributes:
        name: The key without its anchor.
        entry: Lays what stands under it on a map.
        below: What is laid on the value under the key, where there is no more to it: keys without an anchor, and with
            an equality anchor if the map has them. None for others.
    """

    name: str
    entry: _Entry
    below: Check | None


class _Step(NamedTuple):
    """A map with one key, on the way to what is under it.

    Attributes:
        name: The key without its anchor.
        optional: It has an equality anchor: the map need not have it.
        place: Where the map stands.
    """

    name: str
    optional: bool
    place: Place


class _Chain(NamedTuple):
    """Maps of one key each, one in the other.

    Attributes:
        steps: These maps, from the outside in.
        below: What is laid on the value under the last key.
    """

    steps: tuple[_Step, ...]
    below: Check


_TRACKED = (Anchor.CONDITION, Anchor.EXISTENCE)
_FIRST = (Anchor.CONDITION, Anchor.EXISTENCE, Anchor.EQUALITY, Anchor.NEGATION)
_GO_TYPES: dict[type, str] = {
    type(None): "<nil>",
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "string",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}


class Compiler:
    """Compiles one pattern; collects problems."""

    def __init__(self) -> None:
        self.problems: list[errors.Problem] = []
        self._chains: dict[Check, _Chain] = {}

    def element(self, pattern: values.JSON, place: Place, path: str) -> Check:
        """Compile any part of a pattern.

        Args:
            pattern: The part.
            place: Where in a resource it will be laid.
            path: Where in the policy it stands, for problems.
        """
        if isinstance(pattern, dict):
            return self._map(pattern, place, path, "")
        if isinstance(pattern, list):
            return self._list(pattern, place, path)
        return _scalar(pattern, place)

    def _map(self, pattern: dict[str, Any], place: Place, path: str, parent: str) -> Check:
        """Compile a map; `parent` is `metadata` for metadata and `tags` for its labels and annotations."""
        parsed: dict[str, tuple[Anchor | None, str]] = {key: anchors.parse(key) or (None, key) for key in pattern}
        early = sorted(key for key, (anchor, _) in parsed.items() if anchor in _FIRST)
        late = _ordered({key: pattern[key] for key, (anchor, _) in parsed.items() if anchor not in _FIRST})
        first, rest = (
            tuple(self._entry(key, parsed[key], pattern[key], place, f"{path}.{key}", parent) for key in keys)
            for keys in (early, late)
        )
        tracked = tuple(
            Tracked(key, _has_key(name, wild=parent == "tags" and wildcard.has(name)))
            for key, (anchor, name) in parsed.items()
            if anchor in _TRACKED
        )
        if all(each.below is not None for each in (*first, *rest)):
            only = (*first, *rest)[0] if len(parsed) == 1 else None
            if only is not None and only.below is not None:
                return self._link(_Step(only.name, bool(first), place), only.below)
            return _plain(first, rest, place)

        def check(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
            if not isinstance(value, dict):
                return _other_structure(place, value)
            if tracked:
                visited.append((tracked, value))
            if first and (mismatch := _lay_anchors(first, place, value, budget, visited)) is not None:
                return mismatch
            for name, entry, _ in rest:
                if (mismatch := entry(name, value, budget, visited)) is not None:
                    return mismatch
            return None

        return check

    def _entry(
        self,
        key: str,
        anchored: tuple[Anchor | None, str],
        pattern: values.JSON,
        place: Place,
        path: str,
        parent: str,
    ) -> _Key:
        """Compile one key of a map and what stands under it; the key is given as written and taken apart."""
        anchor, name = anchored
        wild = parent == "tags" and wildcard.has(name)
        below: Place = (*place, "/") if wild else (*place[:-1], f"{place[-1]}{name}/")
        entry: _Entry
        plain: Check | None = None
        match anchor:
            case Anchor.ADD_IF_NOT_PRESENT:
                self.problems.append(errors.Problem(path, f"{key} adds a key, which only mutation does"))
                return _Key(name, _absent(below), None)
            case Anchor.NEGATION:
                entry = _absent(below)
            case Anchor.EXISTENCE:
                entry = self._existence(pattern, below, path)
            case None if pattern == "*":
                entry, below = _present(place), place
            case None:
                plain = self._child(name, pattern, below, path, parent)
                entry = _required(plain)
            case Anchor.EQUALITY:
                plain = self._child(name, pattern, below, path, parent)
                entry = _if_there(plain)
            case Anchor.GLOBAL:
                entry = _global(self._child(name, pattern, below, path, parent))
            case Anchor.CONDITION:
                entry = _condition(self._child(name, pattern, below, path, parent))
        if wild:
            return _Key(name, _expanded(entry, wildcard.compile(name), named=below is not place), None)
        return _Key(name, entry, plain)

    def _link(self, step: _Step, below: Check) -> Check:
        """Compile a map whose only key has nothing but a check below, together with such maps under it."""
        chain = self._chains.get(below)
        linked = _Chain((step,), below) if chain is None else _Chain((step, *chain.steps), chain.below)
        check = _walk(linked)
        self._chains[check] = linked
        return check

    def _child(self, name: str, pattern: values.JSON, place: Place, path: str, parent: str) -> Check:
        if not isinstance(pattern, dict):
            return self.element(pattern, place, path)
        if name == "metadata":
            return self._map(pattern, place, path, "metadata")
        tags = parent == "metadata" and name in ("labels", "annotations")
        return self._map(pattern, place, path, "tags" if tags else "")

    def _existence(self, pattern: values.JSON, place: Place, path: str) -> _Entry:
        if not isinstance(pattern, list) or not all(isinstance(item, dict) for item in pattern):
            self.problems.append(errors.Problem(path, "an existence anchor ^(...) takes a list of maps"))
            return _absent(place)
        checks = [self.element(item, (*place, "/"), f"{path}[{index}]") for index, item in enumerate(pattern)]

        def entry(name: str, mapping: dict[str, Any], budget: Budget, visited: Visited) -> Mismatch | None:
            if name not in mapping:
                return None
            items = mapping[name]
            if not isinstance(items, list):
                found = _GO_TYPES.get(type(items), "unknown")
                reason = f"invalid resource type {found}: an existence anchor can be used only on lists"
                return Mismatch(Kind.FAIL, place, reason, None)
            for check in checks:
                budget.spend(len(items))
                if all(check(item, budget, visited) is not None for item in items):
                    return Mismatch(Kind.FAIL, place, "existence anchor validation failed at path ")
            return None

        return entry

    def _list(self, pattern: list[Any], place: Place, path: str) -> Check:
        if not pattern:
            return lambda _value, _budget, _visited: Mismatch(Kind.FAIL, place, "pattern Array empty", None)
        if isinstance(pattern[0], dict):
            return _every(self.element(pattern[0], (*place, "/"), f"{path}[0]"), place)
        if not isinstance(pattern[0], list):
            scalar = _scalar(pattern[0], place)
            return lambda value, budget, visited: (
                scalar(value, budget, visited) if isinstance(value, list) else _no_list(place)
            )
        checks = tuple(self.element(item, (*place, "/"), f"{path}[{index}]") for index, item in enumerate(pattern))
        return _pairwise(checks, place)


def _has_key(name: str, *, wild: bool) -> Callable[[dict[str, Any]], bool]:
    if not wild:
        return lambda mapping: name in mapping
    matches = wildcard.compile(name)
    return lambda mapping: any(map(matches, mapping))


def _ordered(pattern: dict[str, Any]) -> list[str]:
    """The keys that are laid after the anchors: those with anchors below first, in reverse."""
    front: list[str] = []
    back: list[str] = []
    for key in sorted(pattern):
        anchor, _ = anchors.parse(key) or (None, key)
        (front if anchor is Anchor.GLOBAL or _has_anchors(pattern[key]) else back).append(key)
    return front[::-1] + back


def _has_anchors(pattern: values.JSON) -> bool:
    if isinstance(pattern, dict):
        parsed = (anchors.parse(key) for key in pattern)
        return any(anchor is not None and anchor[0] is not Anchor.ADD_IF_NOT_PRESENT for anchor in parsed) or any(
            map(_has_anchors, pattern.values())
        )
    return isinstance(pattern, list) and any(map(_has_anchors, pattern))


def _plain(first: tuple[_Key, ...], rest: tuple[_Key, ...], place: Place) -> Check:
    """A map whose keys have no other anchors than equality: one call a map, where `_lay_anchors` makes three.

    Nearly all maps of real policies are like that: 17 Pod Security policies take about a tenth less time by it.
    """
    optional = tuple((name, below) for name, _, below in first if below is not None)
    required = tuple((name, below) for name, _, below in rest if below is not None)

    def check(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
        if not isinstance(value, dict):
            return _other_structure(place, value)
        for name, below in optional:
            if name in value and (mismatch := below(value[name], budget, visited)) is not None:
                mismatch = _lay_anchors(first, place, value, budget, visited, optional.index((name, below)), mismatch)
                if mismatch is not None:
                    return mismatch
                break
        for name, below in required:
            if (mismatch := below(value.get(name), budget, visited)) is not None:
                return mismatch
        return None

    return check


def _walk(chain: _Chain) -> Check:
    """The check of a chain: one call for all of its maps."""
    below = chain.below
    keys = tuple((step.name, step.optional) for step in chain.steps)

    def check(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
        found = value
        for name, optional in keys:
            if not isinstance(found, dict):
                return _broken(chain.steps, value)
            if name in found:
                found = found[name]
            elif optional:
                return None
            else:
                found = None
        mismatch = below(found, budget, visited)
        if mismatch is not None and mismatch.skips:
            for step in reversed(chain.steps):
                if step.optional:
                    mismatch = Skipped(Kind.SKIP_BELOW, step.place, "", [mismatch])
        return mismatch

    return check


def _broken(steps: tuple[_Step, ...], value: values.JSON) -> Mismatch:
    """Why a chain cannot be walked: one of its values is no map."""
    for step in steps:
        if not isinstance(value, dict):
            break
        value = value.get(step.name)
    return _other_structure(step.place, value)


def _lay_anchors(
    entries: tuple[_Key, ...],
    place: Place,
    mapping: dict[str, Any],
    budget: Budget,
    visited: Visited,
    laid: int = 0,
    mismatch: Mismatch | None = None,
) -> Mismatch | None:
    """Lay all anchors of a map: a condition that does not hold here weighs more than a failure after it.

    Args:
        entries: The keys with anchors.
        place: Where the map stands.
        mapping: The map.
        budget: Pays for list elements.
        visited: As for a check.
        laid: How many of the entries have been laid already, and held.
        mismatch: What laying the next one gave, where that has been laid too.
    """
    skipped: list[Mismatch] = []
    held = laid
    here = False
    for name, entry, _ in entries[laid:]:
        if mismatch is None:
            mismatch = entry(name, mapping, budget, visited)
        if mismatch is None:
            held += 1
        elif mismatch.skips:
            skipped.append(mismatch)
            here = here or mismatch.kind is Kind.SKIP
        elif not here:
            return mismatch
        mismatch = None
    if skipped and (here or held == 0):
        return Skipped(Kind.SKIP_BELOW, place, "", skipped)
    return None


def _other_structure(place: Place, value: values.JSON) -> Mismatch:
    found = _GO_TYPES.get(type(value), "unknown")
    reason = "pattern and resource have different structures. Path: "
    return Mismatch(Kind.FAIL, place, reason, f". Expected {_GO_TYPES[dict]}, found {found}")


def _no_list(place: Place) -> Mismatch:
    after = ", resource does not satisfy the expected overlay pattern"
    return Mismatch(Kind.FAIL, place, "validation rule failed at path ", after)


def _required(check: Check) -> _Entry:
    return lambda name, mapping, budget, visited: check(mapping.get(name), budget, visited)


def _if_there(check: Check) -> _Entry:
    return lambda name, mapping, budget, visited: check(mapping[name], budget, visited) if name in mapping else None


def _present(place: Place) -> _Entry:
    def entry(name: str, mapping: dict[str, Any], _budget: Budget, _visited: Visited) -> Mismatch | None:
        return None if mapping.get(name) is not None else Mismatch(Kind.FAIL, place, "", f"/{name} not found")

    return entry


def _absent(place: Place) -> _Entry:
    def entry(name: str, mapping: dict[str, Any], _budget: Budget, _visited: Visited) -> Mismatch | None:
        if name not in mapping:
            return None
        return Mismatch(Kind.NEGATION, place, "negation anchor matched in resource: ", " is not allowed")

    return entry


def _condition(check: Check) -> _Entry:
    def entry(name: str, mapping: dict[str, Any], budget: Budget, visited: Visited) -> Mismatch | None:
        if name not in mapping:
            reason = "conditional anchor mismatch: conditional anchor key doesn't exist in the resource"
            return Mismatch(Kind.SKIP, (), reason, None)
        mismatch = check(mapping[name], budget, visited)
        return None if mismatch is None else Skipped(Kind.SKIP, (), "conditional anchor mismatch: ", [mismatch])

    return entry


def _global(check: Check) -> _Entry:
    def entry(name: str, mapping: dict[str, Any], budget: Budget, visited: Visited) -> Mismatch | None:
        if name not in mapping:
            return None
        mismatch = check(mapping[name], budget, visited)
        return None if mismatch is None else Skipped(Kind.SKIP, (), "global anchor mismatch: ", [mismatch])

    return entry


def _expanded(entry: _Entry, matches: Callable[[str], bool], *, named: bool) -> _Entry:
    """The entry of a label or annotation whose key holds a wildcard: laid on the first key that matches."""

    def expanded(name: str, mapping: dict[str, Any], budget: Budget, visited: Visited) -> Mismatch | None:
        budget.spend(len(mapping))
        found = next((key for key, value in mapping.items() if matches(key) and type(value) is str), name)
        mismatch = entry(found, mapping, budget, visited)
        if mismatch is not None and named:
            mismatch.under(found)
        return mismatch

    return expanded


def _every(check: Check, place: Place) -> Check:
    """A map laid on each element of a list: skipped when all elements are."""

    def every(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
        if not isinstance(value, list):
            return _no_list(place)
        budget.spend(len(value))
        skipped: list[Mismatch] = []
        for position, item in enumerate(value):
            mismatch = check(item, budget, visited)
            if mismatch is not None:
                mismatch.under(position)
                if not mismatch.skips:
                    return mismatch
                skipped.append(mismatch)
        return Skipped(Kind.SKIP_BELOW, place, "", skipped) if skipped and len(skipped) == len(value) else None

    return every


def _pairwise(checks: tuple[Check, ...], place: Place) -> Check:
    """Lists in a list: each laid on the element at its own position."""

    def pairwise(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
        if not isinstance(value, list):
            return _no_list(place)
        if len(value) < len(checks):
            reason = f"the list has {len(value)} elements, its pattern {len(checks)}"
            return Mismatch(Kind.FAIL, (), reason, None)
        skipped: list[Mismatch] = []
        for position, check in enumerate(checks):
            mismatch = check(value[position], budget, visited)
            if mismatch is not None:
                mismatch.under(position)
                if not mismatch.skips:
                    return mismatch
                skipped.append(mismatch)
        return Skipped(Kind.SKIP_BELOW, place, "", skipped) if skipped and len(skipped) == len(checks) else None

    return pairwise


def _scalar(pattern: values.JSON, place: Place) -> Check:
    """A scalar laid on a value, or on each element of a list."""
    matches = _test(pattern)

    def check(value: values.JSON, budget: Budget, _visited: Visited) -> Mismatch | None:
        if type(value) is list:
            budget.spend(len(value))
            if all(matches(item, budget) for item in value):
                return None
        elif matches(value, budget):
            return None
        return ValueMismatch(place, value, pattern)

    return check


def _test(pattern: values.JSON) -> operators.Test:
    match pattern:
        case str():
            return operators.compile(pattern)
        case bool():
            return lambda value, _: value is pattern
        case None:
            return lambda value, _: value is None or value in ("", 0)
    whole = type(pattern) is int

    def matches(value: values.JSON, _: Budget) -> bool:
        if type(value) is str:
            return bool((values.integer(value) if whole else values.number(value)) == pattern)
        return values.is_number(value) and bool(value == pattern)

    return matches
