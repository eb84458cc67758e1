"""What reports add up to: the line at the end, and tables of counts."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

from kymograph.cli.testing import rows

_COLUMNS = ("PASSED", "FAILED", "UNSUPPORTED", "ERRORS")
_NOT_RUN = "could not be run"


@dataclasses.dataclass(slots=True)
class Counts:
    """How many rows came out how.

    Attributes:
        passed: Passed, or skipped.
        failed: Failed, though the policy could be applied.
        unsupported: Failed because this version cannot apply the policy.
        errors: What kept tests from being run.
        reasons: The reasons of what failed, with how often.
    """

    passed: int = 0
    failed: int = 0
    unsupported: int = 0
    errors: int = 0
    reasons: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def numbers(self) -> tuple[int, int, int, int]:
        """The four counts."""
        return self.passed, self.failed, self.unsupported, self.errors

    def fail(self, error: str) -> None:
        """Count what kept a test from being run."""
        self.errors += 1
        self.reasons[error.rpartition(": ")[2] or _NOT_RUN] += 1

    def add(self, row: rows.Row) -> None:
        """Count a row."""
        if row.failed:
            self.reasons[row.reason] += 1
        if row.unsupported:
            self.unsupported += 1
        elif row.failed:
            self.failed += 1
        else:
            self.passed += 1


def line(reports: Sequence[rows.Report], *, fail_only: bool) -> str:
    """The last line, as `kyverno test` words it.

    Args:
        reports: The reports.
        fail_only: Only what failed was shown.
    """
    every = [row for report in reports for row in report.rows]
    failed = sum(row.failed for row in every)
    if fail_only:
        return f"Test Summary: {failed} out of {len(every)} tests failed"
    return f"Test Summary: {len(every) - failed} tests passed and {failed} tests failed"


def by_folder(reports: Iterable[rows.Report], roots: Sequence[str]) -> dict[str, Counts]:
    """Counts by the folders directly below the paths that were given, sorted.

    Args:
        reports: The reports.
        roots: The paths.
    """
    found: dict[str, Counts] = {}
    for report in reports:
        counts = found.setdefault(_folder(report.file, roots), Counts())
        for error in report.errors:
            counts.fail(error)
        for row in report.rows:
            counts.add(row)
    return dict(sorted(found.items()))


def by_reason(reports: Iterable[rows.Report]) -> dict[str, Counts]:
    """Counts by the reason of the rows, the most frequent first."""
    found: dict[str, Counts] = {}
    for report in reports:
        for row in report.rows:
            found.setdefault(row.reason, Counts()).add(row)
        for error in report.errors:
            found.setdefault(_NOT_RUN, Counts()).fail(error)
    return dict(sorted(found.items(), key=lambda entry: -sum(entry[1].numbers())))


def render(reports: Sequence[rows.Report], key: str, roots: Sequence[str]) -> str:
    """A table of counts; by folder, it says why rows failed.

    Args:
        reports: The reports.
        key: `folder` or `reason`.
        roots: The paths that were given.
    """
    table = by_folder(reports, roots) if key == "folder" else by_reason(reports)
    total = Counts()
    for counts in table.values():
        total.passed += counts.passed
        total.failed += counts.failed
        total.unsupported += counts.unsupported
        total.errors += counts.errors
    entries = [*table.items(), ("total", total)]
    width = max(len(key), *(len(name) for name, _ in entries))
    why = "  WHY" if key == "folder" else ""
    lines = [f"{key.upper():{width}}  {'  '.join(f'{title:>11}' for title in _COLUMNS)}{why}"]
    for name, counts in entries:
        numbers = "  ".join(f"{number:>11}" for number in counts.numbers())
        reasons = "; ".join(f"{reason} ({count})" for reason, count in counts.reasons.most_common()) if why else ""
        lines.append(f"{name:{width}}  {numbers}  {reasons}".rstrip())
    return "\n".join(lines)


def renumbered(shown: Iterable[rows.Row]) -> list[rows.Row]:
    """Rows of several tests, numbered from 1."""
    return [row._replace(id=number) for number, row in enumerate(shown, 1)]


def first_line(text: str) -> str:
    """The first line of a text that says anything."""
    return next((each for each in text.splitlines() if each.strip()), "")


def _folder(file: str, roots: Sequence[str]) -> str:
    """The folder directly below the innermost root that a file is in; the root itself for a file in it."""
    folder = pathlib.PurePath(file).parent
    around = [root for root in map(pathlib.PurePath, roots) if folder.is_relative_to(root)]
    if not around:
        return str(folder)
    root = max(around, key=lambda each: len(each.parts))
    below = folder.relative_to(root).parts
    return str(root.joinpath(*below[:1]))
