"""`kymograph uninstall`: take the operator's own objects out of a cluster, with or without a living operator.

Webhook configurations go first, so that a cluster whose operator is dead takes writes again at once. Nothing is begun
that the caller may not end: missing rights are told, and nothing is changed. What is gone already is no mistake, so it
can be run again. Exit status: 0 if nothing is left, 1 if something is, 2 if the command line itself is wrong.
"""

import argparse
import asyncio
import datetime as dt
import os
import pathlib
import sys
import time
from collections.abc import Sequence

from opentelemetry.trace import NoOpTracer

from kymograph.cli.uninstalling import plan
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, errors
from kymograph.runtime import connecting
from kymograph.runtime import errors as runtime_errors
from kymograph.telemetry import current

PATIENCE = 90.0
"""Seconds that an operator whose Deployment was deleted has to stop: longer than Pods may take for that."""

_EVERY = 0.5
_ROLES = "What was applied with the operator, its namespace and roles among it, is left: kubectl delete -k manifests"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--kubeconfig", type=pathlib.Path, metavar="FILE", help="the cluster (default: as for `kymograph run`)"
    )
    parser.add_argument(
        "--namespace", default="kymograph", metavar="NAME", help="the operator's namespace (default: %(default)s)"
    )
    parser.add_argument(
        "--crds",
        action="store_true",
        help="delete the CustomResourceDefinitions too, and with them ALL policies, exceptions and reports",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")


def run(options: argparse.Namespace) -> int:
    """Take it out; returns the exit status."""
    try:
        return asyncio.run(_run(options, connecting.connect(options.kubeconfig, os.environ)))
    except (errors.KubernetesError, runtime_errors.RuntimeFailure) as error:
        sys.stderr.write(f"kymograph: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


async def _run(options: argparse.Namespace, to: connection.Connection) -> int:
    client = clients.KubernetesClient(to, current.ClientSpans(NoOpTracer(), time.monotonic_ns))
    try:
        return await _Removal(client, options).run()
    finally:
        await client.close()


class _Removal:
    def __init__(self, client: clients.KubernetesClient, options: argparse.Namespace) -> None:
        self._client = client
        self._options = options
        self._found = plan.Installation(client, options.namespace)

    async def run(self) -> int:
        """Take everything out; returns the exit status."""
        operators, others = await self._found.operators(), await self._found.others()
        configurations = await self._found.webhooks()
        definitions = await self._found.definitions() if self._options.crds else []
        items = [*operators, *configurations, *others, *definitions]
        if not items:
            sys.stdout.write(f"Nothing of the operator is in the cluster or its namespace {self._options.namespace}.\n")
            return 0
        if self._options.dry_run:
            sys.stdout.writelines(f"would delete {item}\n" for item in items)
            return 0
        lacking = await self._found.lacking(items)
        if lacking:
            sys.stderr.write("kymograph: nothing was changed, because you may not\n")
            sys.stderr.writelines(f"  {each}\n" for each in lacking)
            return 1
        leaders = await self._leaders()
        if leaders and not operators:
            return _alive(leaders, "nothing was changed")
        await self._delete(operators)
        await self._delete(configurations)
        leaders = await self._outlived(leaders)
        if leaders:
            return _alive(leaders, "it writes the webhook configurations again")
        await self._delete(await self._found.webhooks())  # a leader may have put them back before it stopped
        await self._delete(others)
        await self._delete(definitions)
        sys.stdout.write(f"{_ROLES}\n")
        return 0

    async def _delete(self, items: Sequence[plan.Item]) -> None:
        for item in items:
            try:
                await self._client.delete(
                    item.resource, item.name, namespace=item.namespace, uid=item.uid, propagation="Background"
                )
                sys.stdout.write(f"deleted {item}\n")
            except (errors.NotFound, errors.Conflict):
                continue  # it went meanwhile, or is another one of that name
            sys.stdout.flush()

    async def _leaders(self) -> list[str]:
        return await self._found.leaders(self._client.server_time or dt.datetime.now(dt.UTC))

    async def _outlived(self, leaders: Sequence[str]) -> list[str]:
        """Who still leads when an operator had time to stop."""
        deadline = time.monotonic() + PATIENCE
        left = list(leaders)
        while left and time.monotonic() < deadline:
            await asyncio.sleep(_EVERY)
            left = await self._leaders()
        return left


def _alive(leaders: Sequence[str], consequence: str) -> int:
    sys.stderr.write(f"kymograph: an operator is running ({', '.join(leaders)}), {consequence}\n")
    sys.stderr.write("  stop it and run this again; a leader that was killed is forgotten after 15 seconds\n")
    return 1
