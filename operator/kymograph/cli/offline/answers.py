"""What policies get when they ask for the world and there is none: what tests say instead.

An evaluation raises `needs.Needed`; here is what such a need turns out to be. Needs of a kind that nothing was said
about are *absent*: Kyverno's command line passes over the context entries behind them, so that a value of the same
name shows through.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.cli.offline import simulated, userinfo, values
from kymograph.engine import needs

_NO_VALUES = values.Values()


class _Absent(Exception):
    """Nothing was said about a need."""


class Reply(NamedTuple):
    """What a mocked call answers.

    Attributes:
        status: Status of HTTP.
        body: The JSON value.
    """

    status: int
    body: Any


class Collected(NamedTuple):
    """What a GlobalContextEntry holds that was given among the objects.

    Attributes:
        objects: The objects that it selects, for a reference to the entry itself.
        projections: What its expressions made of them, by name.
    """

    objects: Sequence[Mapping[str, Any]]
    projections: Mapping[str, Any]


class Answers(NamedTuple):
    """What is known instead of a cluster.

    Attributes:
        told: Values; they say what labels namespaces have.
        user: Who asks; None for nobody in particular.
        cluster: Objects that can be read; None where there is no cluster.
        calls: What calls answer: by (method, or empty for any; URL or path of the API).
        global_entries: What GlobalContextEntries hold, by name: `Collected`, or the value that a test gives; None
            where nothing is said about any.
        objects: Objects that exist, prepared: those that rules with targets may change.
        images: Looks up an image in its registry, raising `simulated.NotThere`; None where none may be asked.
        now: The time of the evaluation, in nanoseconds since 1970.
        seed: 32 bytes for whatever is random.
    """

    told: values.Values = _NO_VALUES
    user: userinfo.UserInfo | None = None
    cluster: simulated.Cluster | None = None
    calls: Mapping[tuple[str, str], Reply] = types.MappingProxyType({})
    global_entries: Mapping[str, Any] | None = None
    objects: Sequence[dict[str, Any]] = ()
    images: Callable[[needs.ImageData], Any] | None = None
    now: int = 0
    seed: bytes = bytes(32)

    @property
    def without(self) -> frozenset[type[needs.Need]]:
        """The classes of needs that nothing is said about: context entries that would ask for one are left out."""
        absent: set[type[needs.Need]] = set()
        if self.images is None:
            absent.add(needs.ImageData)
        if self.cluster is None:
            absent.add(needs.ConfigMap)
            if not self.calls:
                absent |= {needs.APICall, needs.ServiceCall}
        if self.global_entries is None:
            absent.add(needs.GlobalEntry)
        return frozenset(absent)

    def tell(self, need: needs.Need, facts: needs.Facts) -> None:
        """Put into the facts what a need turns out to be.

        Args:
            need: What an evaluation lacks.
            facts: The facts of that evaluation.
        """
        match need:
            case needs.Now():
                facts.add(need, self.now)
            case needs.Seed():
                facts.add(need, self.seed)
            case needs.NamespaceLabels(namespace):
                try:
                    facts.add(need, self.namespace_labels(namespace))
                except simulated.NotThere as reason:
                    facts.fail(need, f"failed to get the resource's namespace ({reason})")
            case needs.UserRoles():
                user = self.user
                roles = needs.Roles(tuple(user.roles), tuple(user.cluster_roles)) if user else needs.Roles((), ())
                facts.add(need, roles)
            case needs.ResourceKind(group, version, resource):
                for each in self.told.subresources:
                    if (each.parent[:2], each.resource) == ((group, version), resource):
                        facts.add(need, each.parent)
                        return
                facts.fail(need, f"the kind behind {resource} is not known without a cluster")
            case needs.HostAddresses(host):
                facts.add(need, _addresses(host))
            case needs.ConfigMap() | needs.APICall() | needs.ServiceCall() | needs.GlobalEntry() | needs.ImageData():
                self._tell_outside(need, facts)
            case _:
                facts.skip(need)

    def _tell_outside(self, need: needs.Need, facts: needs.Facts) -> None:
        try:
            facts.add(need, self._outside(need))
        except (_Absent, simulated.NothingSaid):
            facts.skip(need)
        except simulated.NotThere as reason:
            facts.fail(need, str(reason))

    def _outside(self, need: needs.Need) -> Any:
        match need:
            case needs.ConfigMap(namespace, name) if self.cluster is not None:
                return self.cluster.config_map(namespace, name)
            case needs.APICall(path, method, _):
                return self._call(method, path)
            case needs.ServiceCall(url, method):
                return self._call(method, url)
            case needs.GlobalEntry(name):
                return self._global_entry(name)
            case needs.ImageData() if self.images is not None:
                return self.images(need)
        raise _Absent

    def _call(self, method: str, where: str) -> Any:
        reply = self.calls.get((method, where)) or self.calls.get(("", where))
        if reply is not None:
            if not 200 <= reply.status < 300:
                raise simulated.NotThere(f"HTTP {reply.status} from the mocked call of {where}")
            return reply.body
        if self.cluster is None:
            raise _Absent
        if method != "GET":
            raise simulated.NotThere(f"method {method} not supported without a cluster")
        return self.cluster.get(where)

    def _global_entry(self, name: str) -> Any:
        entry, _, projection = name.partition(".")
        entries = self.global_entries or {}
        if entry not in entries:
            raise simulated.NotThere(f"failed to fetch entry key={entry}")
        held = entries[entry]
        if isinstance(held, Collected):
            if not projection:
                return held.objects
            if projection not in held.projections:
                raise simulated.NotThere(f'projection "{projection}" not found')
            return held.projections[projection]
        if not projection:
            return held
        if not isinstance(held, Mapping) or projection not in held:
            raise simulated.NotThere(f'global context mock: projection "{projection}" not found')
        return held[projection]

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace; empty where nothing is known of it.

        Raises:
            NotThere: A live cluster was asked and has no such namespace.
        """
        told = self.told.namespaces.get(namespace)
        if told or self.cluster is None:
            return told or {}
        return self.cluster.namespace_labels(namespace)


def _addresses(host: str) -> tuple[str, ...]:
    """The addresses of a host, by the names this machine knows; none where it knows none."""
    import socket  # noqa: PLC0415 - few policies look hosts up

    try:
        return tuple(dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(host, None)))
    except (OSError, UnicodeError):
        return ()
