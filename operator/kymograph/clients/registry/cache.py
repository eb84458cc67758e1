"""What registries gave, by digest: it never changes, so it is kept until the room is needed."""

import collections
from collections.abc import Hashable


class Cache:
    """Byte strings by key, up to a size; what was not used for the longest time goes first.

    Args:
        size: The most bytes that are held.

    Attributes:
        hits: How often something was looked for and held.
        misses: How often it was not.
    """

    def __init__(self, size: int) -> None:
        self.hits = self.misses = 0
        self._left = size
        self._held: collections.OrderedDict[Hashable, bytes] = collections.OrderedDict()

    def get(self, key: Hashable) -> bytes | None:
        """What is held under a key."""
        value = self._held.get(key)
        if value is None:
            self.misses += 1
            return None
        self.hits += 1
        self._held.move_to_end(key)
        return value

    def put(self, key: Hashable, value: bytes) -> None:
        """Hold a value."""
        before = self._held.pop(key, b"")
        self._held[key] = value
        self._left += len(before) - len(value)
        while self._left < 0:
            _, dropped = self._held.popitem(last=False)
            self._left += len(dropped)
