"""Which roles a user has: the bindings of RBAC, watched only while a policy looks at roles, indexed by subject.

A RoleBinding to a Role counts in every request of its subjects, one to a ClusterRole only in requests to its own
namespace, a ClusterRoleBinding everywhere. Subjects are compared as they are written; a ServiceAccount without a
namespace is one of the binding's namespace (Kyverno's `pkg/userinfo`). What a role allows, and whether it exists, is
not looked at, nor what another authorizer than RBAC grants.
"""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from kymograph.clients.kubernetes import informer, resources
from kymograph.controllers import exceptions, policies
from kymograph.controllers.configuration import store as configuration
from kymograph.engine import needs

PATIENCE = 8.0
"""Seconds that reviews wait for the first complete list, from when it was first needed: less than webhooks have."""

LINGER = 60.0
"""Seconds that bindings are still watched for nobody: longer than any review, which may hold a policy that is gone."""

_REMEMBERED = 4096


class Unknown(Exception):
    """The bindings could not be listed in time."""


class Binding(NamedTuple):
    """What counts of a RoleBinding or ClusterRoleBinding.

    Attributes:
        kind: Role or ClusterRole: what is bound.
        role: Its name.
        users: Names of users it is bound to, service accounts as `system:serviceaccount:namespace:name`.
        groups: Names of groups it is bound to.
    """

    kind: str
    role: str
    users: frozenset[str]
    groups: frozenset[str]


def read(document: dict[str, Any]) -> Binding:
    """Take from a RoleBinding or ClusterRoleBinding what counts."""
    namespace = document["metadata"].get("namespace", "")
    users, groups = set(), set()
    for subject in document.get("subjects") or ():
        match subject["kind"]:
            case "User":
                users.add(subject["name"])
            case "Group":
                groups.add(subject["name"])
            case "ServiceAccount":
                users.add(f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}")
    return Binding(document["roleRef"]["kind"], document["roleRef"]["name"], frozenset(users), frozenset(groups))


class Index:
    """Bindings by subject. A look-up costs what it finds, and nothing for a user who asked since the last change."""

    def __init__(self) -> None:
        self._bindings: dict[informer.Key, Binding] = {}
        self._of_user: dict[str, set[informer.Key]] = {}
        self._of_group: dict[str, set[informer.Key]] = {}
        self._answers: dict[needs.UserRoles, needs.Roles] = {}

    def put(self, key: informer.Key, binding: Binding | None) -> None:
        """Take in what is bound now under a key (empty namespace: a ClusterRoleBinding), or that nothing is."""
        self._answers.clear()
        before = self._bindings.pop(key, None)
        if before is not None:
            for keys, subject in self._entries(before):
                held = keys[subject]
                held.discard(key)
                if not held:
                    del keys[subject]
        if binding is not None:
            self._bindings[key] = binding
            for keys, subject in self._entries(binding):
                keys.setdefault(subject, set()).add(key)

    def roles_of(self, asked: needs.UserRoles) -> needs.Roles:
        """The roles of a user that count in a namespace."""
        answer = self._answers.get(asked)
        if answer is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = self._answers[asked] = self._find(asked)
        return answer

    def _find(self, asked: needs.UserRoles) -> needs.Roles:
        roles, cluster_roles = set(), set()
        held = (self._of_group.get(group, ()) for group in asked.groups)
        for key in itertools.chain(self._of_user.get(asked.user, ()), *held):
            namespace, _ = key
            binding = self._bindings[key]
            if binding.kind == "Role":
                roles.add(f"{namespace}:{binding.role}")
            elif namespace in ("", asked.namespace):
                cluster_roles.add(binding.role)
        return needs.Roles(tuple(sorted(roles)), tuple(sorted(cluster_roles)))

    def _entries(self, binding: Binding) -> Iterator[tuple[dict[str, set[informer.Key]], str]]:
        for user in binding.users:
            yield self._of_user, user
        for group in binding.groups:
            yield self._of_group, group


class RoleBindings:
    """Keeps an index true to the cluster while a policy of the store needs it, and nothing otherwise.

    Args:
        client: Lists and watches.
        store: The policies.
        excepted: The PolicyExceptions, which may look at roles, too; None for none.
        configured: The ConfigMap, which may exclude users by their roles; None for none.
    """

    def __init__(
        self,
        client: informer.Source,
        store: policies.PolicyStore,
        excepted: exceptions.ExceptionStore | None = None,
        configured: configuration.ConfigurationStore | None = None,
    ) -> None:
        self._client = client
        self._store = store
        self._excepted = excepted
        self._configured = configured
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        self._since = 0.0
        self._index: Index | None = None
        self._synced = asyncio.Event()
        store.listen(lambda _key, _held: self._look())
        if excepted is not None:
            excepted.listen(self._look)
        if configured is not None:
            configured.listen(self._look)
        self._look()

    def at_hand(self, asked: needs.UserRoles) -> needs.Roles | None:
        """The roles of a user, or None while the bindings have not been listed."""
        return None if self._index is None else self._index.roles_of(asked)

    async def roles_of(self, asked: needs.UserRoles) -> needs.Roles:
        """The roles of a user, once the bindings have been listed.

        Raises:
            Unknown: They have not been, in `PATIENCE` since they were first needed.
        """
        try:
            async with asyncio.timeout_at(self._since + PATIENCE):
                await self._synced.wait()
        except TimeoutError:
            raise Unknown("their bindings have not been read, the operator's log says why") from None
        found = self.at_hand(asked)
        if found is None:
            raise Unknown("their bindings are not watched any more")
        return found

    async def run(self) -> None:
        """Watch while it is wanted; until cancelled."""
        while True:
            await self._wanted.wait()
            index = Index()
            informers = [
                informer.Informer(self._client, resource, project=read, changed=index.put)
                for resource in (resources.ROLE_BINDINGS, resources.CLUSTER_ROLE_BINDINGS)
            ]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each.run()) for each in informers]
                tasks.append(group.create_task(self._publish(index, informers)))
                await self._long_unwanted()
                for task in tasks:
                    task.cancel()
            self._index = None
            self._synced.clear()

    async def _publish(self, index: Index, informers: list[informer.Informer]) -> None:
        for each in informers:
            await each.synced.wait()
        self._index = index
        self._synced.set()

    async def _long_unwanted(self) -> None:
        while True:
            await self._unwanted.wait()
            try:
                async with asyncio.timeout(LINGER):
                    await self._wanted.wait()
            except TimeoutError:
                return

    def _look(self) -> None:
        """See whether a policy for admission, an exception or the ConfigMap looks at roles."""
        by_exception = self._excepted is not None and self._excepted.current.needs_roles
        by_exclusion = self._configured is not None and self._configured.current.exclusions.needs_roles
        by_policy = any(each.needs_roles and each.admission for each in self._store.policies.policies)
        if by_exception or by_exclusion or by_policy:
            if not self._wanted.is_set():
                self._since = asyncio.get_running_loop().time()
            self._wanted.set()
            self._unwanted.clear()
        else:
            self._wanted.clear()
            self._unwanted.set()
