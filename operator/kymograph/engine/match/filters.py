"""One filter of a `match` or `exclude` block: all its attributes must hold, in each list one entry is enough."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from kymograph.apimachinery import gvk, labels, wildcard
from kymograph.engine import fields
from kymograph.engine.match import users
from kymograph.engine.match.target import Target

Test: TypeAlias = Callable[[Target], bool]

OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT")
"""What an API server asks admission about; the default of a filter without `operations`."""

DESCRIPTION = (
    "kinds",
    "name",
    "names",
    "namespaces",
    "annotations",
    "selector",
    "namespaceSelector",
    "operations",
)
"""The fields of `resources`."""

FIELDS = ("resources", *users.ATTRIBUTES)
"""The fields of a filter."""

_REMEMBERED_KINDS = 1024
_EPHEMERAL_CONTAINERS = ("", "v1", "Pod", "ephemeralcontainers")


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """The part of a filter that is known without an object, from which webhook rules are derived.

    Attributes:
        kinds: The kinds selected; none selects every kind.
        operations: The operations selected, all four where the filter names none.
        namespaces: Wildcards of namespaces; none selects all.
        only_kinds: The filter has no other attributes than kinds and operations.
    """

    kinds: tuple[gvk.KindSelector, ...]
    operations: tuple[str, ...]
    namespaces: tuple[str, ...]
    only_kinds: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """A compiled filter.

    Attributes:
        resource: Whether the object satisfies the `resources`; holds if there are none.
        user: Whether the user satisfies the user info; None where the filter has none.
        describes_resource: The filter has a `resources` that says anything.
        scope: What is known of it without an object.
        needs_namespace_labels: It looks at the labels of the object's namespace.
        needs_roles: It looks at the roles of the user.
    """

    resource: Test
    user: Test | None
    describes_resource: bool
    scope: Scope
    needs_namespace_labels: bool
    needs_roles: bool


def read(document: Any, path: str, problems: fields.Problems, extra: Sequence[str] = ()) -> Filter:
    """Compile one filter: `resources` and the user info (`roles`, `clusterRoles`, `subjects`).

    Args:
        document: The filter; also a whole block in the form without `any` and `all`.
        path: Its path in the policy.
        problems: Where to note what is wrong.
        extra: Further fields the document may have, which others read.
    """
    outer = fields.Fields(document, path, problems, (*FIELDS, *extra))
    who = users.read(outer)
    user = every([each.test for each in who]) if who else None
    inner = fields.Fields(outer.raw("resources"), outer.at("resources"), problems, DESCRIPTION)
    if "name" in inner and "names" in inner:
        problems.add(inner.path, "Both name and names can not be specified together")
    operations = inner.texts("operations", among=OPERATIONS)
    selectors = _kinds(inner)
    namespaces = inner.texts("namespaces")
    names = inner.texts("names") or ((inner.text("name"),) if inner.text("name") else ())
    annotations = inner.table("annotations")
    selector = _selector(inner, "selector", may_be_empty=False)
    namespace_selector = _selector(inner, "namespaceSelector", may_be_empty=True)
    tests: list[Test] = []
    if operations:
        tests.append(_operation_test(frozenset(operations)))
    if selectors:
        tests.append(_kind_test(selectors))
    if names:
        tests.append(_name_test(names))
    if namespaces:
        tests.append(_namespace_test(namespaces))
    if annotations:
        tests.append(_annotation_test(annotations))
    if selector is not None:
        tests.append(_label_test(selector))
    if namespace_selector is not None:
        tests.append(_namespace_label_test(namespace_selector))
    plain = len(tests) == bool(operations) + bool(selectors) and user is None
    return Filter(
        resource=every(tests),
        user=user,
        describes_resource=bool(tests),
        scope=Scope(selectors, operations or OPERATIONS, namespaces, only_kinds=plain),
        needs_namespace_labels=namespace_selector is not None,
        needs_roles=any(each.needs_roles for each in who),
    )


def selects(selectors: Sequence[gvk.KindSelector], kind: tuple[str, str, str, str]) -> bool:
    """Whether one of some selectors selects a kind: (group, version, kind, subresource).

    A selector of Pods also selects the containers added to them later, whether or not it says so.
    """
    if any(selector.matcher()(*kind) for selector in selectors):
        return True
    return kind == _EPHEMERAL_CONTAINERS and any(
        dataclasses.replace(selector, subresource="*").matcher()(*kind) for selector in selectors
    )


def every(tests: Sequence[Test]) -> Test:
    """A test that holds if all of some hold."""
    if len(tests) == 1:
        return tests[0]
    conjuncts = tuple(tests)

    def holds(target: Target) -> bool:
        for test in conjuncts:  # noqa: SIM110 - a generator costs three times the loop on the hot path
            if not test(target):
                return False
        return True

    return holds


def _kinds(inner: fields.Fields) -> tuple[gvk.KindSelector, ...]:
    selectors = []
    for index, text in enumerate(inner.texts("kinds")):
        try:
            selectors.append(gvk.parse_kind_selector(text))
        except ValueError as error:
            inner.wrong(f"kinds[{index}]", str(error))
    return tuple(selectors)


def _selector(inner: fields.Fields, name: str, *, may_be_empty: bool) -> labels.Matcher | None:
    value = inner.raw(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        inner.wrong(name, "must be a label selector")
        return None
    if labels.is_empty(value) and not may_be_empty:
        inner.wrong(name, "The requirements are not specified in selector")
        return None
    try:
        return labels.matcher(value)
    except ValueError as error:
        inner.wrong(name, str(error))
        return None


def _operation_test(operations: frozenset[str]) -> Test:
    return lambda target: target.operation in operations


def _kind_test(selectors: tuple[gvk.KindSelector, ...]) -> Test:
    remembered: dict[tuple[str, str, str, str], bool] = {}

    def is_kind(target: Target) -> bool:
        kind = target.kind
        known = remembered.get(kind)
        if known is None:
            known = selects(selectors, kind)
            if len(remembered) >= _REMEMBERED_KINDS:
                remembered.clear()
            remembered[kind] = known
        return known

    return is_kind


def _name_test(names: tuple[str, ...]) -> Test:
    matchers = tuple(wildcard.compile(name) for name in names)
    return lambda target: any(matches(target.name) for matches in matchers)


def _namespace_test(namespaces: tuple[str, ...]) -> Test:
    matchers = tuple(wildcard.compile(namespace) for namespace in namespaces)

    def is_in_namespace(target: Target) -> bool:
        namespace = target.name if target.is_namespace else target.namespace
        return any(matches(namespace) for matches in matchers)

    return is_in_namespace


def _annotation_test(annotations: dict[str, str]) -> Test:
    wanted = tuple((wildcard.compile(key), wildcard.compile(value)) for key, value in annotations.items())

    def is_annotated(target: Target) -> bool:
        return all(
            any(key(a_key) and value(a_value) for a_key, a_value in target.annotations.items()) for key, value in wanted
        )

    return is_annotated


def _label_test(selector: labels.Matcher) -> Test:
    return lambda target: selector(target.labels)


def _namespace_label_test(selector: labels.Matcher) -> Test:
    return lambda target: not target.is_namespace and selector(target.namespace_labels)
