"""The policies that every controller works with: compiled once, swapped atomically, true to the cluster.

Kopf's watches tell of each change; a list of all policies makes the first complete set (before which nothing is
ready) and sweeps what a watch missed, because a relist after a gap reports no deletions.
"""

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import kopf

from kymograph.apimachinery import objectkey
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers.configuration import filters as filtering
from kymograph.engine import compile as compiler
from kymograph.engine import errors, needs, policyset
from kymograph.engine.policy import CompiledPolicy
from kymograph.model import policy as model

logger = logging.getLogger(__name__)

SWEEP_EVERY = 300.0
"""Seconds between two comparisons of what is held with what the cluster has."""

RETRY_AFTER = 5.0
"""Seconds until a failed comparison is tried again."""

RESOURCES = {"ClusterPolicy": resources.CLUSTER_POLICIES, "Policy": resources.POLICIES}


class Lister(Protocol):
    """What the store asks of a Kubernetes client."""

    def pages(self, resource: resources.Resource) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection in pages, in one snapshot."""


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """Which policy: kind, namespace (empty for a ClusterPolicy) and name."""

    kind: str
    namespace: str
    name: str

    @property
    def text(self) -> str:
        """`namespace/name`, or the name of a ClusterPolicy: the key of what the policy is compiled to."""
        return objectkey.of(self.namespace, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """What the store made of one policy.

    Attributes:
        key: Which policy.
        uid: Which incarnation of it.
        generation: Which generation of its spec.
        version: The latest resourceVersion seen of it.
        compiled: The policy, or None where it does not compile.
        problems: Why it does not compile; empty where it does.
        document: The policy as the cluster holds it.
    """

    key: Key
    uid: str
    generation: int
    version: int
    compiled: CompiledPolicy | None
    problems: tuple[errors.Problem, ...]
    document: Mapping[str, Any]


class PolicyStore:
    """All policies of the cluster, compiled.

    Args:
        ignores_failures: Every policy counts as one with `failurePolicy: Ignore`, whatever it says.

    Attributes:
        policies: The immutable set that reviews are judged by; replaced as a whole on every change.
        complete: Set once all policies of the cluster have been listed and compiled.
        installation: What holds for every evaluation; replaced when the installation says something else.
        filters: Objects that no policy is for, also replaced then.
    """

    def __init__(self, *, ignores_failures: bool = False) -> None:
        self._ignores_failures = ignores_failures
        self.policies = policyset.PolicySet()
        self.installation = needs.STANDARD
        self.filters = filtering.Filters()
        self._held: dict[Key, Held] = {}
        self._gone: dict[str, None] = {}
        self._listeners: list[Callable[[Key, Held | None], None]] = []
        self._timers: list[Callable[[Held, float], None]] = []
        self._suspicious = asyncio.Event()
        self.complete = asyncio.Event()

    def listen(self, listener: Callable[[Key, Held | None], None]) -> None:
        """Call a function after each change: the key, and what is held now (None when the policy is gone)."""
        self._listeners.append(listener)

    def time_compiling(self, timer: Callable[[Held, float], None]) -> None:
        """Call a function with each policy that was compiled, or does not compile, and the seconds that took."""
        self._timers.append(timer)

    @property
    def held(self) -> tuple[Held, ...]:
        """Everything held, in no particular order."""
        return tuple(self._held.values())

    def knows(self, policy: CompiledPolicy) -> bool:
        """Whether there is such a policy (any more), as it was compiled or otherwise."""
        return Key(policy.kind, policy.namespace, policy.name) in self._held

    def put(self, document: Mapping[str, Any]) -> None:
        """Take in a policy as the cluster holds it; older than what is held, or deleted since, it is ignored.

        Older is decided by resourceVersions, which order all writes of a resource, those of another incarnation too.
        """
        metadata = document["metadata"]
        key, uid, version = key_of(document), metadata["uid"], int(metadata["resourceVersion"])
        before = self._held.get(key)
        if uid in self._gone or (before is not None and before.version >= version):
            return
        generation = int(metadata.get("generation") or 0)
        if before is not None and before.uid == uid and before.generation == generation and _same(before, document):
            self._held[key] = dataclasses.replace(before, version=version, document=document)
            return
        began = time.perf_counter()
        held = _compile(key, uid, generation, version, document)
        for timer in self._timers:
            timer(held, time.perf_counter() - began)
        if self._ignores_failures and held.compiled is not None:
            held = dataclasses.replace(held, compiled=dataclasses.replace(held.compiled, failure_policy="Ignore"))
        self._held[key] = held
        if held.compiled is not None:
            self.policies = self.policies.replace(held.compiled)
        elif before is not None and before.compiled is not None:
            self.policies = self.policies.remove(before.compiled.key)
        self._tell(key, held)

    def drop(self, key: Key, uid: str) -> None:
        """Forget a policy that was deleted."""
        self._gone[uid] = None
        while len(self._gone) > 1000:
            del self._gone[next(iter(self._gone))]
        before = self._held.get(key)
        if before is None or before.uid != uid:
            return
        del self._held[key]
        if before.compiled is not None:
            self.policies = self.policies.remove(before.compiled.key)
        self._tell(key, None)

    async def load(self, client: Lister) -> None:
        """Compare with the cluster: take in what is new, drop what is gone.

        Raises:
            KubernetesError: The policies could not be listed. A kind whose CRD is not installed counts as empty.
        """
        before = {held.key: held.uid for held in self._held.values()}
        seen: set[Key] = set()
        for kind, resource in RESOURCES.items():
            try:
                async for page in client.pages(resource):
                    for item in page.get("items") or []:
                        document = {"apiVersion": resource.api_version, "kind": kind, **item}
                        seen.add(key_of(document))
                        self.put(document)
                        await asyncio.sleep(0)  # a review may wait while policies are compiled
            except kubernetes_errors.NotFound:
                continue
        for key, uid in before.items():
            if key not in seen:
                self.drop(key, uid)
        self.complete.set()

    async def keep_true(self, client: Lister) -> None:
        """Compare with the cluster now and then, and soon after a watch was restarted; until cancelled."""
        while True:
            try:
                self._suspicious.clear()
                await self.load(client)
                async with asyncio.timeout(SWEEP_EVERY):
                    await self._suspicious.wait()
            except TimeoutError:
                continue
            except kubernetes_errors.KubernetesError as error:
                logger.warning("The policies cannot be listed, trying again: %s", error)
                await asyncio.sleep(RETRY_AFTER)

    def suspect(self) -> None:
        """A watch listed again: deletions may have been missed."""
        self._suspicious.set()

    def _tell(self, key: Key, held: Held | None) -> None:
        for listener in self._listeners:
            listener(key, held)


def register(registry: kopf.OperatorRegistry, store: PolicyStore) -> None:
    """Have Kopf tell the store of every change of a policy."""

    async def policy_event(event: Mapping[str, Any], **_: Any) -> None:
        document = event["object"]
        if event["type"] == "DELETED":
            store.drop(key_of(document), document["metadata"]["uid"])
            return
        if event["type"] is None and store.complete.is_set():
            store.suspect()
        store.put(dict(document))

    for kind, plural in model.PLURALS.items():
        kopf.on.event(model.GROUP, model.VERSION, plural, id=f"watch-{kind.lower()}", registry=registry)(policy_event)


def key_of(document: Mapping[str, Any]) -> Key:
    """The key of a policy document."""
    metadata = document["metadata"]
    return Key(document["kind"], metadata.get("namespace") or "", metadata["name"])


def _same(before: Held, document: Mapping[str, Any]) -> bool:
    """Whether what a policy is compiled from (spec, annotations, labels) is unchanged: status writes are not news."""
    old, new = before.document["metadata"], document["metadata"]
    return (
        before.document.get("spec") == document.get("spec")
        and old.get("annotations") == new.get("annotations")
        and old.get("labels") == new.get("labels")
    )


def _compile(key: Key, uid: str, generation: int, version: int, document: Mapping[str, Any]) -> Held:
    try:
        compiled = compiler.compile_policy(document)
    except errors.PolicyInvalid as invalid:
        logger.warning("%s %s does not compile and is not enforced: %s", key.kind, key.text, invalid)
        return Held(key, uid, generation, version, None, invalid.problems, document)
    except Exception as error:  # one policy, however odd, must not stop the others
        logger.exception("%s %s is not enforced; this is a defect of Kymograph", key.kind, key.text)
        problem = errors.Problem("spec", f"it cannot be compiled: {type(error).__name__}: {error}")
        return Held(key, uid, generation, version, None, (problem,), document)
    return Held(key, uid, generation, version, compiled, (), document)
