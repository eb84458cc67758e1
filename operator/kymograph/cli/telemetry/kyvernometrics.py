"""Kyverno's `kyverno-metrics` ConfigMap, and `metricsConfig` of its Helm values, as `spec.metrics` fields.

Kyverno matches the names of metrics as its instruments have them while its own chart writes those of a scrape, so that
half of such a configuration has no effect there. Here what was meant is taken: either spelling. Labels that a metric
does not have, and buckets of what is no histogram, have no effect in Kyverno either, and are left out without a word.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, instruments, views

Note = Callable[[str, str], None]
"""Takes what was left out, and why."""


class Unreadable(ValueError):
    """What stands there is not what Kyverno reads; the text names the key."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What Kyverno is told about its metrics.

    Attributes:
        include: Namespaces that are counted; none for all.
        exclude: Namespaces that are not.
        buckets: Of every histogram; None for Kyverno's own.
        exposure: `enabled`, `disabledLabelDimensions` and `bucketBoundaries` by metric.
        refresh: `metricsRefreshInterval`; empty where it is not set.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    buckets: Sequence[float] | None = None
    exposure: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    refresh: str = ""


def of_values(config: Mapping[str, Any]) -> Wanted:
    """Read `metricsConfig` of Helm values.

    Raises:
        Unreadable: A key has a value that Kyverno could not use.
    """
    return _wanted(config, "metricsConfig.")


def of_config_map(document: Mapping[str, Any]) -> Wanted:
    """Read the ConfigMap.

    Raises:
        Unreadable: A key holds what Kyverno could not use.
    """
    data = document.get("data")
    if document.get("kind") != "ConfigMap" or not isinstance(data, dict | None):
        raise Unreadable("it is no ConfigMap")
    read: dict[str, Any] = dict(data or {})
    for key in ("namespaces", "metricsExposure"):
        if key in read:
            try:
                read[key] = orjson.loads(str(read[key]))
            except orjson.JSONDecodeError as error:
                raise Unreadable(f"data.{key}: is no JSON: {error}") from error
    if "bucketBoundaries" in read:
        read["bucketBoundaries"] = [each for each in str(read["bucketBoundaries"]).split(",") if each.strip()]
    return _wanted(read, "data.")


def fields(wanted: Wanted, note: Note) -> dict[str, Any]:
    """The fields of `spec.metrics`: `namespaces` and `exposure`.

    Args:
        wanted: What Kyverno is told.
        note: Takes what has no counterpart.
    """
    made: dict[str, Any] = {}
    namespaces = {"include": list(wanted.include), "exclude": list(wanted.exclude)}
    if any(namespaces.values()):
        made["namespaces"] = {key: value for key, value in namespaces.items() if value}
    subjects = _subjects()
    exposure: dict[str, dict[str, Any]] = {}
    for spelled, shown in wanted.exposure.items():
        subject = next((each for each in subjects if spelled in each.spellings), None)
        if subject is None:
            note(f"metricsExposure.{spelled}", "there is no such metric here")
        else:
            exposure.setdefault(subject.about.name, {}).update(_exposure(spelled, shown, subject))
    common = [float(bound) for bound in wanted.buckets or ()]
    if common and tuple(common) != cells.LATENCY_BUCKETS:
        for subject in subjects:
            if subject.has_buckets and subject.about.kyverno:
                exposure.setdefault(subject.about.name, {}).setdefault("buckets", list(common))
    exposure = {name: shown for name, shown in exposure.items() if shown}
    if exposure:
        made["exposure"] = exposure
    if wanted.refresh and wanted.refresh not in {"0", "0s"}:
        note("metricsRefreshInterval", "counters are never reset; `cardinalityLimit` bounds what they hold")
    return made


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """A map of a values file; empty where it is not set.

    Raises:
        Unreadable: It is something else.
    """
    if not isinstance(value, dict | None):
        raise Unreadable(f"{where}: is no map")
    return value or {}


def _wanted(config: Mapping[str, Any], where: str) -> Wanted:
    namespaces = mapping(config.get("namespaces"), f"{where}namespaces")
    exposure = mapping(config.get("metricsExposure"), f"{where}metricsExposure")
    for name, shown in exposure.items():
        mapping(shown, f"{where}metricsExposure.{name}")
    buckets = config.get("bucketBoundaries")
    return Wanted(
        include=_names(namespaces.get("include"), f"{where}namespaces.include"),
        exclude=_names(namespaces.get("exclude"), f"{where}namespaces.exclude"),
        buckets=None if buckets is None else _numbers(buckets, f"{where}bucketBoundaries"),
        exposure={name: shown or {} for name, shown in exposure.items()},
        refresh=str(config.get("metricsRefreshInterval") or ""),
    )


def _exposure(spelled: str, shown: Mapping[str, Any], subject: views.Subject) -> dict[str, Any]:
    where = f"metricsExposure.{spelled}"
    made: dict[str, Any] = {}
    if shown.get("enabled") is False:
        made["enabled"] = False
    dropped = _names(shown.get("disabledLabelDimensions"), f"{where}.disabledLabelDimensions")
    if known := [label for label in dropped if label in subject.about.labels]:
        made["dropLabels"] = known
    if shown.get("bucketBoundaries") and subject.has_buckets:
        made["buckets"] = _numbers(shown["bucketBoundaries"], f"{where}.bucketBoundaries")
    return made


def _subjects() -> list[views.Subject]:
    """All metrics that can be configured."""
    declared = instruments.declare(cells.Cells(InstrumentationScope("kymograph"), lambda: 0))
    names = (field.name for field in dataclasses.fields(declared) if field.name != "registry")
    return [getattr(declared, name).subject for name in names]


def _names(value: Any, where: str) -> list[str]:
    if not isinstance(value, list | None) or not all(isinstance(each, str) for each in value or ()):
        raise Unreadable(f"{where}: is no list of names")
    return list(value or ())


def _numbers(value: Any, where: str) -> list[float]:
    try:
        return [float(each) for each in value]
    except (TypeError, ValueError) as error:
        raise Unreadable(f"{where}: is no list of numbers") from error
