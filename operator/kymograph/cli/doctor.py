"""`kymograph doctor`: what is wrong with an installation, each finding with its fix.

It changes nothing: what it creates are dry runs. Exit status: 0 if no problem was found, 1 if one was, 2 if the command
line is wrong. What could not be looked at is said, and no problem.
"""

import argparse
import asyncio
import datetime as dt
import json
import os
import pathlib
import sys
from collections.abc import AsyncIterator

from kymograph.cli.diagnosing import cluster as clusters
from kymograph.cli.diagnosing import collectors, context, exporting, findings, installation, webhooks
from kymograph.cli.diagnosing.findings import Finding
from kymograph.clients.kubernetes import connection
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.runtime import connecting
from kymograph.runtime import errors as runtime_errors

_METRICS_PORT = 8000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--kubeconfig", type=pathlib.Path, metavar="FILE", help="the cluster (default: as for `kymograph run`)"
    )
    parser.add_argument(
        "--namespace", default="kymograph", metavar="NAME", help="the operator's namespace (default: %(default)s)"
    )
    parser.add_argument(
        "--service-account", default="kymograph", metavar="NAME", help="who the operator is (default: %(default)s)"
    )
    parser.add_argument(
        "--metrics-url",
        action="append",
        default=[],
        metavar="URL",
        help="where a replica outside of the cluster serves its metrics; once for each (default: through its Pods)",
    )
    parser.add_argument(
        "--audit-log", type=pathlib.Path, metavar="FILE", help="the API server's audit log, where it can be read"
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="how findings are printed (default: text)"
    )


def run(options: argparse.Namespace) -> int:
    """Look at everything; returns the exit status."""
    try:
        to = connecting.connect(options.kubeconfig, os.environ)
    except (kubernetes_errors.KubernetesError, runtime_errors.RuntimeFailure) as error:
        found = [findings.problem("api server", str(error), "name a cluster with --kubeconfig")]
    else:
        found = asyncio.run(_all(options, to))
    if options.output == "json":
        sys.stdout.write(json.dumps(findings.document(found), indent=2) + "\n")
    else:
        sys.stdout.write(findings.text(found))
    return 0 if findings.healthy(found) else 1


async def _all(options: argparse.Namespace, to: connection.Connection) -> list[Finding]:
    cluster = clusters.Cluster(to, options.namespace)
    try:
        return [finding async for finding in _checks(options, cluster)]
    finally:
        await cluster.close()


async def _checks(options: argparse.Namespace, cluster: clusters.Cluster) -> AsyncIterator[Finding]:
    """All checks, in an order in which what comes first explains what comes later."""
    reached = await installation.api_server(cluster, _now)
    for finding in reached:
        yield finding
    if not findings.healthy(reached[:1]):
        yield findings.not_checked("everything else", "the API server does not answer")
        return
    operator, pods = await installation.pods(cluster)
    yield operator
    for finding in await installation.leader(cluster):
        yield finding
    yield await installation.roles(cluster, options.service_account)
    written, told = await webhooks.configurations(cluster)
    yield written
    for finding in await webhooks.trust(cluster, told, cluster.now or _now()):
        yield finding
    yield await webhooks.answers(cluster)
    configured, spec = await exporting.configuration(cluster)
    for finding in configured:
        yield finding
    inside = bool(pods) and not options.metrics_url
    for finding in await collectors.asked(cluster, spec or {}, inside=inside):
        yield finding
    served = ((spec or {}).get("metrics") or {}).get("prometheus") or {}
    port = served.get("port", _METRICS_PORT)
    for finding in await context.arrives(cluster, options.metrics_url, pods, port, tls="tls" in served):
        yield finding
    yield await context.audited(cluster, told, options.audit_log)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
