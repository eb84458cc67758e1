"""`kymograph apply` on many Pods, and how long the command line takes to start.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_apply_speed.py

The 17 policies of the Pod Security Standards on 10,000 Pods in one YAML file; wall time, CPU of all processes, and the
largest resident set of a single one of them.
"""

import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import pytest

from kymograph.apimachinery import yamlwriting
from support import pods

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

POLICIES = pathlib.Path(__file__).parent / "policies"
COMMAND = (sys.executable, "-m", "kymograph.cli.main")


def _run(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done, wall, cpu, after.ru_maxrss / 1024


def test_apply(is_long, figure, tmp_path):
    """Every Pod meets every policy."""
    count = 10_000 if is_long else 100
    pod = pods.create()["request"]["object"]
    file = tmp_path / "pods.yaml"
    with file.open("w") as out:
        for number in range(count):
            pod["metadata"]["name"] = f"pod-{number}"
            out.write(f"---\n{yamlwriting.dump(pod)}")
    done, wall, cpu, resident = _run("apply", str(POLICIES), "--resource", str(file))
    size = file.stat().st_size / 2**20
    figure(f"{count} Pods ({size:.0f} MiB)  {wall:6.2f} s wall   {cpu:6.2f} s CPU   {resident:4.0f} MiB in one process")
    assert f"to {count} resource(s)" in done.stdout
    assert "error: 0" in done.stdout


def test_start(is_long, figure):
    """The help of a command, which imports what the command does."""
    walls = []
    for _ in range(9 if is_long else 1):
        done, wall, cpu, _ = _run("apply", "--help")
        assert done.returncode == 0, os.linesep.join(done.stderr.splitlines()[-3:])
        walls.append(wall)
    figure(f"start  {statistics.median(walls):5.2f} s   last {cpu:4.2f} s CPU")
