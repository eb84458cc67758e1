"""What patterns are made of: closures that lay one part of a pattern on a value, and give a mismatch or None.

A mismatch under a condition anchor skips its map; a list of maps is skipped when all of its elements are. Nothing here
reads a pattern: `closures` does, and puts these together.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from kymograph.engine import values
from kymograph.engine.budget import Budget
from kymograph.engine.pattern import operators
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

Entry: TypeAlias = Callable[[str, dict[str, Any], Budget, Visited], Mismatch | None]
"""Lays what stands under a key on a map: the key without its anchor, the map, then as for a check."""


def misses_key(visited: Visited) -> bool:
    """Whether some of the anchors met no map with its key, wherever it stood."""
    found: dict[str, bool] = {}
    for tracked, mapping in visited:
        for anchor in tracked:
            found[anchor.written] = found.get(anchor.written, False) or anchor.is_in(mapping)
    return not all(found.values())


class Key(NamedTuple):
    """A key of a map.

    Attributes:
        name: The key without its anchor.
        entry: Lays what stands under it on a map.
        below: What is laid on the value under the key, where there is no more to it: keys without an anchor, and with
            an equality anchor if the map has them. None for others.
    """

    name: str
    entry: Entry
    below: Check | None


class Step(NamedTuple):
    """A map with one key, on the way to what is under it.

    Attributes:
        name: The key without its anchor.
        optional: It has an equality anchor: the map need not have it.
        place: Where the map stands.
    """

    name: str
    optional: bool
    place: Place


class Chain(NamedTuple):
    """Maps of one key each, one in the other.

    Attributes:
        steps: These maps, from the outside in.
        below: What is laid on the value under the last key.
    """

    steps: tuple[Step, ...]
    below: Check


GO_TYPES: dict[type, str] = {
    type(None): "<nil>",
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "string",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}


def plain(first: tuple[Key, ...], rest: tuple[Key, ...], place: Place) -> Check:
    """A map whose keys have no other anchors than equality: one call a map, where `lay_anchors` makes three.

    Nearly all maps of real policies are like that: 17 Pod Security policies take about a tenth less time by it.
    """
    optional = tuple((name, below) for name, _, below in first if below is not None)
    required = tuple((name, below) for name, _, below in rest if below is not None)

    def check(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
        if not isinstance(value, dict):
            return other_structure(place, value)
        for name, below in optional:
            if name in value and (mismatch := below(value[name], budget, visited)) is not None:
                mismatch = lay_anchors(first, place, value, budget, visited, optional.index((name, below)), mismatch)
                if mismatch is not None:
                    return mismatch
                break
        for name, below in required:
            if (mismatch := below(value.get(name), budget, visited)) is not None:
                return mismatch
        return None

    return check


def walk(chain: Chain) -> Check:
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


def _broken(steps: tuple[Step, ...], value: values.JSON) -> Mismatch:
    """Why a chain cannot be walked: one of its values is no map."""
    for step in steps:
        if not isinstance(value, dict):
            break
        value = value.get(step.name)
    return other_structure(step.place, value)


def lay_anchors(
    entries: tuple[Key, ...],
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


def other_structure(place: Place, value: values.JSON) -> Mismatch:
    """The pattern is a map here, and the value is none."""
    found = GO_TYPES.get(type(value), "unknown")
    reason = "pattern and resource have different structures. Path: "
    return Mismatch(Kind.FAIL, place, reason, f". Expected {GO_TYPES[dict]}, found {found}")


def no_list(place: Place) -> Mismatch:
    """The pattern is a list here, and the value is none."""
    after = ", resource does not satisfy the expected overlay pattern"
    return Mismatch(Kind.FAIL, place, "validation rule failed at path ", after)


def required(check: Check) -> Entry:
    """A key without an anchor: what the map lacks counts as null."""
    return lambda name, mapping, budget, visited: check(mapping.get(name), budget, visited)


def if_there(check: Check) -> Entry:
    """An equality anchor: what is under the key, if the map has it."""
    return lambda name, mapping, budget, visited: check(mapping[name], budget, visited) if name in mapping else None


def present(place: Place) -> Entry:
    """A key that has to be there, and not null, whatever it holds."""

    def entry(name: str, mapping: dict[str, Any], _budget: Budget, _visited: Visited) -> Mismatch | None:
        return None if mapping.get(name) is not None else Mismatch(Kind.FAIL, place, "", f"/{name} not found")

    return entry


def absent(place: Place) -> Entry:
    """A negation anchor: the map may not have the key."""

    def entry(name: str, mapping: dict[str, Any], _budget: Budget, _visited: Visited) -> Mismatch | None:
        if name not in mapping:
            return None
        return Mismatch(Kind.NEGATION, place, "negation anchor matched in resource: ", " is not allowed")

    return entry


def under_condition(check: Check) -> Entry:
    """A condition anchor: a mismatch under it, or a key that is not there, skips the map."""

    def entry(name: str, mapping: dict[str, Any], budget: Budget, visited: Visited) -> Mismatch | None:
        if name not in mapping:
            reason = "conditional anchor mismatch: conditional anchor key doesn't exist in the resource"
            return Mismatch(Kind.SKIP, (), reason, None)
        mismatch = check(mapping[name], budget, visited)
        return None if mismatch is None else Skipped(Kind.SKIP, (), "conditional anchor mismatch: ", [mismatch])

    return entry


def under_global(check: Check) -> Entry:
    """A global anchor: a mismatch under it skips the rule."""

    def entry(name: str, mapping: dict[str, Any], budget: Budget, visited: Visited) -> Mismatch | None:
        if name not in mapping:
            return None
        mismatch = check(mapping[name], budget, visited)
        return None if mismatch is None else Skipped(Kind.SKIP, (), "global anchor mismatch: ", [mismatch])

    return entry


def expanded(entry: Entry, matches: Callable[[str], bool], *, named: bool) -> Entry:
    """The entry of a label or annotation whose key holds a wildcard: laid on the first key that matches."""

    def expanded(name: str, mapping: dict[str, Any], budget: Budget, visited: Visited) -> Mismatch | None:
        budget.spend(len(mapping))
        found = next((key for key, value in mapping.items() if matches(key) and type(value) is str), name)
        mismatch = entry(found, mapping, budget, visited)
        if mismatch is not None and named:
            mismatch.under(found)
        return mismatch

    return expanded


def every(check: Check, place: Place) -> Check:
    """A map laid on each element of a list: skipped when all elements are."""

    def every(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
        if not isinstance(value, list):
            return no_list(place)
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


def pairwise(checks: tuple[Check, ...], place: Place) -> Check:
    """Lists in a list: each laid on the element at its own position."""

    def pairwise(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
        if not isinstance(value, list):
            return no_list(place)
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


def scalar(pattern: values.JSON, place: Place) -> Check:
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
