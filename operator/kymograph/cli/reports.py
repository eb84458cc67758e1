"""`kymograph reports status`: how far scans of existing objects are, and what the reports of a cluster say.

Exit status: 0, 1 if the cluster cannot be read, 2 if the command line itself is wrong.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence

from opentelemetry.trace import NoOpTracer

from kymograph.cli import endings
from kymograph.cli.reporting import state
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, errors
from kymograph.model import policyreport as model
from kymograph.telemetry import current


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    commands = parser.add_subparsers(dest="reports_command", required=True, metavar="COMMAND", help="what to do")
    status = commands.add_parser("status", help="say how far scans are and what the reports say")
    status.add_argument("--kubeconfig", default="", help="the cluster (default: $KUBECONFIG, else ~/.kube/config)")
    status.add_argument("--context", default="", help="the context of the kubeconfig (default: the current one)")
    status.add_argument(
        "--operator-namespace",
        default="kymograph",
        metavar="NAMESPACE",
        help="where the operator is (default: kymograph)",
    )
    status.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="tables, or JSON (default: text)"
    )


@endings.may_be_cut_short
def run(options: argparse.Namespace) -> int:
    """Show it; returns the exit status."""
    try:
        path = pathlib.Path(options.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
        connected = connection.from_kubeconfig(path, options.context)
        found = asyncio.run(_read(connected, options.operator_namespace))
        if options.output == "json":
            sys.stdout.write(f"{json.dumps(dataclasses.asdict(found), indent=2)}\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in _lines(found))
    except errors.KubernetesError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


async def _read(connected: connection.Connection, namespace: str) -> state.State:
    client = clients.KubernetesClient(connected, current.ClientSpans(NoOpTracer(), time.monotonic_ns))
    try:
        return await state.read(client, namespace)
    finally:
        await client.close()


def _lines(found: state.State) -> Iterator[str]:
    if not found.started:
        yield "No scan has been told of: the operator has not begun one, or runs in another namespace."
    else:
        ended = f"ended {found.finished}" if found.finished else "goes on"
        yield f"The latest scan began {found.started} and {ended}."
        yield f"Everything is scanned next at {found.following or '-'}."
        yield ""
        header = ("KIND", "RESOURCE", "POLICIES", "STATE", "SCANNED", "OBJECTS", "NO REPORT")
        rows = [
            (
                each.kind,
                each.resource,
                str(each.policies),
                each.state,
                str(each.scanned),
                str(each.objects),
                "?" if each.without is None else str(each.without),
            )
            for each in found.kinds
        ]
        yield from _table(header, rows)
    yield ""
    yield f"{found.reports} reports:"
    counts = [
        (policy or "-", *(str(results.get(each, 0)) for each in model.RESULTS))
        for policy, results in found.results.items()
    ]
    total = [sum(results.get(each, 0) for results in found.results.values()) for each in model.RESULTS]
    yield from _table(
        ("POLICY", *(each.upper() for each in model.RESULTS)), [*counts, ("all", *(str(each) for each in total))]
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
