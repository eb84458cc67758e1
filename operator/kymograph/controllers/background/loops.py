"""Finds rules that set each other off without end, and says where to stop.

What the operator itself writes sets off no rule, unless the rule asks for that (`skipBackgroundRequests: false`). Then
each object remembers how long the chain was that wrote it last; a request of our own about it is one longer.
"""

import collections
from collections.abc import Callable, Iterable

from kymograph.controllers import updaterequests

MOST_LINKS = 10
"""The longest chain of rules that set each other off."""

REMEMBERED = 120.0
"""Seconds after which what was written to an object is its own story again."""

MOST_OBJECTS = 10_000
"""Objects that are remembered."""


class Chains:
    """How long the chains are that wrote objects.

    Args:
        account: Gives the operator's own user name.
        clock: Monotonic seconds.
    """

    def __init__(self, account: Callable[[], str], clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._links: collections.OrderedDict[tuple[str, str, str], tuple[int, float]] = collections.OrderedDict()

    def length(self, asked: updaterequests.UpdateRequest) -> int:
        """How many rules have set each other off before this request; 0 where somebody else asked for it."""
        user = ((asked.request or {}).get("userInfo") or {}).get("username")
        if asked.request is None or user != self._account():
            return 0
        lengths = [self._links.get(_place(part.trigger), (0, 0.0)) for part in asked.parts]
        recent = [length for length, when in lengths if when + REMEMBERED > self._clock()]
        return 1 + max(recent, default=0)

    def wrote(self, length: int, objects: Iterable[updaterequests.Reference]) -> None:
        """A chain of that length has written some objects."""
        now = self._clock()
        for each in objects:
            self._links[_place(each)] = length, now
            self._links.move_to_end(_place(each))
        while len(self._links) > MOST_OBJECTS:
            self._links.popitem(last=False)


def _place(each: updaterequests.Reference) -> tuple[str, str, str]:
    return each.kind, each.namespace, each.name
