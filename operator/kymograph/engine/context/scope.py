"""A context with an entry that is loaded when an expression first names it.

Entries form a chain, each a link on top of those before it: an entry sees the earlier ones and not the later ones, a
second entry of a name hides the first, and an element of a loop is one more link. Nothing is copied; each link keeps
what has been looked up through it, which is safe because nothing that a name has once meant ever changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, needs, watching
from kymograph.engine.context.entry import Entry, merged

_NOTHING: Mapping[str, Any] = {}


class Scope(dict[str, Any]):
    """One link: values of its own, at most one entry to be loaded, and everything that the link below has.

    Args:
        outer: The link below.
        own: Values that hide those below.
        entry: The entry to be loaded; None for none.
        budget: Pays for loading, is asked for facts, and has the log of steps.
    """

    __slots__ = ("_budget", "_entry", "_failure", "_outer")

    def __init__(
        self,
        outer: dict[str, Any],
        own: Mapping[str, Any] = _NOTHING,
        entry: Entry | None = None,
        budget: budgets.Budget | None = None,
    ) -> None:
        super().__init__(own)
        self._outer = outer
        self._entry = entry
        self._budget = budget
        self._failure = ""

    def __missing__(self, name: str) -> Any:
        entry, budget = self._entry, self._budget
        if entry is not None and budget is not None and entry.name == name:
            try:
                value = self._load(entry, budget)
            except errors.Unavailable:
                self._entry = None
                value = self._outer[name]
        else:
            value = self._outer[name]
        self[name] = value
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a name, loaded if need be, or the default where there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        """Whether a name has a value, or an entry that may have one."""
        return (
            super().__contains__(name) or (self._entry is not None and self._entry.name == name) or name in self._outer
        )

    def _load(self, entry: Entry, budget: budgets.Budget) -> Any:
        if self._failure:
            raise errors.LoadFailed(self._failure)
        if entry.asks is not None and budget.lacks(entry.asks):
            raise errors.Unavailable(entry.name)
        log, clock = budget.log, budget.clock
        if log is None or clock is None:
            return self._value(entry, budget)
        log.append((watching.Step.CONTEXT, entry.name, clock()))
        outcome, detail = "error", ""
        try:
            value = self._value(entry, budget)
            outcome = "ok"
        except needs.Needed:
            outcome = ""  # it goes on when the fact is there
            raise
        except (errors.Unavailable, KeyError):
            outcome = "skip"
            raise
        except errors.EvaluationError as error:
            detail = str(error)
            raise
        finally:
            if outcome:
                log.append((outcome, detail, clock()))
        return value

    def _value(self, entry: Entry, budget: budgets.Budget) -> Any:
        budget.spend()
        try:
            value = entry.load(self._outer, budget)
            if entry.counts:
                budget.load(_size(value, budget))
            if entry.merges and isinstance(value, dict) and isinstance(before := self._outer.get(entry.name), dict):
                value = merged(before, value, budget)
        except (errors.BudgetExhausted, errors.Unavailable):
            raise
        except errors.EvaluationError as error:
            self._failure = str(error)
            raise errors.LoadFailed(self._failure) from error
        return value


def nested(
    context: dict[str, Any], own: Mapping[str, Any], entries: Sequence[Entry], budget: budgets.Budget
) -> dict[str, Any]:
    """A context on top of another: values that hide those below, then entries, each of which sees those before it.

    Args:
        context: The context below, which is not changed.
        own: The values, such as the `element` of a loop.
        entries: Entries to be loaded when they are named.
        budget: Pays for loading them.

    Returns:
        A plain dict where neither this nor the context below has entries; else a `Scope`.
    """
    if own or not entries:
        context = {**context, **own} if type(context) is dict else Scope(context, own)
    for entry in entries:
        context = Scope(context, entry=entry, budget=budget)
    return context


def _size(value: Any, budget: budgets.Budget) -> int:
    """Bytes of a value as JSON; no more of it is walked than may still be loaded."""
    if isinstance(value, str):
        return len(value) + 2
    if not isinstance(value, list | dict):
        return 8
    left = budget.loadable
    size, waiting = 0, [value]
    while waiting and size <= left:
        each = waiting.pop()
        size += 2 + len(each)
        for item in each.values() if isinstance(each, dict) else each:
            if isinstance(item, str):
                size += len(item) + 2
            elif isinstance(item, list | dict):
                waiting.append(item)
            else:
                size += 8
        if isinstance(each, dict):
            size += sum(map(len, each)) + 3 * len(each)
    budget.spend(1 + size // 64)
    return size
