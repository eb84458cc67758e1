"""A wall clock that a test sets while the process runs: Debian's libfaketime, loaded into that process only.

What is monotonic stays so, as when somebody sets a machine's clock.
"""

import os
import pathlib

import pytest

_LIBRARY = "faketime/libfaketimeMT.so.1"
_LIBRARIES = pathlib.Path("/usr/lib")
_MISSING = "no libfaketime: apt-get install faketime"


class FakedTime:
    """The wall clock of processes that run with `environ`.

    Args:
        library: libfaketime for processes with threads.
        file: Where the offset is written for them.
    """

    def __init__(self, library: pathlib.Path, file: pathlib.Path) -> None:
        self._file = file
        self.jump("+0")
        self.environ = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # as versions before 0.9.10 call it
        }

    def jump(self, offset: str) -> None:
        """Set the clock to that of the machine and so much more: `+0`, `+8h`, `+20d`."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{offset}\n")
        beside.replace(self._file)


def find() -> pathlib.Path:
    """The library; without it the test is skipped, or fails where all servers are demanded."""
    found = next(_LIBRARIES.glob(f"*/{_LIBRARY}"), None) or next(_LIBRARIES.glob(_LIBRARY), None)
    if found is None:
        if os.environ.get("KYMOGRAPH_REQUIRE_SERVERS") == "1":
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    return found
