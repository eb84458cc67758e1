"""The user-info attributes of a filter: `subjects`. Roles need look-ups in RBAC and are refused."""

from collections.abc import Callable
from typing import Any

from kymograph.apimachinery import wildcard
from kymograph.engine import fields
from kymograph.engine.match.target import Target, User

ROLES_REFUSED = {"roles": "roles in match and exclude are", "clusterRoles": "clusterRoles in match and exclude are"}
_KINDS = ("User", "Group", "ServiceAccount")
_NOBODY = User("")


def subjects(entries: list[tuple[Any, str]], problems: fields.Problems) -> Callable[[Target], bool] | None:
    """Compile `subjects` to a test that holds if one of them is the user; None where there are none.

    Names of users, groups and service accounts may hold wildcards.

    Args:
        entries: The subjects with their paths.
        problems: Where to note what is wrong.
    """
    names: list[Callable[[str], bool]] = []
    groups: list[Callable[[str], bool]] = []
    for entry, path in entries:
        subject = fields.Fields(entry, path, problems, ("kind", "name", "namespace", "apiGroup"))
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
