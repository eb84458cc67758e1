"""What an object says about its own end: the label `cleanup.kyverno.io/ttl` and the annotation beside it.

Read strictly. Kyverno falls back to a search for `<number><unit>` anywhere in the text, so that it takes `1.5d` for
five days and `1month2d` for two; a deletion cannot be taken back, so such texts are refused here.
"""

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from kymograph.apimachinery import duration
from kymograph.controllers.cleanup import spared

LABEL = "cleanup.kyverno.io/ttl"
PROPAGATION_ANNOTATION = "cleanup.kyverno.io/propagation-policy"
PROPAGATION_POLICIES = frozenset({"Foreground", "Background", "Orphan"})

_DAY = 24 * duration.HOUR
_SPELLINGS = {
    duration.NANOSECOND: "ns nano nanos nanosecond nanoseconds",
    duration.MICROSECOND: "us micro micros microsecond microseconds",
    duration.MILLISECOND: "ms milli millis millisecond milliseconds",
    duration.SECOND: "s sec secs second seconds",
    duration.MINUTE: "m min mins minute minutes",
    duration.HOUR: "h hr hour hours",
    _DAY: "d day days",
    7 * _DAY: "w wk week weeks",
}
_UNITS = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_PARTS = re.compile(r"(?:\d+[A-Za-z]+(?:[-_.](?=\d))?)+", re.ASCII)
_PART = re.compile(r"(\d+)([A-Za-z]+)", re.ASCII)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(\d\d)(\d\d)(\.\d+)?Z)?", re.ASCII)
_LONGEST = (1 << 63) - 1  # what a Go duration holds


class Wish(NamedTuple):
    """Which object wants to go, when and how; a change of anything else about the object leaves it as it is."""

    uid: str
    ttl: str
    propagation: str


@dataclasses.dataclass(frozen=True, slots=True)
class Labelled:
    """All that is kept of an object that carries the label.

    Attributes:
        wish: What it asks for.
        version: Its resourceVersion.
        created: Its creation, in seconds since the epoch; None where the API server does not say.
        marked: Its labels say that it belongs to the operator.
    """

    wish: Wish
    version: str
    created: float | None
    marked: bool = False

    @property
    def due(self) -> float:
        """When it is to be deleted, in seconds since the epoch.

        Raises:
            ValueError: The label or the annotation cannot be followed; the text says why.
        """
        if self.wish.propagation and self.wish.propagation not in PROPAGATION_POLICIES:
            known = ", ".join(sorted(PROPAGATION_POLICIES))
            raise ValueError(f"{self.wish.propagation[:100]!r} is no propagation policy: write one of {known}")
        nanoseconds = find_duration(self.wish.ttl)
        if nanoseconds is None:
            return parse_time(self.wish.ttl)
        if self.created is None:
            raise ValueError("the object does not say when it was created")
        return self.created + nanoseconds / duration.SECOND


def read(document: Mapping[str, Any]) -> Labelled | None:
    """What there is to know of an object, from its metadata; None for one that asks nothing or is going already."""
    metadata = document["metadata"]
    labels = metadata.get("labels") or {}
    text = labels.get(LABEL)
    if text is None or metadata.get("deletionTimestamp"):
        return None
    propagation = (metadata.get("annotations") or {}).get(PROPAGATION_ANNOTATION, "")
    created = _timestamp(metadata.get("creationTimestamp"))
    wish = Wish(metadata["uid"], text, propagation)
    return Labelled(wish, metadata["resourceVersion"], created, spared.is_marked(labels))


def advice(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What is to be said to whoever writes an object with a label or an annotation that cannot be followed.

    Args:
        document: The object as it will be stored, perhaps without uid and version.
    """
    metadata = document.get("metadata") or {}
    text = (metadata.get("labels") or {}).get(LABEL)
    if text is None:
        return ()
    propagation = (metadata.get("annotations") or {}).get(PROPAGATION_ANNOTATION, "")
    told = []
    for wish, problem in (
        (Wish("", text, ""), f"{LABEL} label value cannot be parsed as any recognizable format"),
        (Wish("", "0s", propagation), f"{PROPAGATION_ANNOTATION} annotation cannot be followed"),
    ):
        try:
            _ = Labelled(wish, "", created=0.0).due
        except ValueError as error:
            told.append(f"{problem} ({error})")
    return tuple(told)


def find_duration(text: str) -> int | None:
    """Read a duration; None for any other text.

    A Go duration (`90s`, `1h30m`, `1.5h`), or whole numbers with the units of Kyverno's fallback (kube-openapi's
    `strfmt`: days and weeks, long names, any case), together or separated by `-`, `_` or `.`: `2d`, `1w-2days`.

    Returns:
        Nanoseconds.
    """
    found = duration.find(text)
    if found is not None or _PARTS.fullmatch(text) is None:
        return found
    total = 0
    for number, name in _PART.findall(text):
        unit = _UNITS.get(name.lower())
        if unit is None or len(number) > len(str(_LONGEST)):
            return None
        total += int(number) * unit
    return total if total <= _LONGEST else None


def parse_time(text: str) -> float:
    """Read a time such as `2030-01-31T235959Z` or a date such as `2030-01-31`, which begins at midnight UTC.

    Returns:
        Seconds since the epoch.

    Raises:
        ValueError: The text is neither.
    """
    matched = _TIME.fullmatch(text)
    if matched is not None:
        *fields, fraction = matched.groups(default="0")
        try:
            moment = dt.datetime(*map(int, fields), tzinfo=dt.UTC)  # type: ignore[arg-type,misc]  # six of them
        except ValueError:
            pass  # such as the 30th of February; the text below says what to write
        else:
            return moment.timestamp() + float(fraction)
    raise ValueError(
        f"{text[:100]!r} is neither a duration (30m, 12h, 2d) nor a time (2030-01-31T235959Z) nor a date (2030-01-31)"
    )


def _timestamp(text: str | None) -> float | None:
    """Read a metav1.Time; aggregated API servers need not set one."""
    try:
        return dt.datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None
