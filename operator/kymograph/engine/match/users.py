"""The user info of a filter: `subjects`, `roles` and `clusterRoles`. Each that it has must hold, one entry is enough.

Which roles a user has is not known here: whoever asks for an evaluation looks them up in RBAC.
"""

from collections.abc import Callable
from typing import NamedTuple

from kymograph.apimachinery import wildcard
from kymograph.engine import fields
from kymograph.engine.match.target import Target, User

ATTRIBUTES = ("roles", "clusterRoles", "subjects")
"""The attributes, in the order in which Kyverno names the one that may not be used."""

_KINDS = ("User", "Group", "ServiceAccount")
_NOBODY = User("")


class Attribute(NamedTuple):
    """One compiled attribute.

    Attributes:
        name: Which of `ATTRIBUTES`.
        test: Whether the user of a target has it.
        needs_roles: The test looks at the roles of the user.
    """

    name: str
    test: Callable[[Target], bool]
    needs_roles: bool


def read(holder: fields.Fields) -> tuple[Attribute, ...]:
    """Compile the user info of a filter: the attributes that are not empty.

    Subjects come first, so that roles are looked at only where they still matter.

    Args:
        holder: The filter.
    """
    found = []
    subjects = _subjects(holder)
    if subjects is not None:
        found.append(Attribute("subjects", subjects, needs_roles=False))
    for name, test in (("roles", _has_role), ("clusterRoles", _has_cluster_role)):
        wanted = frozenset(holder.texts(name))
        if wanted:
            found.append(Attribute(name, test(wanted), needs_roles=True))
    return tuple(found)


def _has_role(wanted: frozenset[str]) -> Callable[[Target], bool]:
    """Roles are compared as they are written: no wildcards, unlike in subjects (Kyverno's `SliceContains`)."""
    return lambda target: not wanted.isdisjoint((target.user or _NOBODY).roles)


def _has_cluster_role(wanted: frozenset[str]) -> Callable[[Target], bool]:
    return lambda target: not wanted.isdisjoint((target.user or _NOBODY).cluster_roles)


def _subjects(holder: fields.Fields) -> Callable[[Target], bool] | None:
    """A test that holds if one of the `subjects` is the user; names may hold wildcards."""
    entries = holder.items("subjects")
    names: list[Callable[[str], bool]] = []
    groups: list[Callable[[str], bool]] = []
    for entry, path in entries:
        subject = fields.Fields(entry, path, holder.problems, ("kind", "name", "namespace", "apiGroup"))
        kind, name, namespace = subject.text("kind"), subject.text("name"), subject.text("namespace")
        if kind not in _KINDS:
            subject.wrong("kind", "kind must be 'User', 'Group', or 'ServiceAccount'")
        if not name:
            subject.wrong("name", "a subject needs a name")
        if kind == "Group":
            groups.append(wildcard.compile(name))
        elif kind == "ServiceAccount":
            if not namespace:
                subject.wrong("namespace", "namespace is required when Kind is ServiceAccount")
            names.append(wildcard.compile(f"system:serviceaccount:{namespace}:{name}"))
        else:
            names.append(wildcard.compile(name))
    if not entries:
        return None

    def is_subject(target: Target) -> bool:
        user = target.user or _NOBODY
        return any(matches(user.name) for matches in names) or any(
            matches(group) for matches in groups for group in user.groups
        )

    return is_subject
