"""Filters about objects that exist, where nobody asks for anything: no operation, no user.

This is how Kyverno's cleanup controller matches (`pkg/utils/match`): operations are not looked at, and a namespace
selector does not keep Namespaces out.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from kymograph.engine import fields
from kymograph.engine.match import filters, users
from kymograph.engine.match.target import Target


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A compiled `any` or `all` of some filters.

    Attributes:
        holds: Whether an object satisfies it.
        scopes: Its filters, as far as they are known without an object.
        needs_namespace_labels: It looks at the labels of the object's namespace.
    """

    holds: Callable[[Target], bool]
    scopes: tuple[filters.Scope, ...]
    needs_namespace_labels: bool


def read(document: Any, path: str, problems: fields.Problems) -> Block:
    """Compile a block.

    Args:
        document: A map with `any` or `all`.
        path: Its path in the policy.
        problems: Where to note what is wrong, user info among it.
    """
    block = fields.Fields(document, path, problems, ("any", "all"))
    if block.raw("any") and block.raw("all"):
        problems.add(path, "Can't specify any and all together")
    form = "all" if block.raw("all") else "any"
    tests, scopes, needs = [], [], False
    for entry, where in block.items(form):
        found = filters.read(_without(entry, "operations"), where, problems)
        of_namespaces = filters.read(_without(entry, "operations", "namespaceSelector"), where, fields.Problems())
        for name in users.ATTRIBUTES:
            if isinstance(entry, Mapping) and entry.get(name):
                problems.add(f"{where}.{name}", "Usage of user info is forbidden")
        scopes.append(found.scope)
        needs = needs or found.needs_namespace_labels
        tests.append(_test(found, of_namespaces))
    if not tests:
        problems.add(path, "at least one resource filter must be specified")
    if form == "all":
        return Block(filters.every(tests), tuple(scopes), needs)
    return Block(lambda target: any(test(target) for test in tests), tuple(scopes), needs)


def _test(found: filters.Filter, of_namespaces: filters.Filter) -> filters.Test:
    if not found.describes_resource:
        return lambda _target: False
    return lambda target: (of_namespaces if target.is_namespace else found).resource(target)


def _without(entry: Any, *names: str) -> Any:
    resources = entry.get("resources") if isinstance(entry, Mapping) else None
    if not isinstance(resources, Mapping):
        return entry
    return {**entry, "resources": {key: value for key, value in resources.items() if key not in names}}
