"""A strategic merge patch with anchors, made into one without, for one object.

What Kyverno does before it merges, in its order: `+(k)` is dropped where the object has k; `(k)` and `<(k)` are
conditions for the rest of their map; a list of maps with conditions becomes one element, by `name`, for each element of
the object that meets them. Then the conditions themselves are taken out, and with them every map that holds nothing
else, even one that was written empty.

Two things differ. Of several elements with conditions in one list Kyverno takes out the wrong ones, so that containers
vanish. An anchor at the top of a patch becomes a field of the object, parentheses and all. Here both do what they do
elsewhere.
"""

import functools
import operator
from typing import Any, TypeAlias

import orjson

from kymograph.apimachinery import mergelists
from kymograph.engine import errors
from kymograph.engine.budget import Budget
from kymograph.engine.pattern import anchors, checks, closures

JSON: TypeAlias = Any
_Which: TypeAlias = int
_Found: TypeAlias = list[tuple[str, anchors.Anchor, str]]

_CONDITION, _GLOBAL, _ADDITION = anchors.Anchor.CONDITION, anchors.Anchor.GLOBAL, anchors.Anchor.ADD_IF_NOT_PRESENT
_BITS = {_CONDITION: 1, _GLOBAL: 2, _ADDITION: 4}
_NONE = 0
_CONTAINERS = (dict, list)  # a union is made anew, and asked twice as slowly, each time
_NOT_PLAIN = (dict, list, str)
_LAST = ") "  # what an anchor ends with: most keys need no second look
_NOTHING = mergelists.NOTHING


class Unmet(Exception):
    """A condition of a patch does not hold. No error: the element of a list, or the rule, has nothing to patch."""


class UnmetGlobally(Unmet):
    """One that ends the rule, not only the element of a list."""


def is_anchored(patch: JSON) -> bool:
    """Whether a patch has anchors that are looked at; others (`=`, `^`, `X`) are plain keys of a patch."""
    return bool(_mentioned(patch))


