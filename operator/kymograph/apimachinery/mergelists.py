"""Lists whose elements are told apart by merge keys, merged as kustomize's kyaml merges them.

The order of the result is kyaml's, because results are compared with what it gave: elements that only the patch has
come first. Where every element has its keys and no two have the same, that is a matter of two look-ups. Where not,
kyaml's result follows from the steps it takes, one element removing another, so the same steps are taken here.
"""

import json
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

JSON: TypeAlias = Any


class MergeFailed(ValueError):
    """A patch does not fit the object: a map where a list is, or an unknown directive."""


class _Nothing:
    """A type of its own, because `None` is JSON's null."""


NOTHING: Final = _Nothing()
"""No value: what is not there to merge, and what a merge removed."""

_LONGEST_CONTENTS = 1_000
_PLAIN_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)

MergeElement: TypeAlias = Callable[[JSON, JSON], JSON]
"""Merges an element of the patch into one of the object, or into `NOTHING`."""


def merge(old: list[Any], patch: list[Any], keys: Sequence[str], merge_element: MergeElement) -> list[Any]:
    """Merge two lists; one list given twice is cleaned of its duplicates.

    Args:
        old: The list of the object; not changed, and the result if nothing changes.
        patch: The list of the patch.
        keys: The fields that tell elements apart; none for a set of scalars.
        merge_element: Merges two elements.

    Raises:
        MergeFailed: An element is of another type than the elements it is merged with.
    """
    used = keys if len(keys) < 2 else [key for key in keys if any(_value(item, key) for item in (*patch, *old))]
    known = _by_key(old, used)
    wanted = known if old is patch else _by_key(patch, used)
    if known is None or wanted is None:
        return _step_by_step(old, patch, keys or ("",), merge_element)
    if old is patch:
        return _if_changed(old, [item for each in old if (item := merge_element(NOTHING, each)) is not NOTHING])
    merged = {}
    for key, item in wanted.items():
        before = known.get(key, NOTHING)
        keeps = before is not NOTHING and (not keys or _replaces(item))
        merged[key] = before if keeps else merge_element(before, item)
    if len(used) > 1:
        result = [item for key, item in merged.items() if item is not NOTHING and key not in known]
        result += [item for key, before in known.items() if (item := merged.get(key, before)) is not NOTHING]
    else:
        result = [item for item in merged.values() if item is not NOTHING]
        result += [item for key, item in known.items() if key not in merged]
    return _if_changed(old, result)


def text(value: JSON) -> str:
    """A scalar as YAML writes it plainly; empty for a map or a list."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    return "" if isinstance(value, dict | list) else str(value)


def wrong_kind(expected: JSON, found: JSON) -> MergeFailed:
    """What to raise where two values of different types meet."""
    contents = json.dumps(found)[:_LONGEST_CONTENTS]
    return MergeFailed(
        f"wrong node kind: expected {_kind(expected)} but got {_kind(found)}: node contents:\n{contents}"
    )


def _kind(value: JSON) -> str:
    return "MappingNode" if isinstance(value, dict) else "SequenceNode" if isinstance(value, list) else "ScalarNode"


def _if_changed(old: list[Any], new: list[Any]) -> list[Any]:
    return old if len(new) == len(old) and all(map(operator.is_, new, old)) else new


def _by_key(items: list[Any], keys: Sequence[str]) -> dict[Any, Any] | None:
    """The elements by their keys; None if one lacks a key or two have the same."""
    found: dict[Any, Any] = {}
    for item in items:
        if not keys:
            key: Any = "" if item is None else text(item)
        elif len(keys) == 1:
            key = _value(item, keys[0])
        else:
            values = tuple(_value(item, key) for key in keys)
            key = values if all(values) else ""
        if not key:
            return None
        found[key] = item
    return found if len(found) == len(items) and (keys or not any(isinstance(i, dict) for i in items)) else None


def _value(item: JSON, key: str) -> str:
    """The text of a key's value; empty if it is missing, null or empty."""
    value = item.get(key) if isinstance(item, dict) else None
    return "" if value is None else text(value)


def _replaces(item: JSON) -> bool:
    """Whether an element is to replace another; kyaml then keeps the other."""
    return isinstance(item, dict) and item.get("$patch") == "replace"


