"""Kyverno's flags of telemetry among the extra arguments of its chart, as the values that they stand above.

The chart renders `extraArgs` behind its own arguments, and of a flag that is given twice Kyverno takes the last. What
the resource has a field for must come of them, then: a flag of `kymograph run` would stand below it.
"""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.cli import flagvalues
from kymograph.cli.telemetry import kyvernometrics

TLS_SECRET = "metricsTLSSecretName"  # noqa: S105 - the name of a flag
"""Has no value that it stands above: it stands among those of `metering` under its own name."""

_PLACES: Mapping[str, tuple[str, ...]] = {
    "enableTracing": ("tracing", "enabled"),
    "tracingAddress": ("tracing", "address"),
    "tracingPort": ("tracing", "port"),
    "tracingCreds": ("tracing", "creds"),
    "disableMetrics": ("metering", "disabled"),
    "otelConfig": ("metering", "config"),
    "otelCollector": ("metering", "collector"),
    "metricsPort": ("metering", "port"),
    "transportCreds": ("metering", "creds"),
    TLS_SECRET: ("metering", TLS_SECRET),
    "loggingFormat": ("featuresOverride", "logging", "format"),
    "v": ("featuresOverride", "logging", "verbosity"),
}

_SWITCHES = frozenset({"enableTracing", "disableMetrics"})

BESIDE = frozenset({"metricsHost", "exemplarFilter"})
"""Those that no field says, and `kymograph run` takes likewise."""


def holders(controller: str, values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Where a controller has its extra arguments and variables."""
    yield values
    yield kyvernometrics.mapping(values.get("container"), f"{controller}.container")


def given(controller: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The extra arguments of a controller: flags, without dashes, and their values.

    Raises:
        Unreadable: They are no map.
    """
    found: dict[str, Any] = {}
    for holder in holders(controller, values):
        found.update(kyvernometrics.mapping(holder.get("extraArgs"), f"{controller}.extraArgs"))
    return found


def applied(controller: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a controller, as its extra arguments make them.

    Raises:
        Unreadable: A part of them is not what Kyverno reads.
    """
    for flag, value in given(controller, values).items():
        if flag in _PLACES:
            told = _switch(controller, flag, value) if flag in _SWITCHES else value
            values = _replaced(values, _PLACES[flag], told, controller)
    return values


def _replaced(values: Mapping[str, Any], place: tuple[str, ...], value: Any, within: str) -> dict[str, Any]:
    first, *rest = place
    if not rest:
        return {**values, first: value}
    where = f"{within}.{first}"
    inner = kyvernometrics.mapping(values.get(first), where)
    return {**values, first: _replaced(inner, tuple(rest), value, where)}


def _switch(controller: str, flag: str, value: Any) -> bool:
    try:
        return flagvalues.boolean(str(value))
    except argparse.ArgumentTypeError as error:
        raise kyvernometrics.Unreadable(f"{controller}.extraArgs.{flag}: {error}") from error
