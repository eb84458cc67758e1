"""Patterns to nested closures.

Each closure takes a value, and gives a mismatch or None. Order is Kyverno's, because it decides which path a
failure names: in a map first the anchors in the order of their keys, then keys that have anchors below them (the last
first), then the others.
"""

from collections.abc import Callable
from typing import Any

from kymograph.apimachinery import wildcard
from kymograph.engine import errors, values
from kymograph.engine.budget import Budget
from kymograph.engine.pattern import anchors, checks
from kymograph.engine.pattern.anchors import Anchor
from kymograph.engine.pattern.checks import Check, Visited
from kymograph.engine.pattern.mismatches import Kind, Mismatch, Place

_TRACKED = (Anchor.CONDITION, Anchor.EXISTENCE)
_FIRST = (Anchor.CONDITION, Anchor.EXISTENCE, Anchor.EQUALITY, Anchor.NEGATION)


class Compiler:
    """Compiles one pattern; collects problems."""

    def __init__(self) -> None:
        self.problems: list[errors.Problem] = []
        self._chains: dict[Check, checks.Chain] = {}

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
        return checks.scalar(pattern, place)

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
            checks.Tracked(key, _has_key(name, wild=parent == "tags" and wildcard.has(name)))
            for key, (anchor, name) in parsed.items()
            if anchor in _TRACKED
        )
        if all(each.below is not None for each in (*first, *rest)):
            only = (*first, *rest)[0] if len(parsed) == 1 else None
            if only is not None and only.below is not None:
                return self._link(checks.Step(only.name, bool(first), place), only.below)
            return checks.plain(first, rest, place)

        def check(value: values.JSON, budget: Budget, visited: Visited) -> Mismatch | None:
            if not isinstance(value, dict):
                return checks.other_structure(place, value)
            if tracked:
                visited.append((tracked, value))
            if first and (mismatch := checks.lay_anchors(first, place, value, budget, visited)) is not None:
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
    ) -> checks.Key:
        """Compile one key of a map and what stands under it; the key is given as written and taken apart."""
        anchor, name = anchored
        wild = parent == "tags" and wildcard.has(name)
        below: Place = (*place, "/") if wild else (*place[:-1], f"{place[-1]}{name}/")
        entry: checks.Entry
        plain: Check | None = None
        match anchor:
            case Anchor.ADD_IF_NOT_PRESENT:
                self.problems.append(errors.Problem(path, f"{key} adds a key, which only mutation does"))
                return checks.Key(name, checks.absent(below), None)
            case Anchor.NEGATION:
                entry = checks.absent(below)
            case Anchor.EXISTENCE:
                entry = self._existence(pattern, below, path)
            case None if pattern == "*":
                entry, below = checks.present(place), place
            case None:
                plain = self._child(name, pattern, below, path, parent)
                entry = checks.required(plain)
            case Anchor.EQUALITY:
                plain = self._child(name, pattern, below, path, parent)
                entry = checks.if_there(plain)
            case Anchor.GLOBAL:
                entry = checks.under_global(self._child(name, pattern, below, path, parent))
            case Anchor.CONDITION:
                entry = checks.under_condition(self._child(name, pattern, below, path, parent))
        if wild:
            return checks.Key(name, checks.expanded(entry, wildcard.compile(name), named=below is not place), None)
        return checks.Key(name, entry, plain)

    def _link(self, step: checks.Step, below: Check) -> Check:
        """Compile a map whose only key has nothing but a check below, together with such maps under it."""
        chain = self._chains.get(below)
        linked = checks.Chain((step,), below) if chain is None else checks.Chain((step, *chain.steps), chain.below)
        check = checks.walk(linked)
        self._chains[check] = linked
        return check

    def _child(self, name: str, pattern: values.JSON, place: Place, path: str, parent: str) -> Check:
        if not isinstance(pattern, dict):
            return self.element(pattern, place, path)
        if name == "metadata":
            return self._map(pattern, place, path, "metadata")
        tags = parent == "metadata" and name in ("labels", "annotations")
        return self._map(pattern, place, path, "tags" if tags else "")

    def _existence(self, pattern: values.JSON, place: Place, path: str) -> checks.Entry:
        if not isinstance(pattern, list) or not all(isinstance(item, dict) for item in pattern):
            self.problems.append(errors.Problem(path, "an existence anchor ^(...) takes a list of maps"))
            return checks.absent(place)
        laid = [self.element(item, (*place, "/"), f"{path}[{index}]") for index, item in enumerate(pattern)]

        def entry(name: str, mapping: dict[str, Any], budget: Budget, visited: Visited) -> Mismatch | None:
            if name not in mapping:
                return None
            items = mapping[name]
            if not isinstance(items, list):
                found = checks.GO_TYPES.get(type(items), "unknown")
                reason = f"invalid resource type {found}: an existence anchor can be used only on lists"
                return Mismatch(Kind.FAIL, place, reason, None)
            for check in laid:
                budget.spend(len(items))
                if all(check(item, budget, visited) is not None for item in items):
                    return Mismatch(Kind.FAIL, place, "existence anchor validation failed at path ")
            return None

        return entry

    def _list(self, pattern: list[Any], place: Place, path: str) -> Check:
        if not pattern:
            return lambda _value, _budget, _visited: Mismatch(Kind.FAIL, place, "pattern Array empty", None)
        if isinstance(pattern[0], dict):
            return checks.every(self.element(pattern[0], (*place, "/"), f"{path}[0]"), place)
        if not isinstance(pattern[0], list):
            scalar = checks.scalar(pattern[0], place)
            return lambda value, budget, visited: (
                scalar(value, budget, visited) if isinstance(value, list) else checks.no_list(place)
            )
        laid = tuple(self.element(item, (*place, "/"), f"{path}[{index}]") for index, item in enumerate(pattern))
        return checks.pairwise(laid, place)


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
