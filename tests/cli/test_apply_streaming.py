"""`kymograph apply` on large files: memory does not grow with the objects, and a terminal shows how far it is."""

import os
import pty
import subprocess
import sys

import pytest

from support import commands

COMMAND = (sys.executable, "-m", "kymograph.cli.main", "apply")

POLICY = """
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: require-owner}
spec:
  rules:
    - name: owner
      match: {any: [{resources: {kinds: [ConfigMap]}}]}
      validate: {message: whose is it?, pattern: {metadata: {labels: {owner: "?*"}}}}
"""
OBJECT = """---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings-{number}, labels: {{owner: somebody}}}}
data:
  text: "{text}"
"""


@pytest.fixture
def written(tmp_path):
    """Writes the policy and a file of so many objects of two kilobytes; gives the arguments."""
    (tmp_path / "policy.yaml").write_text(POLICY)

    def write(count):
        file = tmp_path / f"objects-{count}.yaml"
        with file.open("w") as out:
            out.writelines(OBJECT.format(number=number, text=f"{number} " * 400) for number in range(count))
        return str(tmp_path / "policy.yaml"), "--resource", str(file)

    return write


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_memory_does_not_grow_with_the_objects(written, jobs):
    """Five times the objects take less than a fifth more; kept, these would take more than all the rest does."""
    few, many = (commands.run(*COMMAND, *written(count), "--jobs", jobs) for count in (1_000, 5_000))
    assert "pass: 1000" in few.output, few.errors
    assert "pass: 5000" in many.output, many.errors
    assert many.resident < 1.2 * few.resident


def test_a_terminal_shows_how_far_it_is(written):
    """There is a bar while objects are handled, and nothing is left of it at the end."""
    terminal, other_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        (*COMMAND, *written(1_000)), stdout=subprocess.PIPE, stderr=other_end, env=environment
    ) as ran:
        os.close(other_end)
        shown = bytearray()
        try:
            while block := os.read(terminal, 4096):
                shown += block
        except OSError:  # what Linux says when nobody has the other end any more
            pass
        output = ran.stdout.read()
    os.close(terminal)
    assert ran.returncode == 0
    assert b"pass: 1000" in output
    assert b"Applying" in shown
    assert b"%" in shown
    assert shown.rstrip().endswith(b"\x1b[2K")
