"""`kymograph apply`: apply policies to objects from files or a cluster, as `kyverno apply` does.

Exit status: 0 if nothing failed; 1 if a rule failed or erred, a policy or an object cannot be used, or the arguments
contradict each other; that of `--warn-exit-code` if there were only warnings; 2 if the command line itself is wrong.
"""

import argparse
import gc
import sys

from kymograph.cli import endings
from kymograph.cli.applying import options as flags
from kymograph.cli.applying import run as running
from kymograph.cli.offline import errors

_COLLECT_EVERY = 100_000
"""Allocations between two looks of Python's garbage collector: objects are many, and hardly any is in a cycle."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    flags.declare(parser)


@endings.may_be_cut_short
def run(options: argparse.Namespace) -> int:
    """Apply the policies; returns the exit status."""
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    try:
        flags.check(options)
        return running.run(options, sys.stdout)
    except (errors.OfflineError, flags.Contradiction) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
