"""Keeps the certificate Secret in order, with as many replicas as like to."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Protocol

from kymograph.runtime.certificates import errors, rotation
from kymograph.runtime.certificates.bundle import Bundle, Names, from_secret, to_secret

_ATTEMPTS = 5
"""Reads and writes until a conflict is reported: every loser reads what the winner wrote, so two are enough."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """The Secret as it was read.

    Attributes:
        data: Its `data`: base64 values.
        version: Its `resourceVersion`.
    """

    data: Mapping[str, str] = dataclasses.field(repr=False)
    version: str


class Store(Protocol):
    """Where the bundle is kept: one Secret."""

    async def read(self) -> Stored | None:
        """The Secret, or None if there is none."""
        ...

    async def write(self, data: Mapping[str, str], version: str | None) -> None:
        """Replaces the Secret of that version; creates it if the version is None.

        Raises:
            Conflict: It has another version by now, or exists already.
        """
        ...


class Manager:
    """Reads the bundle, renews it when it is due, and settles who of several replicas does.

    Args:
        store: Where the bundle is kept.
        names: Whom the serving certificate has to be for.
        clock: The time, with a time zone.
    """

    __slots__ = ("_clock", "_names", "_store")

    def __init__(self, store: Store, names: Names, clock: Callable[[], dt.datetime]) -> None:
        self._store = store
        self._names = names
        self._clock = clock

    async def current(self) -> Bundle:
        """The bundle to serve with now. Call it at the start, when the Secret changes, and every few hours.

        A Secret that cannot be read as a bundle is replaced: it is the operator's own.

        Raises:
            Conflict: Others kept writing the Secret.
        """
        for _ in range(_ATTEMPTS):
            stored = await self._store.read()
            kept = _bundle(stored)
            bundle = rotation.renew(kept, self._names, self._clock())
            if bundle is kept:
                return bundle
            try:
                await self._store.write(to_secret(bundle), stored.version if stored is not None else None)
            except errors.Conflict:
                continue
            return bundle
        raise errors.Conflict("others keep writing the certificate Secret")


def _bundle(stored: Stored | None) -> Bundle | None:
    if stored is None:
        return None
    try:
        return from_secret(stored.data)
    except errors.Unparsable:
        return None
