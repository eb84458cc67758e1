"""Text that is written later: in memory while it is short, in a temporary file when it is not."""

import tempfile
from collections.abc import Iterator
from typing import TextIO

_IN_MEMORY = 8 * 1024 * 1024


class Spool:
    """Text in the order in which it was added."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="")  # noqa: SIM115 - closed by `close`

    def add(self, text: str) -> None:
        """Add text."""
        self._file.write(text)

    def lines(self) -> Iterator[str]:
        """All of it, line by line."""
        self._file.seek(0)
        yield from self._file

    def close(self) -> None:
        """Forget all of it."""
        self._file.close()

    def copy_to(self, out: TextIO, *, without_last: int = 0) -> None:
        """Write all of it.

        Args:
            out: Where to.
            without_last: How many characters at the end to leave out; ASCII ones.
        """
        self._file.seek(0)
        held = self._file.read(1 << 20)
        while held:
            following = self._file.read(1 << 20)
            out.write(held if following or not without_last else held[:-without_last])
            held = following
