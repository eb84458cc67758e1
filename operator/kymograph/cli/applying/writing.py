"""What `kymograph apply` writes, in Kyverno's order: how much is applied, what changed, what was refused, what failed.

It begins with how many objects there are, which is known only at the end of the stream; so all else waits in spools.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import TextIO

from kymograph.cli.applying import counting, reports, spool, tables, work
from kymograph.cli.offline import errors, policies

_DIVIDER = "-" * 70
_YAML = ("yaml", "yml")


class Output:
    """Collects what came of the parts, and writes it at the end.

    Args:
        options: The flags.
        form: What is wanted: a form of `work`.
        refused: The policies that are not applied.
        coloured: Colour the table.
    """

    def __init__(
        self, options: argparse.Namespace, form: str, refused: Sequence[policies.Refused], *, coloured: bool
    ) -> None:
        self._options = options
        self._form = form
        self._refused = refused
        self._as_json = options.output_format == "json"
        self.objects = 0
        self.counts = counting.Counts(erred=len(refused))
        self._changes = spool.Spool()
        self._violations = spool.Spool()
        self._table = tables.Table(detailed=options.detailed_results, coloured=coloured)
        self._reports: dict[str, tuple[spool.Spool, counting.Counts]] = {}
        self._files = _Files(options.output) if options.output else None

    def close(self) -> None:
        """Drop what was not written, and the temporary files."""
        self._table.close()
        for each in (self._changes, self._violations, *(entries for entries, _ in self._reports.values())):
            each.close()

    def add(self, done: work.Done) -> None:
        """Take what came of a part."""
        self.objects += done.objects
        self.counts = self.counts.plus(done.counts)
        self._changes.add(done.changes)
        self._violations.add(done.violations)
        self._table.add(done.rows)
        for key, text, counts in done.reported:
            entries, before = self._reports.setdefault(key, (spool.Spool(), counting.Counts()))
            entries.add(text)
            self._reports[key] = entries, before.plus(counts)
        if self._files is not None:
            for name, text in done.files:
                self._files.add(name, text)
        for reason in done.skipped:
            sys.stderr.write(f"Warning: {reason}\n")

    def finish(self, out: TextIO, rules: int, exceptions: int) -> None:
        """Write everything.

        Args:
            out: Where to.
            rules: How many rules there are, those made for controllers of Pods included.
            exceptions: How many PolicyExceptions.
        """
        piped = self._options.stdin
        if self._form in (work.TEXT, work.TABLE) and not piped:
            excepted = f" with {exceptions} exception(s)" if exceptions else ""
            out.write(f"\nApplying {rules} policy rule(s) to {self.objects} resource(s){excepted}...\n")
        self._changes.copy_to(out)
        aside = sys.stderr if piped else out
        if self._refused:
            aside.write(f"{_DIVIDER}\nPolicies Skipped:\n")
            for number, each in enumerate(self._refused, 1):
                aside.write(f"{number}. {each.name}: {each.reason}\n")
            aside.write(f"{_DIVIDER}\n")
        if self._form == work.REPORT:
            self._write_reports(out)
        elif self._form == work.TABLE:
            aside.writelines(f"{line}\n" for line in self._table.lines())
        elif self._form == work.EXCEPTIONS:
            self._violations.copy_to(out)
        else:
            self._violations.copy_to(aside)
            aside.write(f"\n{self.counts}\n")

    def status(self, out: TextIO) -> int:
        """The exit status, with what is said about it."""
        if self.counts.failed or self.counts.erred:
            return 1
        if self.counts.warned and self._options.warn_exit_code:
            out.write(f"exit as warnExitCode is {self._options.warn_exit_code}")
            return int(self._options.warn_exit_code)
        if not self.counts.passed and self._options.warn_no_pass:
            out.write("exit as no objects satisfied policy\n")
            return int(self._options.warn_exit_code)
        return 0

    def _write_reports(self, out: TextIO) -> None:
        for key in sorted(self._reports):
            entries, counts = self._reports[key]
            out.write("" if key == reports.MERGED else "---\n")
            out.write(reports.head(key, as_json=self._as_json))
            entries.copy_to(out, without_last=1 if self._as_json else 0)
            out.write(reports.foot(counts, as_json=self._as_json))


class _Files:
    """Where changed and generated objects go: one file, or a folder with a file for each object or policy."""

    def __init__(self, name: str) -> None:
        self._path = pathlib.Path(name)
        self._is_folder = name.rpartition("/")[2].rpartition(".")[2] not in _YAML
        try:
            if self._is_folder:
                self._path.mkdir(parents=True, exist_ok=True)
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text("")
        except OSError as error:
            raise self._unusable(error) from error

    def add(self, name: str, text: str) -> None:
        """Append an object."""
        path = self._path / f"{name.replace('/', '_')}.yaml" if self._is_folder else self._path
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{text}\n---\n\n")
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> errors.InputInvalid:
        reason = f"failed to create file/folder ({error.strerror or error})"
        return errors.InputInvalid((errors.InputProblem(str(self._path), 0, "", reason),))
