"""How many UpdateRequests there may be at once, seen from admission.

What nobody works off would fill etcd: so the operator notes no more than a bound. How many there are every replica asks
the API server, which tells the number without the objects; once a second at most, while reviews go on with the number
from before and what they have added themselves. Several replicas may so exceed the bound by what they note in a second.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.telemetry import current

logger = logging.getLogger(__name__)

FRESH = 1.0
"""Seconds that a number counts without a look at the cluster; nothing is refused because of an older one."""

STALE = 10.0
"""Seconds after which nothing is allowed because of it, either: the review waits for the next."""


class Counting(Protocol):
    """What is asked of a Kubernetes client."""

    async def count(self, resource: resources.Resource, *, namespace: str = "") -> int:
        """How many objects there are."""


class Room:
    """Room for UpdateRequests. Where the API server does not tell how many there are, there is room.

    Args:
        client: Counts them.
        namespace: Where they are.
        most: Gives how many there may be.
        clock: Monotonic seconds.
    """

    def __init__(self, client: Counting, namespace: str, most: Callable[[], int], clock: Callable[[], float]) -> None:
        self._client = client
        self._namespace = namespace
        self._most = most
        self._clock = clock
        self._known = 0
        self._at: float | None = None
        self._counting: asyncio.Task[None] | None = None

    @property
    def most(self) -> int:
        """How many there may be."""
        return self._most()

    async def take(self, wanted: int) -> bool:
        """Whether so many more may be noted; they count as noted then."""
        passed = STALE if self._at is None else self._clock() - self._at
        if passed >= FRESH:
            if self._counting is None:
                with current.untraced():
                    self._counting = asyncio.create_task(self._count())
            if passed >= STALE or not self._fits(wanted):
                await asyncio.shield(self._counting)
        fits = self._fits(wanted)
        if fits:
            self._known += wanted
        return fits

    def _fits(self, wanted: int) -> bool:
        return self._known + wanted <= self._most()

    async def _count(self) -> None:
        try:
            self._known = await self._client.count(resources.UPDATE_REQUESTS, namespace=self._namespace)
        except errors.KubernetesError as error:
            logger.debug("How many UpdateRequests there are is not known: %s", error)
            self._known = 0
        finally:
            self._at = self._clock()
            self._counting = None
