"""Test processes that run side by side, and those tests that want the machine to themselves.

What is measured must not be measured beside something else. Processes of one test run (pytest-xdist's workers) share a
file: an ordinary test holds a shared lock on it, a benchmark an exclusive one. A second file is the gate that every
test goes through, so that a benchmark is not kept waiting for ever by tests that follow each other.
"""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator


class Turns:
    """Hands out turns to the processes that name the same folder."""

    def __init__(self, folder: pathlib.Path, run: str) -> None:
        self._gate = (folder / f"kymograph-{run}.gate").open("w")
        self._room = (folder / f"kymograph-{run}.room").open("w")

    @contextlib.contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Wait for a turn and hold it: beside others, or alone."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        """Remove the files; who has them open still, keeps them."""
        for file in (self._gate, self._room):
            file.close()
            pathlib.Path(file.name).unlink(missing_ok=True)
