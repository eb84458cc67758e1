"""Runs a command and says what it cost."""

import dataclasses
import resource
import subprocess
import time


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command said, and what it cost: seconds of wall time, seconds of CPU of all its processes, and MiB of the
    largest of all processes that this one has waited for.
    """

    status: int
    output: str
    errors: str
    wall: float
    cpu: float
    resident: float

    def __str__(self) -> str:
        return f"{self.wall:6.2f} s wall   {self.cpu:6.2f} s CPU   {self.resident:5.0f} MiB in one process at most"


def run(*command: str) -> Ran:
    """Run a command to its end, whatever its status."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(done.returncode, done.stdout, done.stderr, wall, cpu, after.ru_maxrss / 1024)
