"""What has changed about policies, for whoever follows it.

Every replica remembers what went while it was running, so that whoever leads next knows it too.
"""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from kymograph.controllers import policies
from kymograph.controllers.background import downstream, generating, moving
from kymograph.engine import policy as compiled

MOST_GONE = 1_000
"""Rules that went which are remembered for the next leader."""


class Gone(NamedTuple):
    """A rule that synchronized and is no more."""

    policy: str
    rule: str
    about: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]


class PolicyChanges:
    """Remembers what has changed; lives as long as the process.

    Args:
        store: The policies.
    """

    def __init__(self, store: policies.PolicyStore) -> None:
        self._store = store
        self._known: dict[policies.Key, policies.Held] = {}
        self.gone: list[Gone] = []
        self.moved: list[moving.Moved] = []
        self.changed: dict[policies.Key, policies.Held] = {}
        self.news = asyncio.Event()
        store.listen(self._listen)

    def is_moving(self, policy: str, rule: str) -> bool:
        """Whether something that a rule generated, which names another target now, is still to be let go of."""
        return any((each.policy, each.rule) == (policy, rule) for each in self.moved)

    def _listen(self, key: policies.Key, held: policies.Held | None) -> None:
        before = self._known.get(key)
        after = held.compiled if held is not None else None
        if held is not None and after is None:
            return  # it cannot be enforced as it is now; what was generated waits for a better version
        if before is not None and before.compiled is not None:
            self.gone += _lost(before.compiled, before, after)
            del self.gone[:-MOST_GONE]
            if held is not None and after is not None and held.uid == before.uid:
                self.moved += moving.between(before.compiled, held, after)
                del self.moved[:-MOST_GONE]
        if held is None:
            self._known.pop(key, None)
            self.changed.pop(key, None)
        else:
            self._known[key] = held
            if before is None or before.generation != held.generation or before.uid != held.uid:
                self.changed[key] = held
        self.news.set()


def _lost(
    before: compiled.CompiledPolicy, held: policies.Held, after: compiled.CompiledPolicy | None
) -> Iterable[Gone]:
    """The rules of a policy whose work is to be undone, because they are no more."""
    left = {rule.name for rule in after.generate.every} if after is not None else set()
    for rule in before.generate.every:
        generate = generating.written(before, rule)
        if rule.name in left or not rule.body.synchronize or downstream.outlives(generate):
            continue
        about = (held.uid, str(held.generation))
        yield Gone(before.key, rule.name, about, tuple(downstream.kinds_of(generate)))
