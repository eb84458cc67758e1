"""What may stand in a document at all: JSON of a sane size and depth.

An API server lets nothing else through, but documents also come from files: YAML knows dates, numbers beyond 64 bits,
keys that are no text, and a few lines of aliases can stand for billions of values. Whoever reads a document after this
may walk it as a tree, recursively, and write it as JSON.
"""

from typing import Any

from kymograph.engine import fields

DEEPEST = 100
"""Levels of a document; far more than any policy has, and few enough for a recursive reader."""

LARGEST = 200_000
"""Values in a document: an API server takes none of more than some megabytes."""

_INT64 = 1 << 63
_UINT64 = 1 << 64


def check(document: Any, problems: fields.Problems) -> None:
    """Note the first value of a document that has no place in JSON.

    Args:
        document: The document as read.
        problems: Where to note what is wrong.
    """
    waiting: list[tuple[Any, str, int]] = [(document, "", 0)]
    seen = 0
    while waiting:
        value, path, depth = waiting.pop()
        seen += 1
        reason = _wrong(value)
        if not reason and depth > DEEPEST:
            reason = f"is nested deeper than {DEEPEST} levels"
        if not reason and seen > LARGEST:
            reason = f"the document has more than {LARGEST} values"
        if reason:
            problems.add(path or "document", reason)
            return
        if isinstance(value, dict):
            waiting += [(item, f"{path}.{key}" if path else key, depth + 1) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]


def _wrong(value: Any) -> str:
    match value:
        case dict():
            odd = next((key for key in value if not isinstance(key, str)), None)
            return "" if odd is None else f"has the key {odd!r}, which is no text"
        case bool() | None | str() | list():
            return ""
        case int():
            return "" if -_INT64 <= value < _UINT64 else "is a number beyond 64 bits"
        case float():
            return "" if value - value == 0 else "is no finite number"
    return f"is a {type(value).__name__}, which JSON does not know"
