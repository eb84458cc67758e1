"""`kymograph test`: run the tests that lie beside policies, with the verdicts of `kyverno test`.

Exit status: 0 if every row passed or was skipped, 1 if a row failed, a test could not be run, or none was found and
one was required, 2 if the command line itself is wrong.
"""

import argparse
import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from kymograph.cli.offline import errors
from kymograph.cli.testing import discovery, rows, running, selection
from kymograph.cli.testing.output import colour, formats, summary, table

_FILE_NAME = "kyverno-test.yaml"
_COLLECT_EVERY = 100_000
"""Allocations between two looks of Python's garbage collector: tests make much and little of it in cycles."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a folder with tests below it, the file of a test, or the URL of a git repository",
    )
    parser.add_argument(
        "-f", "--file-name", default=_FILE_NAME, help="the name that files of tests have (default: %(default)s)"
    )
    parser.add_argument("-b", "--git-branch", default="", help="the branch of repositories that hold tests")
    parser.add_argument(
        "-t",
        "--test-case-selector",
        type=_selection,
        default="",
        metavar="policy=..,rule=..,resource=..",
        help="run only the entries that match; * and ? are wildcards",
    )
    parser.add_argument(
        "-o",
        "--output-format",
        choices=("table", *formats.FORMATS),
        default="table",
        help="how rows are written (default: %(default)s)",
    )
    parser.add_argument("--fail-only", action="store_true", help="show only what failed")
    parser.add_argument("--detailed-results", action="store_true", help="show what the rules said")
    parser.add_argument("--require-tests", action="store_true", help="fail if no test is found")
    parser.add_argument("--remove-color", action="store_true", help="write no colours, on a terminal too")
    parser.add_argument("--registry", action="store_true", help="allow image registries to be asked")
    parser.add_argument(
        "--warnings-as-errors",
        action="store_true",
        help="do not run tests whose policies are written in a deprecated way",
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail what no rule looked at, and entries about resources that are absent"
    )
    parser.add_argument("--trace", action="store_true", help="show how a policy was evaluated where a row failed")
    parser.add_argument(
        "--summary", choices=("folder", "reason"), help="end with a table of how many rows passed and failed, by this"
    )
    parser.add_argument(
        "--jobs", type=_jobs, default=0, metavar="N", help="how many processes to use (default: one for each CPU)"
    )


def run(options: argparse.Namespace) -> int:
    """Run the tests and write what came out; returns the exit status."""
    with _rare_collections(), contextlib.ExitStack() as clones:
        try:
            return _run(options, clones)
        except errors.OfflineError as error:
            sys.stderr.write(f"Error: {error}\n")
            return 1
        except KeyboardInterrupt:
            return 130


def _run(options: argparse.Namespace, clones: contextlib.ExitStack) -> int:
    roots, names = discovery.checkouts(options.paths, options.git_branch, clones)
    paths = discovery.find(roots, options.file_name)
    if not paths:
        sys.stderr.write("No test yamls available\n")
        if options.require_tests:
            sys.stderr.write("Error: no tests found\n")
        return 1 if options.require_tests else 0
    chosen = running.Options(
        options.test_case_selector,
        options.strict,
        options.trace,
        time.time_ns(),
        options.registry,
        options.warnings_as_errors,
        names,
    )
    reports = running.run(paths, chosen, options.jobs or _cpus())
    return _write(_with_progress(reports, len(paths)), options, [names.get(root, root) for root in roots])


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _write(reports: Iterable[rows.Report], options: argparse.Namespace, roots: Sequence[str]) -> int:
    """Write reports as they come, and what they add up to."""
    seen = []
    as_table = options.output_format == "table"
    palette = colour.Palette(coloured=as_table and not options.remove_color and _coloured())
    for report in reports:
        seen.append(report)
        if as_table and not options.fail_only:
            sys.stdout.write(_shown(report, palette, detailed=options.detailed_results))
    failed = [row for report in seen for row in report.rows if row.failed]
    aside = sys.stdout if as_table else sys.stderr
    if not as_table:
        kept = [report.failures() for report in seen] if options.fail_only else seen
        write: Callable[..., str] = formats.FORMATS[options.output_format]
        sys.stdout.write(write(kept, detailed=options.detailed_results) + "\n")
    if options.summary:
        aside.write(f"\n{summary.render(seen, options.summary, roots)}\n")
    aside.write(f"\n{summary.line(seen, fail_only=options.fail_only)}\n\n")
    if as_table and options.fail_only and failed:
        aside.write("Aggregated Failed Test Cases : \n")
        aside.write(f"{table.render(summary.renumbered(failed), palette, detailed=options.detailed_results)}\n")
        aside.write(_places(failed))
    errors_ = [error for report in seen for error in report.errors]
    for error in errors_:
        sys.stderr.write(f"Error: {error}\n")
    if failed:
        sys.stderr.write(f"Error: {len(failed)} tests failed\n")
    return 1 if failed or errors_ else 0


def _shown(report: rows.Report, palette: colour.Palette, *, detailed: bool) -> str:
    parts = [f"Loading test {report.name} ( {report.file} ) ...", *(f"  {note}" for note in report.notes)]
    if report.errors:
        parts += [f"  Error: {error}" for error in report.errors]
        return "\n".join(parts) + "\n\n"
    parts += ["", table.render(report.rows, palette, detailed=detailed)]
    return "\n".join(parts) + "\n" + _places([row for row in report.rows if row.failed]) + "\n"


def _places(failed: Iterable[rows.Row]) -> str:
    """Where the expectations of rows stand, what was said, and how it came to it."""
    lines = []
    for row in failed:
        lines.append(f"  {row.file}:{row.line}: {row.resource}: {row.reason}: {summary.first_line(row.message)}")
        lines += [f"    {line}" for line in row.trace.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def _with_progress(reports: Iterator[rows.Report], total: int) -> Iterator[rows.Report]:
    """The reports, with a bar on the terminal while they come in."""
    if total < 2 or not sys.stderr.isatty() or sys.stdout.isatty():
        yield from reports
        return
    from rich import console, progress  # noqa: PLC0415 - slow to import, and needed on terminals only

    yield from progress.track(reports, "Testing", total=total, transient=True, console=console.Console(stderr=True))


def _cpus() -> int:
    """The CPUs that this process may use; all of them where the platform cannot say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _selection(text: str) -> str:
    try:
        selection.Selection(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 1")
    return int(text)
