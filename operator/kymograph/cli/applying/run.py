"""`kymograph apply` from its flags to its exit status: read, judge, write."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from kymograph.cli import sources
from kymograph.cli.applying import gathering, inputs, pool, stream, work, writing
from kymograph.cli.offline import answers, policies
from kymograph.engine import needs

_NO_BAR = 2 * stream.BLOCK
"""Bytes of objects that are through before a bar could be read."""


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Apply policies as the flags say; returns the exit status.

    Args:
        options: The flags, checked.
        out: Where results go.

    Raises:
        InputInvalid: Something that was given cannot be used.
    """
    given = inputs.read_policies(
        options.policies, options.git_branch, with_exceptions=options.exceptions_within_policies
    )
    for problem in given.loaded.strange:
        sys.stderr.write(f"Warning: {problem}\n")
    if options.warnings_as_errors:
        policies.refuse_deprecated(document for _, document in given.loaded.compiled)
    compiled = tuple(each for each, _ in given.loaded.compiled)
    told = inputs.read_values(options.values_file, sources.split(options.set))
    user = inputs.read_user(options.userinfo)
    excepted = inputs.read_exceptions(sources.split(options.exception))
    scoped = inputs.cluster_scoped(sources.split(options.crd_paths))
    form = _form(options)
    coloured = out.isatty() and not options.remove_color and not os.environ.get("NO_COLOR")
    with contextlib.ExitStack() as stack:
        if options.cluster:
            from kymograph.cli.applying import cluster  # noqa: PLC0415 - the HTTP client, which nothing else here needs

            live = cluster.Cluster(options.kubeconfig, options.context)
            stack.callback(live.close)
            parts = live.parts(compiled, options.namespace, only_cluster_wide=options.cluster_wide_resources)
            objects = gathering.Objects(parts, 0, live)
        else:
            objects = gathering.from_files(
                sources.split(options.resource),
                sources.split(options.target_resource),
                compiled,
                with_exceptions=options.exceptions_with_resources,
                cluster_scoped=scoped,
            )
        excepted = [*(objects.excepted if options.exceptions_with_resources else excepted), *given.excepted]
        task = work.Task(
            policies=compiled,
            excepted=excepted,
            world=answers.Answers(
                told=told,
                user=user,
                cluster=objects.cluster,
                global_entries=objects.global_entries,
                objects=objects.existing,
                images=_images() if options.registry else None,
                now=time.time_ns(),
                seed=os.urandom(32),
            ),
            output=form,
            audit_warn=options.audit_warn,
            piped=options.stdin,
            to_files=bool(options.output),
            as_json=options.output_format == "json",
            ttl=options.generated_exception_ttl,
            keep_going=options.continue_on_fail,
            cluster_scoped=scoped,
        )
        output = stack.enter_context(
            contextlib.closing(writing.Output(options, form, given.loaded.refused, coloured=coloured))
        )
        for done in _with_progress(pool.handle(task, objects.parts, options.jobs or _cpus()), objects.size):
            output.add(done)
        output.finish(out, sum(len(each.rules) for each in compiled), len(excepted))
        return output.status(out)


def _images() -> Callable[[needs.ImageData], Any]:
    from kymograph.cli.offline import registries  # noqa: PLC0415 - slow to import, and rarely asked for

    return registries.look_up


def _form(options: argparse.Namespace) -> str:
    if options.policy_report:
        return work.REPORT
    if options.generate_exceptions:
        return work.EXCEPTIONS
    return work.TABLE if options.table else work.TEXT


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _with_progress(handled: Iterator[tuple[int, work.Done]], size: int) -> Iterator[work.Done]:
    """What came of the parts, with a bar on the terminal while they come in."""
    if size < _NO_BAR or not sys.stderr.isatty():
        for _, done in handled:
            yield done
        return
    from rich import console, progress  # noqa: PLC0415 - slow to import, and needed on terminals only

    with progress.Progress(console=console.Console(stderr=True), transient=True) as bar:
        through = bar.add_task("Applying", total=size)
        for characters, done in handled:
            bar.advance(through, characters)
            yield done
