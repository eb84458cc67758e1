"""Keeps the certificate Secret in order, with as many replicas as like to.

Renewed when it is due, and when somebody asks: the annotation `kymograph.dev/rotate` on the Secret, with a value that
it did not have before, wants a new serving certificate; the word `ca` in the value wants a new authority too.
"""

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Protocol

from kymograph.runtime.certificates import errors, rotation
from kymograph.runtime.certificates.bundle import Bundle, Names, from_secret, to_secret

ROTATE = "kymograph.dev/rotate"
ROTATED = "kymograph.dev/rotated"
"""Annotations of the Secret: what is asked for, and what was asked for when it was done last."""

_AUTHORITY_TOO = re.compile(r"\bca\b", re.IGNORECASE)

_ATTEMPTS = 5
"""Reads and writes until a conflict is reported: every loser reads what the winner wrote, so two are enough."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """The Secret as it was read.

    Attributes:
        data: Its `data`: base64 values.
        version: Its `resourceVersion`.
        annotations: Its annotations.
    """

    data: Mapping[str, str] = dataclasses.field(repr=False)
    version: str
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def wish(self) -> str:
        """The rotation that is asked for and not done yet; empty for none."""
        asked = self.annotations.get(ROTATE, "")
        return asked if asked != self.annotations.get(ROTATED) else ""


class Store(Protocol):
    """Where the bundle is kept: one Secret."""

    async def read(self) -> Stored | None:
        """The Secret, or None if there is none."""
        ...

    async def write(self, data: Mapping[str, str], annotations: Mapping[str, str], version: str | None) -> None:
        """Changes the Secret of that version, whose other annotations stay; creates it if the version is None.

        Raises:
            Conflict: It has another version by now, or exists already.
        """
        ...


class Manager:
    """Reads the bundle, renews it when it is due, and settles who of several replicas does.

    Args:
        store: Where the bundle is kept.
        names: Whom the serving certificate has to be for.
        clock: The time, with a time zone; that of whoever verifies what is served.
    """

    __slots__ = ("_clock", "_last", "_names", "_store")

    def __init__(self, store: Store, names: Names, clock: Callable[[], dt.datetime]) -> None:
        self._store = store
        self._names = names
        self._clock = clock
        self._last: Bundle | None = None

    async def current(self) -> Bundle:
        """The bundle to serve with now. Call it at the start, when the Secret changes, and every few hours.

        A Secret that is gone or cannot be read as a bundle is made anew: it is the operator's own. The authorities
        of the bundle before stay trusted beside the new one.

        Raises:
            Conflict: Others kept writing the Secret.
        """
        for _ in range(_ATTEMPTS):
            stored = await self._store.read()
            kept, now = _bundle(stored), self._clock()
            bundle = rotation.renew(kept, self._names, now, self._last.authorities if self._last is not None else b"")
            wish = stored.wish if stored is not None else ""
            if wish:
                authority_too = _AUTHORITY_TOO.search(wish) is not None
                bundle = rotation.rotate(bundle, self._names, now, authority_too=authority_too)
            if bundle is not kept:
                version = stored.version if stored is not None else None
                try:
                    await self._store.write(to_secret(bundle), {ROTATED: wish} if wish else {}, version)
                except errors.Conflict:
                    continue
            self._last = bundle
            return bundle
        raise errors.Conflict("others keep writing the certificate Secret")


def _bundle(stored: Stored | None) -> Bundle | None:
    if stored is None:
        return None
    try:
        return from_secret(stored.data)
    except errors.Unparsable:
        return None
