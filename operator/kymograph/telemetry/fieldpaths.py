"""Paths of fields in objects and in log records: what `logs.redact` of a TracingConfiguration names.

A path says where a value stands, never what it looks like, and one that says something else than its author thinks
would leave a secret where it is. So the grammar is small, and whatever is not in it is refused with the place:

    path   = step *( "." step )
    step   = name *index
    name   = 1*( letter / digit / "_" / "-" )
    index  = "[*]"              every item of a list, or every value of a map
           / "[" 1*digit "]"    one item of a list
           / "['" key "']"      one value of a map, whose key may have any character but '

It is that part of JSONPath (RFC 9535) which selects by name, index and wildcard, without the leading `$.`.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.model import tracinglogs as model
from kymograph.telemetry import errors

MOST_STEPS = 16
"""Steps of one path."""

_FIRST = re.compile(r"[\w-]+", re.ASCII)
_NEXT = re.compile(r"\.(?P<name>[\w-]+)|\[(?:(?P<all>\*)|(?P<at>\d+)|'(?P<key>[^']+)')\]", re.ASCII)

_ALL: None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """A path, read.

    Attributes:
        text: As it was written.
        steps: Keys of maps, indices of lists, and None for every value of either.
    """

    text: str
    steps: tuple[str | int | None, ...]

    def values(self, document: Any) -> Iterator[str]:
        """The texts that stand there and below: strings, and numbers as they are written; no truth values, no nulls."""
        found = [document]
        for step in self.steps:
            found = [inner for each in found for inner in _selected(each, step)]
        for each in found:
            yield from _texts(each)

    def replaced(self, document: Any, by: str) -> Any:
        """A copy of a document with another value there; the document itself where there is nothing."""
        return _replaced(document, self.steps, by)


def parse(text: Any, field: str) -> Path:
    """Read a path.

    Args:
        text: The path.
        field: Where it was written.

    Raises:
        SettingsInvalid: It is none.
    """
    if not isinstance(text, str) or not text or len(text) > model.MOST_LENGTH:
        raise errors.SettingsInvalid(
            field, f"{text!r} is no path: must be a text of at most {model.MOST_LENGTH} characters"
        )
    first = _FIRST.match(text)
    if first is None:
        raise errors.SettingsInvalid(field, f"{text!r} is no path: must begin with the name of a field")
    steps: list[str | int | None] = [first[0]]
    at = first.end()
    while at < len(text):
        found = _NEXT.match(text, at)
        if found is None:
            expected = ".name, [*], [0] or ['key']"
            raise errors.SettingsInvalid(field, f"{text!r} is no path: expected {expected} at character {at + 1}")
        steps.append(int(found["at"]) if found["at"] else _ALL if found["all"] else found["name"] or found["key"])
        at = found.end()
    if len(steps) > MOST_STEPS:
        raise errors.SettingsInvalid(field, f"{text!r} has more than {MOST_STEPS} steps")
    return Path(text, tuple(steps))


def _selected(document: Any, step: str | int | None) -> Iterator[Any]:
    if isinstance(document, Mapping):
        if step is _ALL:
            yield from document.values()
        elif step in document:
            yield document[step]
    elif isinstance(document, list | tuple):
        if step is _ALL:
            yield from document
        elif isinstance(step, int) and step < len(document):
            yield document[step]


def _texts(value: Any) -> Iterator[str]:
    open_ = [value]
    while open_:
        value = open_.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(value)
        elif isinstance(value, Mapping):
            open_ += value.values()
        elif isinstance(value, list | tuple):
            open_ += value


def _replaced(document: Any, steps: tuple[str | int | None, ...], by: str) -> Any:
    if not steps:
        return by
    step, rest = steps[0], steps[1:]
    if isinstance(document, Mapping):
        if step is not _ALL and step not in document:
            return document
        return {key: _replaced(each, rest, by) if step in (_ALL, key) else each for key, each in document.items()}
    if isinstance(document, list | tuple):
        return [_replaced(each, rest, by) if step in (_ALL, at) else each for at, each in enumerate(document)]
    return document
