"""Tests run one after the other, or on several processes at once, with the reports in the order of the files.

A test never takes another one with it: whatever is wrong with its files is in its own report.
"""

import dataclasses
import pathlib
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kymograph.cli.offline import errors, files
from kymograph.cli.testing import case, checking, manifest, rows, selection
from kymograph.engine import needs

_BATCHES_PER_JOB = 8
"""Batches that a process gets: few enough that handing them out costs nothing, many enough that all end together."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How tests are run.

    Attributes:
        choice: Which entries, as given to `-t`.
        strict: Fail what no rule looked at, and entries about resources that are not there.
        trace: Rows that fail say how the policy was evaluated.
        now: The time of the evaluation, in nanoseconds since 1970.
        registry: Image registries may be asked.
    """

    choice: str
    strict: bool
    trace: bool
    now: int
    registry: bool = False


def run(paths: Sequence[pathlib.Path], options: Options, jobs: int) -> Iterator[rows.Report]:
    """Run tests. Processes start before this returns, so that nothing the caller does in threads is forked.

    Args:
        paths: The files of the tests.
        options: How to run them.
        jobs: How many processes to use.

    Returns:
        The reports of the tests that have chosen entries, in the order of the files, each as soon as it is there.
    """
    size = -(-len(paths) // (jobs * _BATCHES_PER_JOB)) or 1
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    if jobs == 1 or len(batches) == 1:
        return (report for path in paths for report in run_file(path, options))
    # imported here, because one test needs neither
    import concurrent.futures  # noqa: PLC0415 - as above
    import multiprocessing  # noqa: PLC0415 - as above

    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    pool = concurrent.futures.ProcessPoolExecutor(
        min(jobs, len(batches)), multiprocessing.get_context(method), _leave_interrupts_to_the_parent
    )
    return _collected(pool, pool.map(_run_batch, batches, [options] * len(batches)))


def _collected(pool: Any, batches: Iterable[list[rows.Report]]) -> Iterator[rows.Report]:
    try:
        for reports in batches:
            yield from reports
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_file(path: pathlib.Path, options: Options) -> list[rows.Report]:
    """Run the tests of one file; empty if none of their entries is chosen.

    Args:
        path: The file.
        options: How to run them.
    """
    try:
        documents = files.read(path, strict=True)
    except errors.InputInvalid as invalid:
        return [_unreadable(str(path), "", invalid)]
    return [report for document in documents if (report := _run_test(document, path, options)) is not None]


def _run_batch(paths: Sequence[pathlib.Path], options: Options) -> list[rows.Report]:
    return [report for path in paths for report in run_file(path, options)]


def _run_test(document: files.Document, path: pathlib.Path, options: Options) -> rows.Report | None:
    name = ""
    try:
        described = manifest.load(document)
        name = described.name
        chosen = selection.Selection(options.choice).choose(described.expected)
        if not chosen:
            return None
        loaded = case.Case(described, document, path, options.now, _images() if options.registry else None)
        evaluated = case.evaluate(loaded, chosen, traced=options.trace)
        found = list(checking.Checker(evaluated, str(path), strict=options.strict).check(chosen))
    except errors.InputInvalid as invalid:
        return _unreadable(str(path), name, invalid)
    except Exception as error:  # noqa: BLE001 - a mistake of ours in one test must not take the others with it
        return rows.Report(str(path), name, (), (), (f"{path}: internal error: {type(error).__name__}: {error}",))
    return rows.Report(str(path), name, tuple(loaded.notes), tuple(found), ())


def _unreadable(file: str, name: str, invalid: errors.InputInvalid) -> rows.Report:
    return rows.Report(file, name, (), (), tuple(map(str, invalid.problems)))


def _images() -> Callable[[needs.ImageData], Any]:
    from kymograph.cli.offline import registries  # noqa: PLC0415 - slow to import, and rarely asked for

    return registries.look_up
