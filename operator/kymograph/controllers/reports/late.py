"""New objects that were not stored when their reports were to be written: other webhooks may take half a minute.

Each is looked for once more. Reviews may be forged, so few are remembered, and nothing else waits because of them. A
change of an object that exists is not looked for again: it could not be told from the same change by somebody else.
"""

import asyncio
import collections
import dataclasses

from kymograph.controllers.reports import queue
from kymograph.controllers.reports.findings import Findings

AFTER = 32.0
"""Seconds until the second look: validating webhooks are asked at once, and may take 30 s."""

MOST = 1_024
"""Objects that are looked for again: some 8 MB, and 32 reads a second. For more the first look was the last."""

LOOK_EVERY = 1.0
"""Seconds between two looks at whose time has come."""


class LateObjects:
    """Remembers what was found in them.

    Args:
        work: Where it goes when its time has come.
    """

    def __init__(self, work: queue.WorkQueue) -> None:
        self._work = work
        self._waiting: collections.deque[tuple[float, Findings]] = collections.deque()

    def take(self, findings: Findings) -> None:
        """An object was not there: look for it again, if it was to be created and has not been looked for twice."""
        if not findings.replaces and not findings.late and len(self._waiting) < MOST:
            due = asyncio.get_running_loop().time() + AFTER
            self._waiting.append((due, dataclasses.replace(findings, late=True)))

    async def run(self) -> None:
        """Have objects looked for again until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOK_EVERY)
            while self._waiting and self._waiting[0][0] <= clock():
                self._work.put_back(self._waiting.popleft()[1])
