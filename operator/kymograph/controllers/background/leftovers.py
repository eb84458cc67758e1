"""What went while no replica ran: rules, triggers and sources whose generated objects are still there.

A new leader looks once. Of rules that still exist it asks which generated objects are out of date; of rules that are
gone only those objects go that say so themselves, because the text of the rule is not known any more.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry.trace import Tracer

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import policies, updaterequests
from kymograph.controllers.background import downstream, errors, kinds, notes
from kymograph.engine.generate import labels
from kymograph.telemetry import roots

logger = logging.getLogger(__name__)

_GENERATED = f"{labels.MANAGED_BY}={labels.KYVERNO},{labels.POLICY_NAME}"
_ANY = ""
"""Label selectors of what rules generated, and of everything."""


class _Write(NamedTuple):
    """The last write of an object.

    Attributes:
        at: When somebody else than we wrote a field of it last; empty for never. Who only takes fields out leaves none.
        version: Its resource version.
    """

    at: str
    version: str


class Leftovers:
    """Finds what is left; made anew for each time of leading.

    Args:
        deletable: Gives the resources of which the operator may list and delete objects in every namespace.
        catalogues: What the API server serves.
        store: The policies.
        written: Lists objects.
        noted: Notes what is to be done.
        session: Tells this time of leading from others.
        tracer: Traces the look for what is left.
    """

    def __init__(
        self,
        deletable: Callable[[], Awaitable[Iterable[resources.Resource]]],
        catalogues: kinds.Catalogues,
        store: policies.PolicyStore,
        written: downstream.Downstream,
        noted: notes.Notes,
        session: str,
        tracer: Tracer,
    ) -> None:
        self._deletable = deletable
        self._catalogues = catalogues
        self._store = store
        self._written = written
        self._noted = noted
        self._session = session
        self._tracer = tracer
        self._listed: dict[tuple[resources.Resource, str], dict[str, _Write] | None] = {}

    async def of_rules(self) -> None:
        """Have deleted what rules generated that are gone, and what says that it goes with its rule.

        Raises:
            KubernetesError: The API server did not answer.
        """
        with roots.root(self._tracer, "BACKGROUND leftovers"):
            await self._of_rules()

    async def _of_rules(self) -> None:
        left: dict[tuple[str, str], set[tuple[str, str]]] = {}
        alive = _Rules(self._store.held)
        for resource in await self._deletable():
            try:
                found = await self._written.labelled(resource, _GENERATED)
            except kubernetes_errors.Throttled:
                raise  # it will be answered, and this is the only look
            except (errors.Forbidden, kubernetes_errors.StatusError) as error:  # such as an API service that is down
                logger.info("What rules generated of %s cannot be looked for: %s", resource.plural, error)
                continue
            for each in found:
                owner = downstream.owner_of(each)
                if owner is not None and downstream.goes_with_rule(each["metadata"]) and not alive.has(*owner):
                    left.setdefault(owner, set()).add((resource.api_version, resource.kind))
        for (policy, rule), listed in left.items():
            logger.info("Rule %s of policy %s went while nobody looked: what it generated goes, too", rule, policy)
            await self._noted.note(
                ("left", self._session),
                updaterequests.GENERATE,
                policy,
                rule,
                updaterequests.Reference(),
                sorted(listed),
                marked=True,
            )

    async def is_outdated(self, policy: Mapping[str, Any], metadata: Mapping[str, Any], *, needs_trigger: bool) -> bool:
        """Whether what an existing rule generated may have to be written again, or to be deleted.

        Args:
            policy: Metadata of the policy.
            metadata: Metadata of the generated object.
            needs_trigger: It is to go with its trigger.

        Raises:
            KubernetesError: The API server did not answer.
        """
        ours, theirs = times(metadata)
        if theirs and theirs >= ours:
            return True
        written = max(times(policy))
        if written and written >= ours:
            return True
        trigger = downstream.trigger_of(metadata)
        if needs_trigger and trigger.uid:
            uids = await self._uids(trigger.api_version, trigger.kind, _ANY)
            if uids is not None and trigger.uid not in uids:
                return True
        told = metadata.get("labels") or {}
        source = told.get(labels.SOURCE_UID)
        if not source:
            return False
        group, version = told.get(labels.SOURCE_GROUP) or "", told.get(labels.SOURCE_VERSION) or ""
        api_version = f"{group}/{version}" if group else version
        sources = await self._uids(api_version, told.get(labels.SOURCE_KIND) or "", labels.CLONE_SOURCE)
        return sources is not None and (source not in sources or sources[source].at >= (ours or "~"))

    async def has_changed(self, trigger: updaterequests.Reference, metadata: Mapping[str, Any]) -> bool:
        """Whether somebody may have written a trigger after we wrote what was generated for it.

        Times of writes do not tell of labels that were taken out, so versions are compared, too: those of one etcd grow
        with every write. Where they belong to two, or are no numbers, an object may be looked at for nothing.

        Args:
            trigger: The trigger.
            metadata: Metadata of the generated object.

        Raises:
            KubernetesError: The API server did not answer.
        """
        ours, _ = times(metadata)
        uids = await self._uids(trigger.api_version, trigger.kind, _ANY)
        last = None if uids is None else uids.get(trigger.uid)
        if not ours or last is None:
            return False
        return last.at >= ours or _is_later(last.version, metadata.get("resourceVersion") or "")

    async def _uids(self, api_version: str, kind: str, query: str) -> dict[str, _Write] | None:
        """The last write of each object of a kind, by uid; None where that cannot be known."""
        resource = kinds.known(self._catalogues.current, api_version, kind)
        if resource is None:
            return None
        place = (resource, query)
        if place not in self._listed:
            try:
                self._listed[place] = {
                    each["metadata"]["uid"]: _Write(
                        times(each["metadata"])[1], each["metadata"].get("resourceVersion") or ""
                    )
                    async for each in self._written.walk(resource, query)
                }
            except kubernetes_errors.Throttled:
                raise
            except (errors.Forbidden, kubernetes_errors.StatusError) as error:
                logger.info("Whether %s are gone cannot be seen: %s", resource.plural, error)
                self._listed[place] = None
        return self._listed[place]


def times(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """When we wrote an object last, and when others did, as far as it tells; empty for never."""
    ours, theirs = "", ""
    for each in metadata.get("managedFields") or ():
        if each.get("subresource"):
            continue
        if each.get("manager") == clients.FIELD_MANAGER:
            ours = max(ours, each.get("time") or "")
        else:
            theirs = max(theirs, each.get("time") or "")
    return ours, theirs


def _is_later(version: str, than: str) -> bool:
    """Whether a resource version is later than another; yes where that cannot be said."""
    return int(version) > int(than) if version.isdecimal() and than.isdecimal() else True


class _Rules:
    """Which generate rules exist; of a policy that does not compile any."""

    def __init__(self, held: Iterable[policies.Held]) -> None:
        self._rules: dict[str, frozenset[str] | None] = {}
        for each in held:
            rules = None if each.compiled is None else frozenset(rule.name for rule in each.compiled.generate.every)
            self._rules[each.key.text] = rules

    def has(self, policy: str, rule: str) -> bool:
        rules = self._rules.get(policy, frozenset())
        return rules is None or rule in rules
