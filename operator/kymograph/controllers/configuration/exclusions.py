"""Users that policies are not for: `excludeUsernames`, `excludeGroups`, `excludeRoles`, `excludeClusterRoles`. Pure.

Each is a list with commas, of names that may hold wildcards. An entry that begins with `!` takes users out of the
exclusion again, by whatever attribute: inclusions of all lists are looked at before exclusions.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kymograph.apimachinery import wildcard

_REMEMBERED = 4096
_Test = Callable[[str], bool]


class Lists(NamedTuple):
    """The tests of one attribute.

    Attributes:
        excluded: Whom policies are not for.
        included: Whom they are for all the same.
    """

    excluded: tuple[_Test, ...] = ()
    included: tuple[_Test, ...] = ()


def parse(text: str) -> Lists:
    """Read one list."""
    excluded: list[_Test] = []
    included: list[_Test] = []
    for entry in map(str.strip, text.split(",")):
        wanted = included if entry.startswith("!") else excluded
        pattern = entry.removeprefix("!").strip()
        if pattern:
            wanted.append(wildcard.compile(pattern))
    return Lists(tuple(excluded), tuple(included))


class Exclusions:
    """Says which users policies are not for.

    Args:
        usernames: The lists of user names.
        groups: Those of groups; a user is excluded by any of theirs.
        roles: Those of Roles, `namespace:name`.
        cluster_roles: Those of ClusterRoles.

    Attributes:
        needs_roles: Whether roles of users matter.
    """

    def __init__(
        self,
        usernames: Lists = Lists(),  # noqa: B008 - immutable
        groups: Lists = Lists(),  # noqa: B008 - immutable
        roles: Lists = Lists(),  # noqa: B008 - immutable
        cluster_roles: Lists = Lists(),  # noqa: B008 - immutable
    ) -> None:
        self._lists: Mapping[str, Lists] = {
            "usernames": usernames,
            "groups": groups,
            "roles": roles,
            "cluster_roles": cluster_roles,
        }
        self._any = any(each.excluded for each in self._lists.values())
        self.needs_roles = self._any and any(any(each) for each in (roles, cluster_roles))
        self._remembered: dict[tuple[str, tuple[str, ...]], bool] = {}

    def __bool__(self) -> bool:
        return self._any

    def match(
        self, username: str, groups: tuple[str, ...], roles: Iterable[str] = (), cluster_roles: Iterable[str] = ()
    ) -> bool:
        """Whether policies are not for a user; roles only count where `needs_roles` says so."""
        if self.needs_roles:
            return self._decide(username, groups, tuple(roles), tuple(cluster_roles))
        key = (username, groups)
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            found = self._remembered[key] = self._decide(username, groups, (), ())
        return found

    def _decide(
        self, username: str, groups: tuple[str, ...], roles: tuple[str, ...], cluster_roles: tuple[str, ...]
    ) -> bool:
        names = {"usernames": (username,), "groups": groups, "roles": roles, "cluster_roles": cluster_roles}
        having = [(self._lists[attribute], held) for attribute, held in names.items()]
        if any(test(name) for lists, held in having for test in lists.included for name in held):
            return False
        return any(test(name) for lists, held in having for test in lists.excluded for name in held)
