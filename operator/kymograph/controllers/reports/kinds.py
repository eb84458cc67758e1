"""Which resource serves an object: what a review claims, held against what the API server says it serves.

A review is untrusted. Only a resource that discovery knows, with the kind that the review gave it, is ever called or
named in a report; so nothing of a review gets into a path unchecked.
"""

from collections.abc import Callable
from typing import Protocol

from kymograph.clients.kubernetes import discovery, resources
from kymograph.controllers.reports.findings import Subject

REFRESH_AFTER = 10.0
"""Seconds before an unknown kind is a reason to ask the API server again: made-up kinds must not make us ask often."""


class Catalogues(Protocol):
    """Knows what the API server serves."""

    @property
    def current(self) -> discovery.Catalogue:
        """The latest known."""

    async def refresh(self) -> discovery.Catalogue:
        """Ask the API server again."""


class Kinds:
    """Finds resources.

    Args:
        catalogues: What the API server serves.
        clock: Monotonic seconds.
    """

    def __init__(self, catalogues: Catalogues, clock: Callable[[], float]) -> None:
        self._catalogues = catalogues
        self._clock = clock
        self._asked_at = float("-inf")
        self._table: dict[tuple[str, str, str], discovery.Served] = {}
        self._read_from: discovery.Catalogue | None = None

    async def resource(self, subject: Subject, plural: str) -> resources.Resource | None:
        """The resource that serves an object, None where there is none (yet).

        Raises:
            KubernetesError: The API server cannot be asked.
        """
        found = self._look_up(subject, plural)
        if found is None and self._clock() - self._asked_at >= REFRESH_AFTER:
            self._asked_at = self._clock()
            await self._catalogues.refresh()
            found = self._look_up(subject, plural)
        return found

    def _look_up(self, subject: Subject, plural: str) -> resources.Resource | None:
        catalogue = self._catalogues.current
        if catalogue is not self._read_from:
            self._table = {
                (each.group, each.version, each.plural): each
                for each in catalogue.served
                if not each.subresource and "get" in each.verbs
            }
            self._read_from = catalogue
        served = self._table.get((subject.group, subject.version, plural))
        if served is None or served.kind != subject.kind or served.namespaced != bool(subject.namespace):
            return None
        return resources.Resource(served.group, served.version, served.plural, served.kind, served.namespaced)
