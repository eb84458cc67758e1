"""What a log record may tell: without tokens, what its subject hides, and fields that the TracingConfiguration names.

Whoever logs knows none of that. So it is said here once, for every form that records are written in.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kymograph.telemetry import credentials, fieldpaths, subject

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLUMBING = frozenset({"settings", "k8s_skip"})
"""What Kopf puts into its records for its own handlers."""

_OMITTED = _STANDARD | _PLUMBING

_SHORT = 4
"""Characters below which a field's value is taken out of texts only where it stands as a word."""

_MOST_DEPTH = 8
"""Levels of a field in which texts are looked at; what is deeper is told as one text."""


def told(record: logging.LogRecord, hidden: Sequence[fieldpaths.Path] = ()) -> tuple[dict[str, Any], subject.Hide]:
    """What whoever logged added to a record beyond its message, as it may be told.

    Args:
        record: The record, in the task that made it.
        hidden: Fields whose values are not told, neither in the field nor in the record's texts.

    Returns:
        The fields by name, and what makes the record's texts such as may be told.
    """
    fields: dict[str, Any] = {key: value for key, value in vars(record).items() if key not in _OMITTED}
    clean = _cleaner([value for path in hidden for value in path.values(fields)] if hidden else ())
    for path in hidden:
        fields = path.replaced(fields, credentials.REDACTED)
    return {key: _clean(value, clean, 0) for key, value in fields.items()}, clean


def _cleaner(values: Sequence[str]) -> subject.Hide:
    hide = subject.current().hide
    if hide is None and not values:
        return credentials.redacted
    found = None
    if values:
        forms = sorted({value for value in values if value}, key=len, reverse=True)
        words = (re.escape(each) if len(each) >= _SHORT else rf"(?<!\w){re.escape(each)}(?!\w)" for each in forms)
        found = re.compile("|".join(words)) if forms else None

    def clean(text: str) -> str:
        text = credentials.redacted(text)
        if hide is not None:
            text = hide(text)
        return text if found is None else found.sub(credentials.REDACTED, text)

    return clean


def _clean(value: Any, clean: subject.Hide, depth: int) -> Any:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _MOST_DEPTH and isinstance(value, Mapping):
        return {key: _clean(each, clean, depth + 1) for key, each in value.items()}
    if depth < _MOST_DEPTH and isinstance(value, list | tuple):
        return [_clean(each, clean, depth + 1) for each in value]
    return clean(str(value))
