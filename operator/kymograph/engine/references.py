r"""References within a document: `$(./../key)` stands for the value at another place of the same document.

    limits:   {memory: "$(<=./../../requests/memory)"}   ->   memory: "<=64Mi"

Relative paths begin at the place of the reference itself, so `./../key` is a sibling. The anchors of keys do not
count in paths. An operator before the path is put before the value, which may then be a number. `\$(` stands for `$(`.
They are replaced before variables are, so once, when a policy is compiled; what they stand for may hold variables.
"""

import posixpath
import re
from collections.abc import Iterator

from kymograph.engine import errors, values

_REFERENCE = re.compile(r"(^|[^\\])(\$\(.[^ ]*\))")
_ESCAPED = re.compile(r"\\(\$\(.[^ )]*\))")
_OPERATOR = re.compile(r">=|<=|>|<|!")
_ANCHOR = re.compile(r"[+<=X^]?\((.+)\)")
_MARK = "$("


class References:
    """Replaces the references of one document.

    Args:
        document: The document; it is walked only if it has references.
    """

    __slots__ = ("_document", "_leaves")

    def __init__(self, document: values.JSON) -> None:
        self._document = document
        self._leaves: dict[str, values.JSON] | None = None

    def replaced(self, text: str, pointer: str) -> str:
        """A string of the document with its references replaced.

        Args:
            text: The string.
            pointer: Its place, `/spec/containers/0/image`, with the anchors of keys.

        Raises:
            EvaluationError: A reference leads nowhere, or to what is no string; in Kyverno's words.
        """
        if _MARK not in text:
            return text
        for match in list(_REFERENCE.finditer(text)):
            before, reference = match.groups()
            text = text.replace(match[0], before + self._value(reference, pointer), 1)
        return _ESCAPED.sub(r"\1", text)

    def _value(self, reference: str, pointer: str) -> str:
        path = reference.strip("$()")
        found = _OPERATOR.match(path)
        operator = "" if found is None else found[0]
        path = path[len(operator) :]
        if not path:
            raise errors.EvaluationError(
                f"failed to resolve {reference} at path {pointer}: expected path, found empty reference"
            )
        value = self._at(posixpath.normpath(path if path.startswith("/") else f"{pointer}/{path}"))
        if operator and not isinstance(value, str):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise errors.EvaluationError(
                    f"failed to resolve {reference} at path {pointer}: incorrect expression: operator {operator} does "
                    "not match with value <nil>"
                )
            value = f"{value:d}" if isinstance(value, int) else f"{value:f}"
        if value is None:
            raise errors.EvaluationError(f"got nil resolved variable {reference} at path {pointer}: <nil>")
        if not isinstance(value, str):
            raise errors.EvaluationError(
                f"NotResolvedReferenceErr,reference {reference} not resolved at path {pointer}"
            )
        return operator + value

    def _at(self, path: str) -> values.JSON:
        if self._leaves is None:
            self._leaves = dict(_leaves(self._document, ""))
        return self._leaves.get(path)


def _leaves(value: values.JSON, pointer: str) -> Iterator[tuple[str, values.JSON]]:
    """Everything in a document that is neither a map nor a list, by its path without anchors."""
    if isinstance(value, dict):
        for key, item in value.items():
            anchor = _ANCHOR.fullmatch(key)
            yield from _leaves(item, f"{pointer}/{anchor[1] if anchor else key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{pointer}/{index}")
    else:
        yield pointer, value
