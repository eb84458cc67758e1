"""`kymograph migrate telemetry`: what Kyverno is told about traces, metrics and logs, as a TracingConfiguration.

The resource goes to standard output, and what it does not carry over to standard error. Exit status: 0 if it carries
all of it; 1 if something has no counterpart; 2 if the files, or the command line, cannot be used.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from kymograph.cli import sources
from kymograph.cli.offline import errors
from kymograph.cli.telemetry import kyvernometrics, kyvernovalues
from kymograph.telemetry import errors as telemetry_errors


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    commands = parser.add_subparsers(dest="migrate_command", required=True, metavar="telemetry", help="what to migrate")
    summary = "make a TracingConfiguration of Kyverno's Helm values and its ConfigMap of metrics"
    telemetry = commands.add_parser("telemetry", help=summary, description=summary.capitalize() + ".")
    telemetry.add_argument("--values", metavar="FILE", help="Helm values, as `helm get values --all` has them")
    telemetry.add_argument(
        "--configmap", metavar="FILE", help="the ConfigMap kyverno-metrics, in place of the values' metricsConfig"
    )


def run(options: argparse.Namespace) -> int:
    """Translate; returns the exit status."""
    left_out: list[str] = []
    to_do: list[str] = []
    try:
        document = _read(options, left_out, to_do)
    except (errors.OfflineError, kyvernometrics.Unreadable, telemetry_errors.TelemetryError) as error:
        sys.stderr.write(f"kymograph: {error}\n")
        return 2
    sys.stdout.write(yaml.safe_dump(document, sort_keys=False))
    sys.stderr.write("".join(f"to do: {each}\n" for each in to_do))
    sys.stderr.write("".join(f"left out: {each}\n" for each in left_out))
    return 1 if left_out else 0


def _read(options: argparse.Namespace, left_out: list[str], to_do: list[str]) -> dict[str, Any]:
    if options.values is None and options.configmap is None:
        raise kyvernometrics.Unreadable("give --values, --configmap or both")
    metrics = None
    if options.configmap is not None:
        with _about(options.configmap) as config_map:
            metrics = kyvernometrics.of_config_map(config_map)
    if options.values is None:
        return kyvernovalues.translate({}, metrics, _noting(left_out), _noting(to_do))
    with _about(options.values) as values:
        return kyvernovalues.translate(values, metrics, _noting(left_out), _noting(to_do))


@contextlib.contextmanager
def _about(argument: str) -> Iterator[dict[str, Any]]:
    """The one document of a file; what is said of its fields meanwhile is said with their places."""
    documents = list(sources.documents(argument))
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise errors.InputInvalid((errors.InputProblem(argument, 0, "", "must hold one document, a map"),))
    (document,) = documents
    try:
        yield document.value
    except kyvernometrics.Unreadable as error:
        field, colon, reason = str(error).partition(": ")
        problem = document.problem(field, reason) if colon else document.problem("", field)
        raise errors.InputInvalid((problem,)) from error


def _noting(notes: list[str]) -> kyvernometrics.Note:
    def note(what: str, why: str) -> None:
        line = f"{what}: {why}"
        if line not in notes:
            notes.append(line)

    return note
