"""What becomes of a configuration of which a part cannot be used: all of it is refused, or only that part is left out.

A change is taken as a whole or not at all, since what was good goes on. Where nothing was, at a start, one missing
Secret would take everything with it, what is to be told to nobody included; then all else is put in force. Whoever
reads or applies a part says so (`Whole.part`) and begins with what holds without it; which of the two happens is for
its caller to choose.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A part that is not in force.

    Attributes:
        part: Its field, from the spec's root (`metrics.otlp`), or the environment variable.
        error: Why.
    """

    part: str
    error: Exception

    @property
    def sentence(self) -> str:
        """Why, with the name of the part or of a field of it in front."""
        said = str(self.error)
        return said if said.startswith(self.part) else f"{self.part}: {said}"


class Whole:
    """All parts are needed: what is wrong with one of them is raised.

    Attributes:
        left_out: The parts that were left out so far.
    """

    left_out: Sequence[LeftOut] = ()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:  # noqa: ARG002 - for those that leave parts out
        """Read or apply a part inside the block."""
        yield


WHOLE = Whole()


class Usable(Whole):
    """A part that cannot be used is left out: its block ends where that is found, and what follows goes on.

    Args:
        expected: What may be wrong with a part; everything else is raised.
    """

    def __init__(self, *expected: type[Exception]) -> None:
        self._expected = expected
        self.left_out: Sequence[LeftOut] = ()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """See `Whole.part`."""
        try:
            yield
        except self._expected as error:
            self.left_out = (*self.left_out, LeftOut(name, error))
