"""Objects that policies are not for: `resourceFilters`, in Kyverno's grammar. Pure.

`[Kind,Namespace,Name]`, one after the other, in one string. The kind is a selector as in policies, with group, version
and subresource where wanted; all parts may hold wildcards. What is left out from the right is empty, and matches only
what is empty: `[Node]` is for no object that has a name.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kymograph.apimachinery import gvk, wildcard

_ENTRY = re.compile(r"\[([^\[\]]*)\]")
_PARTS = 3
_REMEMBERED = 1024
_NAMESPACE = ("", "v1", "Namespace")


class Filter(NamedTuple):
    """One compiled filter.

    Attributes:
        selects: Tests (group, version, kind, subresource).
        namespace: Tests a namespace; empty for objects without one.
        name: Tests a name.
    """

    selects: Callable[[str, str, str, str], bool]
    namespace: Callable[[str], bool]
    name: Callable[[str], bool]


def parse(text: str) -> tuple[tuple[Filter, ...], tuple[str, ...]]:
    """Read filters.

    Args:
        text: All of them.

    Returns:
        The filters, and what is wrong with those parts of the text that are none: these filter nothing.
    """
    found, wrong = [], []
    for entry in _ENTRY.findall(text):
        parts = [part.strip() for part in entry.split(",")]
        if len(parts) > _PARTS:
            wrong.append(f"[{entry}]: a filter is [Kind,Namespace,Name]")
            continue
        kind, namespace, name = (*parts, "", "")[:_PARTS]
        try:
            selector = gvk.parse_kind_selector(kind)
        except ValueError as error:
            wrong.append(f"[{entry}]: {error}")
            continue
        found.append(Filter(selector.matcher(), wildcard.compile(namespace), wildcard.compile(name)))
    wrong += [f"{rest!r} is not in brackets" for rest in _between(text)]
    return tuple(found), tuple(wrong)


class Filters:
    """Says which objects are filtered out. A look-up costs what there is for the kind, and nothing for most.

    Args:
        filters: The filters.
    """

    def __init__(self, filters: Sequence[Filter] = ()) -> None:
        self._filters = filters
        self._by_kind: dict[tuple[str, str, str, str], tuple[Filter, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._filters)

    def match(self, kind: tuple[str, str, str], subresource: str, namespace: str, name: str) -> bool:
        """Whether an object is filtered out; a filter for a namespace is for the Namespace itself, too.

        Args:
            kind: Group, version and kind of the object, that of the parent for a request on a subresource.
            subresource: The subresource that a request is on; empty for the object itself.
            namespace: Its namespace; empty where it has none.
            name: Its name; empty where the API server has yet to make one.
        """
        key = (*kind, subresource)
        selected = self._by_kind.get(key)
        if selected is None:
            if len(self._by_kind) >= _REMEMBERED:
                self._by_kind.clear()
            selected = self._by_kind[key] = tuple(each for each in self._filters if each.selects(*key))
        for each in selected:
            if each.namespace(namespace) and each.name(name):
                return True
            if kind == _NAMESPACE and each.namespace(name):
                return True
        return False


def _between(text: str) -> Iterator[str]:
    """What stands outside of brackets and means nothing."""
    for rest in _ENTRY.split(text)[::2]:
        if meaningless := rest.strip(" \t\r\n,"):
            yield meaningless
