"""A command that is cut short ends like any other: without a traceback, with a status that says so."""

import argparse
import os
import subprocess
import sys

import pytest

from kymograph.cli import endings


@pytest.mark.parametrize("arguments", [["jp", "function", "abs"], ["jp", "function"]], ids=["little", "much"])
def test_nobody_reads_on(arguments) -> None:
    """However little there is to print: it is not found out after the end."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "kymograph.cli.main", *arguments]
        ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_interrupted() -> None:
    """As shells have it."""

    @endings.may_be_cut_short
    def run(_options: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    assert run(argparse.Namespace()) == 130


def test_what_is_not_cut_short() -> None:
    """Its status and its errors are its own."""

    @endings.may_be_cut_short
    def run(options: argparse.Namespace) -> int:
        return 10 // options.by

    assert run(argparse.Namespace(by=5)) == 2
    with pytest.raises(ZeroDivisionError):
        run(argparse.Namespace(by=0))
