"""`kymograph cleanup preview`: what cleanup policies would delete now, and when they run next. Nothing is deleted.

Exit status: 0, 1 if a policy is refused, or something could not be read, listed or decided, 2 if the command line
itself is wrong.
"""

import argparse
import asyncio
import datetime as dt
import glob
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.apimachinery import duration
from kymograph.cli import endings, sources
from kymograph.cli.cleaning import cluster, found
from kymograph.cli.offline import answers, errors, files
from kymograph.controllers.cleanup import spared
from kymograph.engine import cleanup
from kymograph.engine import errors as engine_errors

_KINDS = ("CleanupPolicy", "ClusterCleanupPolicy")
_HEADER = ("KIND", "NAMESPACE", "NAME", "REASON")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    commands = parser.add_subparsers(dest="cleanup_command", required=True, metavar="COMMAND", help="what to do")
    preview = commands.add_parser("preview", help="say what a cleanup policy would delete now")
    preview.add_argument(
        "policy",
        metavar="POLICY",
        help="a file, folder or glob of cleanup policies, - for standard input; or, of the cluster, the NAME of a "
        "ClusterCleanupPolicy or NAMESPACE/NAME of a CleanupPolicy",
    )
    preview.add_argument(
        "-r",
        "--resource",
        action="append",
        default=[],
        metavar="FILE",
        help="look at the objects of a file, folder or glob, and at no cluster; repeatable",
    )
    preview.add_argument("--kubeconfig", default="", help="the cluster (default: $KUBECONFIG, else ~/.kube/config)")
    preview.add_argument("--context", default="", help="the context of the kubeconfig (default: the current one)")
    preview.add_argument(
        "--operator-namespace",
        default="kymograph",
        metavar="NAMESPACE",
        help="where the operator is, which deletes nothing of its own (default: kymograph)",
    )
    preview.add_argument(
        "--config-map",
        default="kyverno",
        metavar="NAME",
        help="the ConfigMap of that namespace whose resourceFilters policies heed (default: kyverno)",
    )
    preview.add_argument(
        "--protect-managed-resources",
        "--protectManagedResources",
        action="store_true",
        help="the operator is run with this flag, and leaves alone what Kyverno manages",
    )


@endings.may_be_cut_short
def run(options: argparse.Namespace) -> int:
    """Preview; returns the exit status."""
    try:
        if options.resource:
            return _of_files(options)
        return asyncio.run(_of_cluster(options, None if _is_name(options.policy) else _read(options.policy)))
    except errors.OfflineError as error:
        sys.stderr.write(f"Error: {error}\n")
    return 1


def _of_files(options: argparse.Namespace) -> int:
    world = answers.Answers(now=time.time_ns(), seed=os.urandom(32))
    objects = [document for each in options.resource for document in sources.documents(each)]
    status = 0
    for policy in _read(options.policy):
        status |= _report(policy, found.in_files(policy, objects, world), None)
    return status


async def _of_cluster(options: argparse.Namespace, policies: list[cleanup.CleanupPolicy] | None) -> int:
    status = 0
    async with cluster.Cluster(options.kubeconfig, options.context) as live:
        filters = await live.filters(options.operator_namespace, options.config_map)
        spare = spared.Spared(options.operator_namespace, options.protect_managed_resources, lambda: filters)
        for policy in policies or [_compiled(await live.named(options.policy), None)]:
            stored = await live.stored(policy)
            status |= _report(policy, await live.look(policy, spare), stored)
    return status


def _is_name(argument: str) -> bool:
    """Whether an argument names a policy of the cluster, not files."""
    return argument != sources.STDIN and not glob.has_magic(argument) and not pathlib.Path(argument).exists()


def _read(argument: str) -> list[cleanup.CleanupPolicy]:
    documents = [
        each
        for each in sources.documents(argument, strict=True)
        if isinstance(each.value, dict) and each.value.get("kind") in _KINDS
    ]
    if not documents:
        raise errors.InputInvalid((errors.InputProblem(argument, 0, "", f"holds no {' or '.join(_KINDS)}"),))
    return [_compiled(each.value, each) for each in documents]


def _compiled(document: Mapping[str, Any], read: files.Document | None) -> cleanup.CleanupPolicy:
    try:
        return cleanup.compile(document)
    except engine_errors.PolicyInvalid as invalid:
        metadata = document.get("metadata")
        name = str(metadata.get("name") or "") if isinstance(metadata, dict) else ""
        raise errors.InputInvalid(
            tuple(
                read.problem(each.path, each.reason)
                if read is not None
                else errors.InputProblem(name, 0, each.path, each.reason)
                for each in invalid.problems
            )
        ) from invalid


def _report(policy: cleanup.CleanupPolicy, seen: found.Found, stored: Mapping[str, Any] | None) -> int:
    sys.stdout.writelines(f"{line}\n" for line in _lines(policy, seen, stored, dt.datetime.now(dt.UTC)))
    sys.stdout.flush()
    for problem in seen.problems:
        sys.stderr.write(f"Error: {problem}\n")
    return 1 if seen.problems else 0


def _lines(
    policy: cleanup.CleanupPolicy, seen: found.Found, stored: Mapping[str, Any] | None, now: dt.datetime
) -> Iterator[str]:
    yield f"{policy} (schedule {policy.document['spec']['schedule']})"
    ran = (stored.get("status") or {}).get("lastExecutionTime") if stored is not None else None
    last = dt.datetime.fromisoformat(ran) if ran else None
    if last is not None:
        yield f"  ran last:  {_moment(last)}"
    due = policy.schedule.next(last or _created(stored) or now)
    yield f"  runs next: {_due(due, now)}"
    propagation = f", dependents: {policy.propagation}" if policy.propagation else ""
    yield f"  would delete {len(seen.deleted)} of {seen.looked} objects now{propagation}"
    if seen.deleted:
        rows = [_HEADER, *sorted(seen.deleted)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
        for row in rows:
            yield "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _created(stored: Mapping[str, Any] | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(stored["metadata"]["creationTimestamp"]) if stored is not None else None


def _due(due: dt.datetime | None, now: dt.datetime) -> str:
    if due is None:
        return "never"
    if due <= now:
        return f"at once, it missed {_moment(due)}"
    seconds = round((due - now).total_seconds())
    return f"{_moment(due)}, in {duration.format(seconds * duration.SECOND)}"


def _moment(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
