"""The `match` and `exclude` blocks of a rule, compiled together to one decision.

A block is `any` of some filters, `all` of some filters, or (the oldest form) one filter itself. `exclude` is looked at
only where `match` holds. An empty filter matches nothing and excludes nothing.
"""

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from kymograph.apimachinery import wildcard
from kymograph.engine import fields
from kymograph.engine.match import filters
from kymograph.engine.match.target import Target

MATCHED = "matched"
UNMATCHED = "unmatched"
EXCLUDED = "excluded"

Decision: TypeAlias = Callable[[Target], str]


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)
class Match:
    """The compiled blocks of a rule.

    Attributes:
        decide: Says of a target whether it is `matched`, `unmatched` or `excluded`.
        scopes: The filters of `match`, as far as they are known without an object.
        conjunction: All of the scopes must hold, not one of them.
        exclusions: What `exclude` certainly takes away: filters of its `any` that look only at kinds and operations.
        needs_namespace_labels: The decision looks at the labels of the object's namespace.
        needs_roles: The decision looks at the roles of the user.
    """

    decide: Decision
    scopes: tuple[filters.Scope, ...]
    conjunction: bool
    exclusions: tuple[filters.Scope, ...]
    needs_namespace_labels: bool
    needs_roles: bool

    def may_select(self, kind: str) -> bool:
        """Whether objects of a kind can match, whatever their group and version; no promise that one does."""
        return any(wildcard.match(selector.kind, kind) for scope in self.scopes for selector in scope.kinds)


_SHARED: weakref.WeakValueDictionary[str, Match] = weakref.WeakValueDictionary()
"""The blocks of all rules that live, as they are written: rules that match alike share a decision.

Most policies of a set select the same few kinds. Those that follow each other are asked once.
"""


class _Block(NamedTuple):
    filters: tuple[filters.Filter, ...]
    form: str  # any, all or resources


def read(rule: Mapping[str, Any], path: str, problems: fields.Problems) -> Match:
    """Compile `match` and `exclude` of a rule.

    Args:
        rule: The rule.
        path: Its path in the policy.
        problems: Where to note what is wrong.

    Returns:
        The compiled blocks; the same object for rules with the same blocks.
    """
    matched = _block(rule.get("match"), f"{path}.match", "match", problems)
    excluded = _block(rule.get("exclude"), f"{path}.exclude", "exclude", problems)
    for index, each in enumerate(matched.filters):
        where = f"{path}.match" if matched.form == "resources" else f"{path}.match.{matched.form}[{index}]"
        if not each.describes_resource:
            problems.add(where, "match resources not specified")
        elif not each.scope.kinds:
            problems.add(
                f"{where}.resources.kinds",
                "at least one element must be specified in a kind block, "
                "the kind attribute is mandatory when working with the resources element",
            )
    written = "" if problems else repr((rule.get("match"), rule.get("exclude")))
    shared = _SHARED.get(written)
    if shared is not None:
        return shared
    includes = _includes(matched)
    excludes = _excludes(excluded)
    match = Match(
        decide=_decision(includes, excludes),
        scopes=tuple(each.scope for each in matched.filters),
        conjunction=matched.form == "all",
        exclusions=tuple(
            each.scope
            for each in excluded.filters
            if each.scope.only_kinds and each.describes_resource and excluded.form == "any"
        ),
        needs_namespace_labels=any(each.needs_namespace_labels for each in (*matched.filters, *excluded.filters)),
        needs_roles=any(each.needs_roles for each in (*matched.filters, *excluded.filters)),
    )
    if written:
        _SHARED[written] = match
    return match


def _block(document: Any, path: str, name: str, problems: fields.Problems) -> _Block:
    if document is None:
        if name == "match":
            problems.add(path, "match resources not specified")
        return _Block((), "any")
    if not isinstance(document, dict):
        problems.add(path, f"must be an object with any, all or resources, not {document!r}")
        return _Block((), "any")
    if document.get("any") and document.get("all"):
        problems.add(path, "Can't specify any and all together")
    form = "any" if document.get("any") else "all" if document.get("all") else "resources"
    if form != "resources" and document.get("resources"):
        problems.add(path, f"can't specify any/all together with {name} resources")
    extra = ("any", "all")
    if form == "resources":
        alone = filters.read(document, path, problems, extra)
        return _Block((alone,), form)
    entries = fields.Fields(document, path, problems, (*filters.FIELDS, *extra)).items(form)
    found = tuple(filters.read(entry, where, problems) for entry, where in entries)
    return _Block(found, form)


def _includes(block: _Block) -> filters.Test:
    tests = tuple(_including(each) for each in block.filters)
    if len(tests) == 1:
        return tests[0]
    if block.form == "all":
        return filters.every(tests)
    return lambda target: any(test(target) for test in tests)


def _including(each: filters.Filter) -> filters.Test:
    resource, user, describes_resource = each.resource, each.user, each.describes_resource
    if user is None:
        return resource if describes_resource else _never

    def includes(target: Target) -> bool:
        if target.user is None:  # background work has no user: what a filter says about one is left out
            return describes_resource and resource(target)
        return resource(target) and user(target)

    return includes


def _excludes(block: _Block) -> filters.Test | None:
    tests = tuple(
        filters.every([each.resource, *([each.user] if each.user else [])])
        for each in block.filters
        if each.describes_resource or each.user
    )
    if not tests or (block.form == "all" and len(tests) < len(block.filters)):
        return None
    if block.form == "all":
        return filters.every(tests)
    return lambda target: any(test(target) for test in tests)


def _decision(includes: filters.Test, excludes: filters.Test | None) -> Decision:
    if excludes is None:

        def decide_included(target: Target) -> str:
            return MATCHED if includes(target) else UNMATCHED

        return decide_included

    def decide(target: Target) -> str:
        if not includes(target):
            return UNMATCHED
        return EXCLUDED if excludes(target) else MATCHED

    return decide


def _never(_target: Target) -> bool:
    return False
