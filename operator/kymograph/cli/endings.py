"""How a command ends that is cut short: nobody reads on (`| head`), or somebody presses Ctrl-C. Neither is an error.

Not for `run`, whose sockets break pipes as well: what that means is for others to say.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable

INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


def may_be_cut_short(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Decorate the `run` of a command that prints: what it has printed is out when it returns."""

    @functools.wraps(run)
    def ending(options: argparse.Namespace) -> int:
        try:
            status = run(options)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has no reader
            return 1
        except KeyboardInterrupt:
            return INTERRUPTED
        return status

    return ending
