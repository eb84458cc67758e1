"""OpenTelemetry's environment variables on Kyverno's containers: what they mean there, and what has to be done here.

Kyverno's Go SDK reads most of them and its code overrides some. Those that mean nothing there are passed over: set on
our container, where they count, they would change what was asked for. One that the resource stands above is a field.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.cli.telemetry.kyvernometrics import Note
from kymograph.model import otlpexporter
from kymograph.telemetry import environment

_SAMPLER = frozenset({"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"})
_HEADERS = re.compile(r"OTEL_EXPORTER_OTLP_((TRACES|METRICS)_)?HEADERS")

_OVERRIDDEN = re.compile(
    r"OTEL_EXPORTER_OTLP_((TRACES|METRICS|LOGS)_)?(ENDPOINT|INSECURE|PROTOCOL|CERTIFICATE|CLIENT_CERTIFICATE|CLIENT_KEY)"
    r"|OTEL_EXPORTER_OTLP_LOGS_.*|OTEL_(TRACES|METRICS|LOGS)_EXPORTER|OTEL_SDK_DISABLED|OTEL_PROPAGATORS|OTEL_BLRP_.*"
    r"|OTEL_METRIC_EXPORT_INTERVAL|OTEL_METRICS_EXEMPLAR_FILTER"
)
"""What Kyverno says itself, or does not know."""

_FIXED = re.compile(
    r"OTEL_(SPAN|ATTRIBUTE|EVENT|LINK)_.*|OTEL_BSP_EXPORT_TIMEOUT|OTEL_METRIC_EXPORT_TIMEOUT|OTEL_GO_.*"
)
"""What its SDK follows and nobody does here."""


def named(holders: Iterator[Mapping[str, Any]]) -> dict[str, str | None]:
    """The variables of a controller, by name; None for a value that is somewhere else (`valueFrom`).

    Args:
        holders: The parts of Helm values that may have `extraEnvVars`.
    """
    found: dict[str, str | None] = {}
    for holder in holders:
        listed = holder.get("extraEnvVars")
        for variable in listed if isinstance(listed, list) else ():
            name = str(variable.get("name", "")) if isinstance(variable, dict) else ""
            if name.startswith("OTEL_"):
                value = variable.get("value")
                found[name] = None if value is None else str(value)
    return found


def sampling_rate(variables: Mapping[str, str | None]) -> int | None:
    """The rate per million that a controller's variables say; None where they say none that is known here.

    Raises:
        SettingsInvalid: There is no such sampler.
    """
    told = {name: value for name, value in variables.items() if value is not None}
    return None if _elsewhere(variables) else environment.sampling_rate_per_million(told)


def note(controller: str, variables: Mapping[str, str | None], left_out: Note, to_do: Note) -> None:
    """Say what becomes of each that is not in the resource."""
    for name in variables:
        about = f"{controller}: variable {name}"
        if name in _SAMPLER:
            if _elsewhere(variables):
                to_do(about, "write what it says into traces.samplingRatePerMillion, which stands above it")
        elif _HEADERS.fullmatch(name):
            label = f"{otlpexporter.SECRET_LABEL}=true"
            to_do(
                about,
                f"make a Secret of it, with the label {label}, for `headers`: it goes to no endpoint of a resource",
            )
        elif _FIXED.fullmatch(name):
            left_out(about, "nothing here is set by it")
        elif not _OVERRIDDEN.fullmatch(name):
            to_do(about, "set it on the operator's container, where it counts likewise")


def _elsewhere(variables: Mapping[str, str | None]) -> bool:
    return any(variables.get(name, "") is None for name in _SAMPLER)
