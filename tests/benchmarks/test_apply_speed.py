"""`kymograph apply` on many Pods, and how long the command line takes to start.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_apply_speed.py

The 17 policies of the Pod Security Standards on 10,000 Pods in one YAML file; wall time, CPU of all processes, and the
largest resident set of a single one of them. With `KYMOGRAPH_KYVERNO=FILE`, Kyverno's command line, it does the same
work in the same run.
"""

import os
import pathlib
import statistics
import sys

import pytest

from kymograph.apimachinery import yamlwriting
from support import commands, pods

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

POLICIES = pathlib.Path(__file__).parent / "policies"
COMMAND = (sys.executable, "-m", "kymograph.cli.main")


def test_apply(is_long, figure, peer, tmp_path):
    """Every Pod meets every policy."""
    count = 10_000 if is_long else 100
    pod = pods.create()["request"]["object"]
    file = tmp_path / "pods.yaml"
    with file.open("w") as out:
        for number in range(count):
            pod["metadata"]["name"] = f"pod-{number}"
            out.write(f"---\n{yamlwriting.dump(pod)}")
    work = ("apply", str(POLICIES), "--resource", str(file))
    ran = commands.run(*COMMAND, *work)
    figure(f"{count} Pods ({file.stat().st_size / 2**20:.0f} MiB)  {ran}")
    assert f"to {count} resource(s)" in ran.output
    assert "error: 0" in ran.output
    if peer is not None:
        theirs = commands.run(peer, *work)
        figure(f"the same by Kyverno  {theirs}   {theirs.wall / ran.wall:.1f} times the wall time")


def test_start(is_long, figure):
    """The help of a command, which imports what the command does."""
    walls = []
    for _ in range(9 if is_long else 1):
        ran = commands.run(*COMMAND, "apply", "--help")
        assert ran.status == 0, os.linesep.join(ran.errors.splitlines()[-3:])
        walls.append(ran.wall)
    figure(f"start  {statistics.median(walls):5.2f} s   last {ran.cpu:4.2f} s CPU")
