"""Tests run one after the other, or on several processes at once, with the reports in the order of the files.

A test never takes another one with it: whatever is wrong with its files is in its own report.
"""

import os
import pathlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.cli.offline import errors, files, forked
from kymograph.cli.testing import case, checking, manifest, rows, selection
from kymograph.engine import needs

_BATCHES_PER_JOB = 12
"""Batches that a process gets: few enough that handing them out costs nothing, many enough that all end together."""

_WORTH_A_FORK = 4
"""Tests that take longer than starting another process does."""


class Options(NamedTuple):
    """How tests are run.

    Attributes:
        choice: Which entries, as given to `-t`.
        strict: Fail what no rule looked at, and entries about resources that are not there.
        trace: Rows that fail say how the policy was evaluated.
        now: The time of the evaluation, in nanoseconds since 1970.
        registry: Image registries may be asked.
        warnings_as_errors: A test whose policies use what is deprecated cannot be run.
        names: What to call folders in which repositories were cloned, by folder.
    """

    choice: str
    strict: bool
    trace: bool
    now: int
    registry: bool = False
    warnings_as_errors: bool = False
    names: Mapping[str, str] = types.MappingProxyType({})

    def shown(self, path: pathlib.Path) -> str:
        """What to call a file."""
        text = str(path)
        folder = next((each for each in self.names if text.startswith(each + os.sep)), "")
        return f"{self.names[folder]}{text.removeprefix(folder)}" if folder else text


def run(paths: Sequence[pathlib.Path], options: Options, jobs: int) -> Iterator[rows.Report]:
    """Run tests. Processes start before this returns, so that nothing the caller does in threads is forked.

    Args:
        paths: The files of the tests.
        options: How to run them.
        jobs: How many processes to use.

    Returns:
        The reports of the tests that have chosen entries, in the order of the files, each as soon as it is there.
    """
    jobs = min(jobs, len(paths) // _WORTH_A_FORK)
    if jobs < 2 or not forked.is_possible():
        return (report for path in paths for report in run_file(path, options))
    size = -(-len(paths) // (jobs * _BATCHES_PER_JOB))
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    workers: forked.Workers[Sequence[pathlib.Path], list[rows.Report]] = forked.Workers(
        lambda batch: [report for path in batch for report in run_file(path, options)], jobs
    )
    return (report for reports in workers.map(batches) for report in reports)


def run_file(path: pathlib.Path, options: Options) -> list[rows.Report]:
    """Run the tests of one file; empty if none of their entries is chosen.

    Args:
        path: The file.
        options: How to run them.
    """
    shown = options.shown(path)
    try:
        documents = files.read(path, shown, strict=True)
    except errors.InputInvalid as invalid:
        return [_unreadable(shown, "", invalid)]
    return [report for document in documents if (report := _run_test(document, path, options)) is not None]


def _run_test(document: files.Document, path: pathlib.Path, options: Options) -> rows.Report | None:
    name, shown = "", document.file
    try:
        described = manifest.load(document)
        name = described.name
        chosen = selection.Selection(options.choice).choose(described.expected)
        if not chosen:
            return None
        loaded = case.Case(described, document, path, options.now, _images() if options.registry else None)
        if options.warnings_as_errors:
            loaded.refuse_deprecated()
        evaluated = case.evaluate(loaded, chosen, traced=options.trace)
        found = list(checking.Checker(evaluated, shown, strict=options.strict).check(chosen))
    except errors.InputInvalid as invalid:
        return _unreadable(shown, name, invalid)
    except Exception as error:  # noqa: BLE001 - a mistake of ours in one test must not take the others with it
        return rows.Report(shown, name, (), (), (f"{shown}: internal error: {type(error).__name__}: {error}",))
    return rows.Report(shown, name, tuple(loaded.notes), tuple(found), ())


def _unreadable(file: str, name: str, invalid: errors.InputInvalid) -> rows.Report:
    return rows.Report(file, name, (), (), tuple(map(str, invalid.problems)))


def _images() -> Callable[[needs.ImageData], Any]:
    from kymograph.cli.offline import registries  # noqa: PLC0415 - slow to import, and rarely asked for

    return registries.look_up
