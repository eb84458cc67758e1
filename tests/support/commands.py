"""Runs a command and says what it cost."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

# Runs the command as its own child and writes what that cost. A process begins with the memory of the one that started
# it as its peak: that of this small one, and not that of the tests.
_STARTER = """
import json, resource, subprocess, sys, time
began = time.monotonic()
status = subprocess.call(sys.argv[2:])
wall = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([status, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
"""


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command said, and what it cost: seconds of wall time, seconds of CPU of all its processes, and MiB of the
    largest of them.
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
    with tempfile.TemporaryDirectory() as folder:
        costs = pathlib.Path(folder) / "costs.json"
        starter = (sys.executable, "-I", "-S", "-c", _STARTER, str(costs))
        done = subprocess.run((*starter, *command), capture_output=True, text=True, check=True)
        status, wall, cpu, resident = json.loads(costs.read_text())
    return Ran(status, done.stdout, done.stderr, wall, cpu, resident)
