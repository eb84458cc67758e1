"""A process that dies at one of its calls of the API server: before the call is made, or before its answer is heard."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fakes import objects

_CALLS = ("get", "create", "apply", "update", "merge", "patch", "delete")


class Crashing:
    """A client of an API server in memory, of a process that is killed at one of its calls.

    Args:
        cluster: The API server, which lives on.
        at: The number of the call, from 0; a process that makes fewer lives.
        heard: The call reaches the API server, only its answer is not heard any more.

    Attributes:
        made: How many calls were made.
        dead: Set when it is killed.
    """

    def __init__(self, cluster: objects.Objects, at: int, *, heard: bool) -> None:
        self._cluster = cluster
        self._at = at
        self._heard = heard
        self.made = 0
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._cluster, name)
        if name not in _CALLS:
            return call

        async def counted(*given: Any, **more: Any) -> Any:
            await self._pass(before=True)
            answer = await call(*given, **more)
            await self._pass(before=False)
            return answer

        return counted

    async def pages(self, *given: Any, **more: Any) -> AsyncIterator[dict[str, Any]]:
        """A list is a call, too."""
        await self._pass(before=True)
        async for page in self._cluster.pages(*given, **more):
            yield page

    async def _pass(self, *, before: bool) -> None:
        """Go on, or die: a dead process never hears of anything again."""
        if self.dead.is_set() or (before is not self._heard and self.made == self._at):
            self.dead.set()
            await asyncio.Event().wait()
        if not before:
            self.made += 1
