"""Running `kymograph test` in this process."""

import json
from typing import NamedTuple

import pytest

from kymograph.cli import main


class Ran(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def rows(self):
        """The rows of `-o json`."""
        return json.loads(self.out)


@pytest.fixture
def run(capsys):
    """Run a command line.

    What it prints is taken where Python prints: gRPC, which other tests of the process may have in use, writes to the
    file descriptor about each process that is forked.
    """

    def go(*arguments):
        capsys.readouterr()
        try:
            status = main.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        return Ran(status, *capsys.readouterr())

    return go


@pytest.fixture
def tested(run):
    """The rows of the tests in a folder, without their place: (policy, rule, resource, result, reason)."""

    def go(folder, *flags):
        ran = run("test", folder, "-o", "json", *flags)
        return [(row["POLICY"], row["RULE"], row["RESOURCE"], row["RESULT"], row["REASON"]) for row in ran.rows]

    return go
