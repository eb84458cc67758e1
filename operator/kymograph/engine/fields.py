"""Reading a policy field by field, noting everything that is wrong instead of stopping at the first.

A field that the engine does not implement, or does not know, is a problem like any other: a policy that is half
understood would enforce something else than its author wrote.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kymograph.engine import errors


class Problems:
    """What was found wrong with one policy, in the order of its fields and without repetitions."""

    def __init__(self) -> None:
        self._found: dict[errors.Problem, None] = {}

    def add(self, path: str, reason: str) -> None:
        """Note that the field at `path` is wrong."""
        self._found[errors.Problem(path, reason)] = None

    def absorb(self, invalid: errors.PolicyInvalid) -> None:
        """Note what another compiler found."""
        self._found.update(dict.fromkeys(invalid.problems))

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[errors.Problem]:
        return iter(self._found)

    def raise_if_any(self) -> None:
        """Give up on the policy if anything is wrong.

        Raises:
            PolicyInvalid: With all that was noted.
        """
        if self._found:
            raise errors.PolicyInvalid(tuple(self._found))


class Fields:
    """The fields of one object of a policy. A getter whose field is wrong notes that and gives the default.

    Args:
        document: The object; anything but a map is a problem and reads as empty.
        path: Its path from the policy's root.
        problems: Where to note what is wrong.
        known: The names of the fields that are implemented.
        refused: Fields of Kyverno's that are not implemented, with what to call them.
    """

    def __init__(
        self,
        document: Any,
        path: str,
        problems: Problems,
        known: Sequence[str],
        refused: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.problems = problems
        self._document: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
        if document is not None and not isinstance(document, Mapping):
            problems.add(path, f"must be an object, not {_kind(document)}")
        not_implemented = refused or {}
        for name in self._document:
            if name in not_implemented:
                problems.add(self.at(name), f"{not_implemented[name]} not supported by this version of Kymograph")
            elif name not in known:
                import difflib  # noqa: PLC0415 - what a policy without mistakes does without

                near = difflib.get_close_matches(str(name), [*known, *not_implemented], n=1)
                problems.add(self.at(name), f"unknown field{f'; did you mean {near[0]!r}?' if near else ''}")

    def __contains__(self, name: str) -> bool:
        return self._document.get(name) is not None

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, reason: str) -> None:
        """Note that a field is wrong."""
        self.problems.add(self.at(name), reason)

    def raw(self, name: str) -> Any:
        """The value as written, or None."""
        return self._document.get(name)

    def text(self, name: str, default: str = "", *, among: Sequence[str] = ()) -> str:
        """A string, optionally one of a few."""
        value = self._typed(name, str, "a string")
        if value is None:
            return default
        if among and value not in among:
            self.wrong(name, f"{value!r} is not one of {', '.join(among)}")
            return default
        return str(value)

    def boolean(self, name: str, *, default: bool) -> bool:
        """A boolean."""
        value = self._typed(name, bool, "true or false")
        return default if value is None else bool(value)

    def integer(self, name: str, low: int, high: int, reason: str) -> int | None:
        """An integer between two bounds, or None where it is absent; `reason` is said of one outside of them."""
        value = self._document.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(name, f"must be an integer, not {_kind(value)}")
            return None
        if not low <= value <= high:
            self.wrong(name, reason)
            return None
        return value

    def texts(self, name: str, *, among: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of strings, optionally each one of a few; empty where it is absent."""
        found = []
        for index, value in enumerate(self._typed(name, list, "a list") or ()):
            if not isinstance(value, str):
                self.wrong(f"{name}[{index}]", f"must be a string, not {_kind(value)}")
            elif among and value not in among:
                self.wrong(f"{name}[{index}]", f"{value!r} is not one of {', '.join(among)}")
            else:
                found.append(value)
        return tuple(found)

    def table(self, name: str) -> dict[str, str]:
        """A map of strings to strings; empty where it is absent."""
        value = self._typed(name, dict, "an object") or {}
        for key, entry in value.items():
            if not isinstance(entry, str):
                self.wrong(f"{name}[{key}]", f"must be a string, not {_kind(entry)}")
        return {key: entry for key, entry in value.items() if isinstance(entry, str)}

    def items(self, name: str) -> list[tuple[Any, str]]:
        """The entries of a list, each with its path; empty where it is absent."""
        value = self._typed(name, list, "a list") or []
        return [(entry, f"{self.at(name)}[{index}]") for index, entry in enumerate(value)]

    def _typed(self, name: str, kind: type, article: str) -> Any:
        value = self._document.get(name)
        if value is None or isinstance(value, kind):
            return value
        self.wrong(name, f"must be {article}, not {_kind(value)}")
        return None


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
