"""The background controller on an API server in memory."""

import asyncio
import contextlib
import datetime as dt
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from fakes import objects, traced
from kymograph.clients.kubernetes import resources
from kymograph.controllers import policies, updaterequests
from kymograph.controllers.background import controller, telling
from kymograph.controllers.events import notes
from kymograph.engine import exceptions, needs, results
from kymograph.engine.policy import CompiledPolicy
from support import writtenpolicies

ACCOUNT = "system:serviceaccount:kymograph:kymograph"
SPACE = "kymograph"
PATIENCE = 60.0
"""Seconds that anything may take."""

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Answers:
    """Knows that namespaces have no labels, and nothing else."""

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Add what is known."""
        if isinstance(need, needs.NamespaceLabels):
            facts.add(need, {})
            return True
        return False

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Nothing is."""
        facts.fail(need, "nobody knows")


class Work:
    """What a test has in hand.

    Attributes:
        cluster: The API server.
        store: The policies.
        background: The controller.
        events: The Events made.
        reported: What reports were to say: of which object and rule, and what.
        now: The time that the controller sees.
        most: UpdateRequests that there may be at once.
    """

    def __init__(self, kept: traced.Kept) -> None:
        self.kept = kept
        self.cluster = objects.Objects()
        self.store = policies.PolicyStore()
        self.store.complete.set()
        self.now = START
        self.most = updaterequests.MOST
        self._asked = itertools.count()
        self.events: list[notes.Note] = []
        self.reported: list[tuple[str, str, list[results.RuleResult]]] = []
        self.background = self.process(self.cluster)

    def process(self, client: controller.Cluster) -> controller.Background:
        """The controller as a new process has it, calling the API server by a client."""
        return controller.Background(
            client,
            self.cluster,
            self.store,
            Answers(),
            self.kept.telemetry,
            SPACE,
            lambda: ACCOUNT,
            lambda: exceptions.NONE,
            telling.Telling(self.events.append, self),
            self.deletable,
            time.monotonic_ns,
            lambda: self.now,
            lambda: self.most,
        )

    async def applied(
        self, request: Mapping[str, Any], policy: CompiledPolicy, rule: str, told: Sequence[results.RuleResult]
    ) -> None:
        """See `telling.Reporting`."""
        self.reported.append((request["name"], f"{policy.key}/{rule}", list(told)))

    async def deletable(self) -> list[resources.Resource]:
        """Everything may be deleted."""
        return [
            resources.Resource(each.group, each.version, each.plural, each.kind, namespaced=each.namespaced)
            for each in objects.SERVED
        ]

    @contextlib.asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Lead for the length of the block."""
        listed = ("list", ("updaterequests", SPACE, ""))
        before = self.cluster.calls.count(listed)
        task = asyncio.create_task(self.background.run())
        try:
            await until(lambda: self.cluster.calls.count(listed) > before)
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def enforce(
        self,
        *rules: dict[str, Any],
        name: str = "p",
        generation: int = 1,
        metadata: dict[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        """Have a policy."""
        document = writtenpolicies.policy(*rules, **spec)
        version = str(1000 + generation)
        document["metadata"] |= {
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": version,
            "generation": generation,
            "creationTimestamp": "2025-01-01T00:00:00Z",
            **(metadata or {}),
        }
        self.store.put(document)

    def forget(self, name: str = "p") -> None:
        """Delete a policy."""
        self.store.drop(policies.Key("ClusterPolicy", "", name), f"uid-of-{name}")

    async def ask(
        self,
        trigger: dict[str, Any],
        *,
        operation: str = "CREATE",
        old: dict[str, Any] | None = None,
        user: str = "jane",
        type_: str = updaterequests.GENERATE,
        traceparent: str = "",
        policy: str = "p",
    ) -> str:
        """Note, as admission does, that rule `r` of a policy was set off; gives the name of the UpdateRequest."""
        kind = {"group": "", "version": "v1", "kind": trigger["kind"]}
        metadata = trigger["metadata"]
        request = {
            "uid": f"request-{next(self._asked)}",
            "kind": kind,
            "resource": {"group": "", "version": "v1", "resource": f"{trigger['kind'].lower()}s"},
            "name": metadata["name"],
            "namespace": metadata.get("namespace") or "",
            "operation": operation,
            "object": None if operation == "DELETE" else trigger,
            "oldObject": old if operation != "CREATE" else None,
            "userInfo": {"username": user},
        }
        part = updaterequests.Part("r", updaterequests.trigger_of(request), deletes=False)
        name = updaterequests.named(request["uid"], policy, "r")
        document = updaterequests.document(name, type_, policy, part, request=request, traceparent=traceparent)
        document["metadata"]["namespace"] = SPACE
        await self.cluster.put("updaterequests", document)
        return name

    def status(self, name: str) -> dict[str, Any]:
        """The status of an UpdateRequest."""
        stored = self.cluster.stored.get(("updaterequests", SPACE, name)) or {}
        return stored.get("status") or {}

    async def ended(self, name: str) -> dict[str, Any]:
        """The status of an UpdateRequest, once it has ended and the worker has counted and told that."""
        at_work = self.background._worker.queue._items
        await until(lambda: self.status(name).get("state") in updaterequests.FINAL and name not in at_work)
        return self.status(name)

    def content(self, name: str, namespace: str, plural: str = "configmaps") -> dict[str, str] | None:
        """The data of an object; None where there is none."""
        stored = self.cluster.stored.get((plural, namespace, name))
        return None if stored is None else stored.get("data", {})


@contextlib.asynccontextmanager
async def work() -> AsyncIterator[Work]:
    """A cluster without anything in it."""
    async with traced.kept() as kept:
        yield Work(kept)


async def until(look: Callable[[], Any]) -> Any:
    """What `look` returns once that is true."""
    async with asyncio.timeout(PATIENCE):
        while not (found := look()):  # noqa: ASYNC110 - what is looked at tells nobody
            await asyncio.sleep(0.01)
    return found


def namespace(name: str, **metadata: Any) -> dict[str, Any]:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def config_map(name: str, where: str = "shop", **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    metadata = {"name": name, "namespace": where}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
