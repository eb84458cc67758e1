"""Finds rules that set each other off without end, and says where to stop.

What the operator itself writes sets off no rule, unless the rule asks for that (`skipBackgroundRequests: false`). Then
each object remembers how long the chain was that wrote it last; a request of our own about it is one longer. That is
noted before the write: what a write sets off may be worked on before the write is answered.
"""

import collections
from collections.abc import Callable

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

    def writes(self, asked: updaterequests.UpdateRequest, length: int, target: updaterequests.Reference) -> None:
        """A request whose chain has that length is about to write an object.

        What nobody asked for (an object put back as its rule has it) ends no chain: it goes on from where it was.
        """
        now, place = self._clock(), _place(target)
        if asked.request is None:
            before, when = self._links.get(place, (0, 0.0))
            length = before if when + REMEMBERED > now else 0
        self._links[place] = length, now
        self._links.move_to_end(place)
        while len(self._links) > MOST_OBJECTS:
            self._links.popitem(last=False)


def _place(each: updaterequests.Reference) -> tuple[str, str, str]:
    return each.kind, each.namespace, each.name
