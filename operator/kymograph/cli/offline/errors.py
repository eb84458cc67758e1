"""Errors of what the command line is given, for whoever wrote the file.

OfflineError
  x InputInvalid   a file is not what it should be: carries every problem with its file, line and field
  x WorkerLost     a process that did a part of the work is gone
"""

from typing import Any, NamedTuple


class OfflineError(Exception):
    """The root of what the offline commands raise."""


class InputProblem(NamedTuple):
    """One thing wrong with a file.

    Attributes:
        file: Path of the file, as it was given.
        line: Line in it, from 1; 0 where the problem is the file as a whole.
        field: The field, as a path from the document's root; empty for the document as a whole.
        reason: What is wrong and, where it is not obvious, what to write instead.
    """

    file: str
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.field}: {self.reason}" if self.field else f"{where}: {self.reason}"


class InputInvalid(OfflineError):
    """Files cannot be used. `problems` holds all that is wrong with them, not only the first."""

    def __init__(self, problems: tuple[InputProblem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class WorkerLost(OfflineError):
    """A process that did a part of the work ended before it was done."""

    def __init__(self) -> None:
        super().__init__("a process ended in the middle of its work; if memory ran short, use fewer with --jobs")