def _step_by_step(old: list[Any], patch: list[Any], keys: Sequence[str], merge_element: MergeElement) -> list[Any]:
    one_list = old is patch
    old = list(old)
    patch = old if one_list else list(patch)
    wanted = _wanted(patch, old, keys)
    merged: list[Any] = []
    used: Sequence[str] = keys
    for values in wanted:
        used = _used(keys, wanted)
        mine = [value for key, value in zip(keys, values, strict=True) if key in used]
        place = _find(old, used, mine)
        before = NOTHING if place is None else old[place]
        other = place if one_list else _find(patch, used, mine)
        item = NOTHING if other is None else patch[other]
        if item is NOTHING or (used[0] == "" and before is not NOTHING):
            after = before
        else:
            after = merge_element(NOTHING if one_list else before, item)
        if after is NOTHING or after is None or after == {}:
            old = _set(old, NOTHING, used, mine)
            patch = old if one_list else patch
            continue
        if isinstance(after, dict):
            missing = {key: value for key, value in zip(used, mine, strict=True) if key not in after and value}
            after = {**after, **{key: _scalar(value) for key, value in missing.items()}} if missing else after
        if place is not None and (one_list or not _replaces(item)):
            old[place] = after
        merged = _set(merged, after, used, mine)
    return _append(merged, old, used) if wanted else old


def _wanted(patch: list[Any], old: list[Any], keys: Sequence[str]) -> list[list[str]]:
    """The keys of all elements, those of the patch first; where one lacks a part that another has, filled in."""
    found: dict[tuple[str, ...], None] = {}
    for item in (*patch, *old):
        found[(text(item),) if keys[0] == "" else tuple(_value(item, key) for key in keys)] = None
    wanted = [list(values) for values in found]
    if len(keys) > 1:
        for index in range(len(wanted)):
            values = wanted[index]
            for other in range(len(wanted)):
                filled = _filled(values, wanted[other])
                if filled:
                    wanted[index] = wanted[other] = filled
    return wanted


def _filled(left: list[str], right: list[str]) -> list[str] | None:
    """Two keys made one, if they share a part and differ only where one has nothing."""
    if all(a != b for a, b in zip(left, right, strict=True)):
        return None
    if any(a and b and a != b for a, b in zip(left, right, strict=True)):
        return None
    return [a or b for a, b in zip(left, right, strict=True)]


def _used(keys: Sequence[str], wanted: Sequence[Sequence[str]]) -> Sequence[str]:
    """The keys that at least one element has; all of them if none has any."""
    used = [key for index, key in enumerate(keys) if any(values[index] for values in wanted)]
    return used or keys


def _find(items: list[Any], keys: Sequence[str], values: Sequence[str]) -> int | None:
    """Where the first element with some keys stands; only keys with a value count, if one has a value."""
    pairs = [(key, value) for key, value in zip(keys, values, strict=True) if value]
    pairs = pairs or list(zip(keys, values, strict=True))
    for index, item in enumerate(items):
        if pairs[0][0] == "":
            if text(item) == pairs[0][1]:
                return index
        elif isinstance(item, dict) and all(key in item and text(item[key]) == value for key, value in pairs):
            return index
    return None


def _set(items: list[Any], element: JSON, keys: Sequence[str], values: Sequence[str]) -> list[Any]:
    """The list with every element of some keys replaced, or removed for `NOTHING`; a new one is appended.

    An empty value is any value: an element without a key removes those with one.
    """
    result = []
    matched = False
    for item in items:
        if item is None or item == {}:
            continue
        if not isinstance(item, dict) and keys[0] and values and values[0]:
            result.append(item)
        elif values and _matches(item, keys, values):
            matched = True
            if element is not NOTHING:
                result.append(element)
        elif values:
            result.append(item)
    if not matched and element is not NOTHING and element is not None:
        result.append(element)
    return result


def _matches(item: JSON, keys: Sequence[str], values: Sequence[str]) -> bool:
    for index, key in enumerate(keys):
        if index >= len(values):
            break
        if key == "":
            if isinstance(item, dict | list):
                raise wrong_kind("", item)
            if text(item) != values[index]:
                return False
            continue
        if not isinstance(item, dict):
            raise wrong_kind({}, item)
        if key not in item or (values[index] and text(item[key]) != values[index]):
            return False
    return True


def _append(result: list[Any], items: list[Any], keys: Sequence[str]) -> list[Any]:
    """The list with elements put in the place of those with the same keys, or behind it."""
    for item in items:
        if keys[0] == "":
            result = _set(result, item, keys, [text(item)])
            continue
        values = []
        for key in keys:
            if item is not None and not isinstance(item, dict):
                raise wrong_kind({}, item)
            if item is None or key not in item:
                result = [*result, item]
            else:
                values.append(text(item[key]))
        if len(keys) > 1:
            result = _set(result, NOTHING, keys, values)
        result = _set(result, item, keys, values)
    return result


def _scalar(value: str) -> JSON:
    """A key that was filled in, as YAML reads it."""
    if value in {"true", "false"}:
        return value == "true"
    return int(value) if _PLAIN_INTEGER.fullmatch(value) else value
