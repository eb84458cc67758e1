"""JSON Patch (RFC 6902) on plain dicts and lists: applying one and making one.

Nothing given is changed: a result shares with its source what an operation did not touch. What RFC 6902 leaves open,
and what every error says, is as in evanphx/json-patch, which the API server and Kyverno use, with its three options.
Two things it allows are refused: padding a list with more than a thousand nulls, and copies that double until they fill
the memory.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

JSON: TypeAlias = Any

_MOST_PADDING = 1_000
_MOST_COPIED = 1_000_000
_INTEGER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_OPERATIONS_WITH_VALUE = ("add", "replace")  # `test` without a value means null
_OPERATIONS_WITH_SOURCE = ("move", "copy")
_OPERATIONS = (*_OPERATIONS_WITH_VALUE, *_OPERATIONS_WITH_SOURCE, "remove", "test")


class PatchFailed(ValueError):
    """A patch cannot be read, or does not apply to a document."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How lenient `apply` is.

    Attributes:
        negative_indices: `-1` is the last element of a list.
        missing_is_removed: Removing what is not there does nothing.
        creates_parents: Adding below a path that is not there creates it: a list where the next part is an index.
    """

    negative_indices: bool = True
    missing_is_removed: bool = False
    creates_parents: bool = False


STRICT = Options()
"""What the API server does."""

LENIENT = Options(missing_is_removed=True, creates_parents=True)
"""What Kyverno does with `patchesJson6902`."""


def check(operations: JSON) -> None:
    """Look whether a patch is one, whatever document it is for.

    Raises:
        PatchFailed: It is no list of operations with all that they need.
    """
    if not isinstance(operations, list):
        raise PatchFailed("a patch is a list of operations")
    for operation in operations:
        if not isinstance(operation, Mapping):
            raise PatchFailed("an operation is an object with op and path")
        reason = _fault(operation)
        if reason:
            text = json.dumps(operation, sort_keys=True, separators=(",", ":"), default=str)
            raise PatchFailed(f"invalid operation {text}: {reason}")


def _fault(operation: Mapping[str, Any]) -> str:
    kind = operation.get("op")
    if kind not in _OPERATIONS:
        return "unsupported operation"
    if kind in _OPERATIONS_WITH_VALUE and "value" not in operation:
        return "failed to decode 'value': operation, missing value field: missing value"
    if kind in _OPERATIONS_WITH_SOURCE and not isinstance(operation.get("from"), str):
        return "failed to decode 'from': operation, missing from field: missing value"
    if not isinstance(operation.get("path"), str):
        return "failed to decode 'path': operation missing path field: missing value"
    return ""


def apply(document: JSON, operations: Sequence[Mapping[str, Any]], options: Options = STRICT) -> JSON:
    """Apply a patch.

    Args:
        document: An object or a list; it is not changed.
        operations: A patch that `check` accepts.
        options: How lenient to be.

    Returns:
        The new document, which shares what was not touched with the old one and with the patch.

    Raises:
        PatchFailed: An operation does not apply.
    """
    copied = 0
    for operation in operations:
        path, kind = operation["path"], operation["op"]
        if kind == "add":
            document = _add(document, path, operation["value"], options)
        elif kind == "remove":
            document = _remove(document, path, options)
        elif kind == "replace":
            document = _replace(document, path, operation["value"], options)
        elif kind == "test":
            _test(document, path, operation.get("value"), options)
        elif kind == "move":
            document = _move(document, operation["from"], path, options)
        else:
            value = _source(document, operation["from"], "copy", options)
            copied += sum(1 for _ in _nodes(value, _MOST_COPIED - copied))
            if copied >= _MOST_COPIED:
                raise PatchFailed("Unable to complete the copy, the accumulated size of copies exceeds the limit")
            document = _put(document, path, value, "copy", options)
    return document


def make(old: JSON, new: JSON) -> list[dict[str, Any]]:
    """Make a small patch that turns one document into another.

    Lists are compared from both ends, so that an insertion is one operation; what differs in between is patched element
    by element.

    Args:
        old: A document. Where it shares parts with the new one, these are not looked at.
        new: What `apply(old, make(old, new))` gives.
    """
    operations: list[dict[str, Any]] = []
    _compare(old, new, "", operations)
    return operations


def same(left: JSON, right: JSON) -> bool:
    """Whether two values are the same JSON: `1`, `1.0` and `true` are three values."""
    if left is right:
        return True
    kind = type(left)
    if kind is not type(right):
        return False
    if kind is dict:
        return len(left) == len(right) and all(key in right and same(item, right[key]) for key, item in left.items())
    if kind is list:
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key


def parts(pointer: str) -> list[str]:
    """The keys and indices of a JSON pointer; what stands before its first slash does not count."""
    keys = pointer.split("/")[1:]
    return [key.replace("~1", "/").replace("~0", "~") for key in keys] if "~" in pointer else keys


def _compare(old: JSON, new: JSON, path: str, operations: list[dict[str, Any]]) -> None:
    if old is new:
        return
    kind = type(old)
    if kind is type(new):
        if kind is dict:
            _compare_maps(old, new, path, operations)
            return
        if kind is list:
            _compare_lists(old, new, path, operations)
            return
        if old == new:
            return
    operations.append({"op": "replace", "path": path, "value": new})


def _compare_maps(old: dict[str, Any], new: dict[str, Any], path: str, operations: list[dict[str, Any]]) -> None:
    for key, value in old.items():
        if key not in new:
            operations.append({"op": "remove", "path": f"{path}/{escape(key)}"})
        elif (other := new[key]) is not value:
            _compare(value, other, f"{path}/{escape(key)}", operations)
    operations += [
        {"op": "add", "path": f"{path}/{escape(key)}", "value": value} for key, value in new.items() if key not in old
    ]


def _compare_lists(old: list[Any], new: list[Any], path: str, operations: list[dict[str, Any]]) -> None:
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and same(old[start], new[start]):
        start += 1
    left, right = len(old), len(new)
    while left > start and right > start and same(old[left - 1], new[right - 1]):
        left -= 1
        right -= 1
    paired = min(left, right)
    for index in range(start, paired):
        _compare(old[index], new[index], f"{path}/{index}", operations)
    operations += [{"op": "remove", "path": f"{path}/{index}"} for index in range(left - 1, paired - 1, -1)]
    operations += [{"op": "add", "path": f"{path}/{index}", "value": new[index]} for index in range(paired, right)]


def _add(document: JSON, path: str, value: JSON, options: Options) -> JSON:
    if path == "":
        return value
    return _put(document, path, value, "add", options, creates_parents=options.creates_parents)


def _put(document: JSON, path: str, value: JSON, kind: str, options: Options, *, creates_parents: bool = False) -> JSON:
    """The document with a value added at a path."""
    keys = parts(path)
    opened = _open(document, keys, options, creates_parents=creates_parents) if keys else None
    if opened is None:
        where = f'path: "{path}"' if kind == "add" else f"destination path: {path}"
        raise PatchFailed(f"{kind} operation does not apply: doc is missing {where}: missing value")
    root, holder = opened
    try:
        _insert(holder, keys[-1], value, options)
    except PatchFailed as reason:
        what = "error while adding value during copy" if kind == "copy" else f"error in {kind} for path: '{path}'"
        raise PatchFailed(f"{what}: {reason}") from None
    return root


def _remove(document: JSON, path: str, options: Options) -> JSON:
    keys = parts(path)
    opened = _open(document, keys, options) if keys else None
    if opened is None:
        if options.missing_is_removed:
            return document
        raise PatchFailed(f'remove operation does not apply: doc is missing path: "{path}": missing value')
    root, holder = opened
    try:
        removed = _delete(holder, keys[-1], options)
    except PatchFailed as reason:
        raise PatchFailed(f"error in remove for path: '{path}': {reason}") from None
    return root if removed else document


def _replace(document: JSON, path: str, value: JSON, options: Options) -> JSON:
    if path == "":
        if not isinstance(value, dict | list):
            raise PatchFailed("replace operation value must be object or array")
        return value
    keys = parts(path)
    opened = _open(document, keys, options) if keys else None
    if opened is None:
        raise PatchFailed(f"replace operation does not apply: doc is missing path: {path}: missing value")
    root, holder = opened
    try:
        _get(holder, keys[-1], options)
    except PatchFailed:
        raise PatchFailed(f"replace operation does not apply: doc is missing key: {path}: missing value") from None
    if isinstance(holder, dict):
        holder[keys[-1]] = value
    else:
        holder[int(keys[-1])] = value
    return root


def _move(document: JSON, source: str, path: str, options: Options) -> JSON:
    if source == "":
        raise PatchFailed("unable to move entire document to another path: invalid state detected")
    value = _source(document, source, "move", options)
    opened = _open(document, parts(source), options)
    if opened is None:  # cannot be: the source was found
        return document
    root, holder = opened
    _delete(holder, parts(source)[-1], options)
    return _put(root, path, value, "move", options)


def _source(document: JSON, source: str, kind: str, options: Options) -> JSON:
    if source == "":
        return document
    keys = parts(source)
    holder = _holder(document, keys, options) if keys else None
    if holder is None:
        where = f'"{source}"' if kind == "copy" else source
        raise PatchFailed(f"{kind} operation does not apply: doc is missing from path: {where}: missing value")
    try:
        return _get(holder, keys[-1], options)
    except PatchFailed as reason:
        where = f"from: '{source}'" if kind == "copy" else f"path: '{keys[-1]}'"
        raise PatchFailed(f"error in {kind} for {where}: {reason}") from None


def _test(document: JSON, path: str, expected: JSON, options: Options) -> None:
    found = document
    if path != "":
        keys = parts(path)
        holder = _holder(document, keys, options) if keys else None
        if holder is None:
            raise PatchFailed(f"test operation does not apply: is missing path: {path}: missing value")
        if isinstance(holder, dict):
            found = holder.get(keys[-1])
        else:
            try:
                found = _get(holder, keys[-1], options)
            except PatchFailed as reason:
                raise PatchFailed(f"error in test for path: '{path}': {reason}") from None
    if not same(found, expected):
        raise PatchFailed(f"testing value {path} failed: test failed")


def _holder(document: JSON, keys: Sequence[str], options: Options) -> JSON:
    """The map or list that the last key of a path is for; None if it is not there."""
    holder = document
    for key in keys[:-1]:
        try:
            holder = _get(holder, key, options)
        except PatchFailed:
            return None
        if not isinstance(holder, dict | list):
            return None
    return holder


def _open(
    document: JSON, keys: Sequence[str], options: Options, *, creates_parents: bool = False
) -> tuple[JSON, Any] | None:
    """A copy of the document that may be changed at a path: its root, and what the last key is for.

    None if a part of the path is not there.
    """
    root = holder = document.copy()
    for position, key in enumerate(keys[:-1]):
        try:
            child = _get(holder, key, options)
        except PatchFailed:
            child = None
        if isinstance(child, dict | list):
            child = child.copy()
            if isinstance(holder, dict):
                holder[key] = child
            else:
                holder[int(key)] = child
        elif child is None and creates_parents:
            child = _created(keys[position + 1])
            if isinstance(holder, list) and _INTEGER.fullmatch(key):
                holder += _padding(int(key) - len(holder))
            _insert(holder, key, child, options)
        else:
            return None
        holder = child
    return root, holder


def _created(next_key: str) -> JSON:
    """What to put where something is missing on the way to a key: a list for an index, a map otherwise."""
    if next_key == "-":
        return []
    if _INTEGER.fullmatch(next_key) is None:
        return {}
    index = int(next_key)
    if index < -1:
        raise PatchFailed(f"Unable to ensure path for negative index other than -1: {index}: invalid index referenced")
    return _padding(index)


def _padding(count: int) -> list[None]:
    if count > _MOST_PADDING:
        raise PatchFailed(f"Unable to create array of size {count}, limit is {_MOST_PADDING}")
    return [None] * count


def _get(holder: JSON, key: str, options: Options) -> JSON:
    if isinstance(holder, dict):
        if key not in holder:
            raise PatchFailed(f"unable to get nonexistent key: {key}: missing value")
        return holder[key]
    index = _index(key)
    _in_range(index, -len(holder), len(holder), options)
    return holder[index]


def _insert(holder: JSON, key: str, value: JSON, options: Options) -> None:
    if isinstance(holder, dict):
        holder[key] = value
        return
    if key == "-":
        holder.append(value)
        return
    try:
        index = _index(key)
    except PatchFailed as reason:
        raise PatchFailed(f"value was not a proper array index: '{key}': {reason}") from None
    _in_range(index, -len(holder) - 1, len(holder) + 1, options)
    holder.insert(index if index >= 0 else index + len(holder) + 1, value)


def _delete(holder: JSON, key: str, options: Options) -> bool:
    """Remove what is at a key; whether anything was there."""
    if isinstance(holder, dict):
        if key in holder:
            del holder[key]
            return True
        if options.missing_is_removed:
            return False
        raise PatchFailed(f"unable to remove nonexistent key: {key}: missing value")
    index = _index(key)
    try:
        _in_range(index, -len(holder), len(holder), options)
    except PatchFailed:
        if options.missing_is_removed and (index >= 0 or options.negative_indices):
            return False
        raise
    del holder[index]
    return True


def _index(key: str) -> int:
    if _INTEGER.fullmatch(key) is None:
        raise PatchFailed(f'strconv.Atoi: parsing "{key}": invalid syntax')
    return int(key)


def _in_range(index: int, low: int, high: int, options: Options) -> None:
    if not (low if options.negative_indices else 0) <= index < high:
        raise PatchFailed(f"Unable to access invalid index: {index}: invalid index referenced")


def _nodes(value: JSON, most: int) -> Iterator[None]:
    """One item for each value within a value, until there are too many."""
    waiting = [value]
    while waiting and most > 0:
        most -= 1
        yield None
        found = waiting.pop()
        if isinstance(found, dict):
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
