"""Why a resource does not match a pattern. Made only when it does not; worded only when somebody asks.

A mismatch knows the place in the pattern, which is known when the pattern is compiled, and collects the positions in
lists while it travels up. No path is put together for a resource that matches.
"""

import enum

from kymograph.engine import errors, values
from kymograph.engine.budget import Budget

LONGEST_VALUE = 1000
"""Characters of a value that a message shows."""


class Kind(enum.IntEnum):
    """What a mismatch does to the pattern around it."""

    FAIL = 0
    NEGATION = 1
    SKIP = 2
    """A condition or global anchor did not hold here."""
    SKIP_BELOW = 3
    """One did not hold further down."""


Place = tuple[str, ...]
"""A path in pieces; between two of them stands a position in a list, or a key that a wildcard stood for."""


class Mismatch:
    """One reason, with a fixed text around the path.

    Attributes:
        kind: What it does to the pattern around it.
    """

    __slots__ = ("_after", "_before", "_place", "_positions", "kind")

    def __init__(self, kind: Kind, place: Place, before: str, after: str | None = "") -> None:
        self.kind = kind
        self._place = place
        self._positions: list[int | str] = []
        self._before = before
        self._after = after

    @property
    def skips(self) -> bool:
        """Whether it skips what is around it, and does not fail it."""
        return self.kind >= Kind.SKIP

    def under(self, position: int | str) -> None:
        """The mismatch leaves a list at a position, or a map at a key that a wildcard stood for."""
        self._positions.append(position)

    def path(self) -> str:
        """The path as Kyverno prints it: `/spec/containers/0/image/`; empty when there is none."""
        if not self._place:
            return ""
        pieces = [self._place[0]]
        for position, piece in zip(reversed(self._positions), self._place[1:], strict=True):
            pieces += (str(position), piece)
        return "".join(pieces)

    def text(self, budget: Budget) -> str:  # noqa: ARG002 - wording a value costs
        """The reason in words."""
        return self._before if self._after is None else f"{self._before}{self.path()}{self._after}"


class ValueMismatch(Mismatch):
    """A value that does not match a scalar pattern."""

    __slots__ = ("_expected", "_value")

    def __init__(self, place: Place, value: values.JSON, expected: values.JSON) -> None:
        super().__init__(Kind.FAIL, place, "")
        self._value = value
        self._expected = expected

    def text(self, budget: Budget) -> str:
        """The reason, with the value and the pattern; a value too large to write never undoes the verdict."""
        try:
            value = values.to_text(self._value, budget)
        except errors.EvaluationError:
            value = "..."
        if len(value) > LONGEST_VALUE:
            value = f"{value[:LONGEST_VALUE]}..."
        expected = values.to_text(self._expected, budget)
        return f"resource value '{value}' does not match '{expected}' at path {self.path()}"


class Skipped(Mismatch):
    """Anchors that did not hold, and why."""

    __slots__ = ("_causes",)

    def __init__(self, kind: Kind, place: Place, prefix: str, causes: list[Mismatch]) -> None:
        super().__init__(kind, place, prefix)
        self._causes = causes

    def under(self, position: int | str) -> None:
        """The causes leave with it."""
        super().under(position)
        for cause in self._causes:
            cause.under(position)

    def text(self, budget: Budget) -> str:
        """All causes."""
        return self._before + "; ".join([cause.text(budget) for cause in self._causes])
