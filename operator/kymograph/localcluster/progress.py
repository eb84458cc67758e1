"""Shows how far a long step is: one line that renews itself on a terminal, now and then a line elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_ON_TERMINAL = 0.1
_ELSEWHERE = 30.0


class Progress:
    """Writes at most one line per interval, so that it may be told as often as the work likes.

    Args:
        out: Where to; None is standard error.
        clock: Seconds, monotonic.
    """

    def __init__(self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out or sys.stderr
        self._terminal = self._out.isatty()
        self._clock = clock
        self._started = clock()
        self._next = self._started

    def say(self, text: str) -> None:
        """Writes a line that stays."""
        self._write(f"{text}\n")

    def show(self, text: str) -> None:
        """Writes a line with the time elapsed, which the next one replaces on a terminal, unless one was just shown."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (_ON_TERMINAL if self._terminal else _ELSEWHERE)
        elapsed = int(now - self._started)
        self._write(f"{text} ({elapsed // 60}:{elapsed % 60:02})" + ("" if self._terminal else "\n"))

    def _write(self, text: str) -> None:
        self._out.write(f"\r\x1b[K{text}" if self._terminal else text)
        self._out.flush()
