"""YAML and JSON files given on the command line, and where in them something is wrong."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.apimachinery import yamls
from kymograph.cli.offline import errors
from kymograph.engine import fields


class Document(NamedTuple):
    """One document of a file.

    Attributes:
        file: Path of the file, as it is shown.
        value: The document: maps, lists and scalars.
        loaded: Knows the lines.
    """

    file: str
    value: Any
    loaded: yamls.Loaded

    def line_of(self, field: str) -> int:
        """The line of a field, or of the nearest field around it that is there.

        Args:
            field: A path from the root, `results[0].resources[1]`; empty for the document.
        """
        return self.loaded.line_of(field)

    def problem(self, field: str, reason: str) -> errors.InputProblem:
        """Say what is wrong with a field."""
        return errors.InputProblem(self.file, self.line_of(field), field, reason)

    def raise_if_any(self, problems: fields.Problems) -> None:
        """Give up on the file if anything is wrong with the document.

        Raises:
            InputInvalid: With all that was noted.
        """
        if len(problems):
            raise errors.InputInvalid(tuple(self.problem(each.path, each.reason) for each in problems))


def read(path: pathlib.Path, shown: str = "", *, strict: bool = False) -> list[Document]:
    """The documents of a file, Lists taken apart; empty ones are passed over.

    Args:
        path: The file.
        shown: What to call it; empty for the path.
        strict: Refuse a key that a map sets twice.

    Raises:
        InputInvalid: The file cannot be read or is no YAML.
    """
    name = shown or str(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise errors.InputInvalid((errors.InputProblem(name, 0, "", reason),)) from error
    return parse(text, name, strict=strict)


def parse(text: bytes, name: str, *, strict: bool = False) -> list[Document]:
    """The documents of a text, Lists taken apart; empty ones are passed over.

    Args:
        text: What a file holds.
        name: What to call it.
        strict: Refuse a key that a map sets twice.

    Raises:
        InputInvalid: It is no YAML.
    """
    try:
        loaded = yamls.load_all(text, name, strict=strict)
    except yamls.YAMLInvalid as invalid:
        raise errors.InputInvalid((errors.InputProblem(name, invalid.line, "", invalid.reason),)) from invalid
    return [Document(name, each.value, each) for whole in loaded for each in yamls.flatten(whole)]


def folded(document: Any, known: Sequence[str]) -> Any:
    """A map whose keys are spelled as the fields they name in another case; the given one if all are.

    Args:
        document: Any value.
        known: The names of the fields.
    """
    if not isinstance(document, Mapping) or all(key in known for key in document):
        return document
    spelled = {name.lower(): name for name in known}
    return {spelled.get(str(key).lower(), key): value for key, value in document.items()}
