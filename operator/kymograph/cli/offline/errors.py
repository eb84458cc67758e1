"""Errors of what the command line is given, for whoever wrote the file.

OfflineError
  x InputInvalid   a file is not what it should be: carries every problem with its file, line and field
"""

import dataclasses


class OfflineError(Exception):
    """The root of what the offline commands raise."""


@dataclasses.dataclass(frozen=True, slots=True)
class InputProblem:
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