def without_anchors(patch: dict[str, Any], resource: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Make the patch for an object.

    Args:
        patch: The patch; changed on the way, so it must be the caller's own.
        resource: The object, which is not changed.
        budget: Pays for what is looked at.

    Raises:
        Unmet: A condition outside of a list does not hold: there is nothing to be patched.
        MergeFailed: A list is where the object has something else.
        EvaluationError: The budget is exhausted.
    """
    _resolve(patch, resource, budget)
    return emptied(patch)


def emptied(patch: dict[str, Any]) -> dict[str, Any]:
    """The same patch without what is left of its conditions, and without empty maps.

    Args:
        patch: The patch; it is changed.
    """
    _strip_map(patch)
    return patch


def _resolve(pattern: JSON, resource: JSON, budget: Budget) -> None:
    budget.spend()
    if isinstance(pattern, dict):
        _resolve_map(pattern, resource, budget)
    elif isinstance(pattern, list) and pattern and isinstance(pattern[0], dict):
        _resolve_list(pattern, resource, budget)


def _resolve_map(pattern: dict[str, Any], resource: JSON, budget: Budget) -> None:
    found = _anchors(pattern)
    conditions: _Found = []
    if found:
        _add(pattern, found, resource)
        conditions = [each for each in found if each[1] is not _ADDITION]
        if conditions:
            _check(pattern, conditions, resource, budget)
    known = resource if isinstance(resource, dict) else {}
    for key, value in pattern.items():
        if isinstance(value, _CONTAINERS) and not any(key == each[0] for each in conditions):
            _resolve(value, known.get(key, _NOTHING), budget)


def _resolve_list(pattern: list[Any], resource: JSON, budget: Budget) -> None:
    if resource is not _NOTHING and resource is not None and not isinstance(resource, list):
        raise mergelists.wrong_kind([], resource)
    items = resource if isinstance(resource, list) else [] if resource is None else [_NOTHING]
    for element in tuple(pattern):
        mentioned = _mentioned(element)
        if not mentioned:
            continue
        if mentioned == _BITS[_CONDITION] and _append_chosen(pattern, element, items, budget):
            continue
        is_global = bool(mentioned & _BITS[_GLOBAL])
        failed = passed = False
        current = copied(element)  # one for all elements of the object: what one of them has resolved stays so
        for item in items:
            try:
                _resolve(current, item, budget)
            except UnmetGlobally:
                failed = True
            except Unmet:
                pass
            else:
                passed = True
                if not is_global and item is not _NOTHING:
                    _append_named(pattern, current, item)
        if failed and not (passed and is_global):
            raise UnmetGlobally


def _append_chosen(pattern: list[Any], element: JSON, items: list[Any], budget: Budget) -> bool:
    """What `_resolve_list` does for an element whose only anchors are conditions on scalars of its own; if it is one.

    Most are. Nothing of it depends on the elements of the object but whether they are chosen.
    """
    conditions = _anchors(element) if isinstance(element, dict) else []
    if not conditions or any(isinstance(element[each[0]], _CONTAINERS) for each in conditions):
        return False
    written = [each[0] for each in conditions]
    rest = {key: copied(value) for key, value in element.items() if key not in written}
    if _mentioned(rest):
        return False
    is_empty = _strip_map(rest)
    for item in items:
        budget.spend()
        if isinstance(item, dict) and all(
            key in item and _holds(element[name], item[key], budget) for name, _, key in conditions
        ):
            name = item.get("name")
            if not is_empty and name is not None and name not in ({}, []):
                pattern.append({**rest, "name": name})
    return True


def _append_named(pattern: list[Any], element: JSON, item: JSON) -> None:
    """Add to a list of the patch what an element of it says of an element of the object; that needs a name."""
    name = _field(item, "name")
    if name is _NOTHING or name is None or name in ({}, []) or not isinstance(element, dict):
        return
    new = copied(element)
    if not _strip_map(new):
        new["name"] = name
        pattern.append(new)


def _add(pattern: dict[str, Any], found: _Found, resource: JSON) -> int:
    """Drop the additions of a map that the object has, let the others be plain keys; how many there were."""
    count = 0
    for written, anchor, key in found:
        if anchor is _ADDITION:
            count += 1
            value = pattern.pop(written)
            if _field(resource, key) is _NOTHING:
                pattern[key] = value
    return count


def _check(pattern: dict[str, Any], conditions: _Found, resource: JSON, budget: Budget) -> None:
    """Look at the conditions of a map, the global ones first."""
    if len(conditions) > 1:
        conditions = sorted(conditions, key=lambda each: each[1] is not _GLOBAL)
    for written, anchor, key in conditions:
        value = _field(resource, key)
        if value is not _NOTHING:
            condition = pattern[written]
            if isinstance(condition, dict) and _add(condition, _anchors(condition), value):
                continue
            if _holds(condition, value, budget):
                continue
        raise UnmetGlobally if anchor is _GLOBAL else Unmet


def _holds(condition: JSON, value: JSON, budget: Budget) -> bool:
    text = orjson.dumps(condition if isinstance(condition, _CONTAINERS) else mergelists.text(condition))
    budget.spend(1 + len(text) // 8)
    try:
        check = _compiled(text)
    except errors.PolicyInvalid:  # such as an addition within a condition, which no object can meet
        return False
    return check(value if isinstance(value, _CONTAINERS) else mergelists.text(value), budget, []) is None


@functools.lru_cache(maxsize=512)
def _compiled(text: bytes) -> checks.Check:
    compiler = closures.Compiler()
    check = compiler.element(orjson.loads(text), ("/",), "")
    if compiler.problems:
        raise errors.PolicyInvalid(tuple(compiler.problems))
    return check


def _strip(value: JSON, *, conditional: bool) -> bool:
    """Take conditions out of a value; whether nothing is left of it."""
    if isinstance(value, dict):
        return _strip_map(value)
    if isinstance(value, list):
        return _strip_list(value)
    return conditional


def _strip_map(value: dict[str, Any]) -> bool:
    for written, anchor, key in _anchors(value):
        if anchor is not _ADDITION:
            condition = value.pop(written)
            if not _strip(condition, conditional=True):
                value[key] = condition
    gone = [key for key, item in value.items() if isinstance(item, _CONTAINERS) and _strip(item, conditional=False)]
    for key in gone:
        del value[key]
    return not value


def _strip_list(value: list[Any]) -> bool:
    if not value:
        return False
    value[:] = [item for item in value if not _mentioned(item) and not _strip(item, conditional=False)]
    return not value


def _mentioned(value: JSON) -> _Which:
    """Which anchors a value holds, anywhere."""
    if isinstance(value, dict):
        found = _NONE
        for key, item in value.items():
            if key[-1:] in _LAST and (read := _read(key)) is not None:
                found |= _BITS[read[1]]
            if isinstance(item, _NOT_PLAIN):
                found |= _mentioned(item)
        return found
    if isinstance(value, list):
        return functools.reduce(operator.or_, map(_mentioned, value), _NONE)
    if type(value) is str and value[-1:] in _LAST:
        read = _read(value)
        return _NONE if read is None or read[1] is _ADDITION else _BITS[_CONDITION] | _BITS[_GLOBAL]
    return _NONE


def _anchors(value: dict[str, Any]) -> _Found:
    """The keys of a map that are anchors and are looked at: as written, the anchor, and the key that is meant."""
    return [each for key in value if key[-1:] in _LAST and (each := _read(key)) is not None]


@functools.lru_cache(maxsize=1024)
def _read(key: str) -> tuple[str, anchors.Anchor, str] | None:
    parsed = anchors.parse(key)
    return (key, *parsed) if parsed is not None and parsed[0] in _BITS else None


def _field(resource: JSON, key: str) -> JSON:
    return resource.get(key, _NOTHING) if isinstance(resource, dict) else _NOTHING


def copied(value: JSON) -> JSON:
    """A copy that may be changed; whole floats become integers, as in Go's JSON."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    if type(value) is float and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value
