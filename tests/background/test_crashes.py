"""A crash between any two steps loses nothing and doubles nothing.

Each kind of work is done once without a crash. Then once for each call of the API server that it makes, with a process
that is killed at that call (before it arrives, or before its answer is heard), and a new one that goes on. Afterwards
the cluster has to look the same, and each UpdateRequest has to have ended once.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kymograph.controllers import updaterequests
from support import background
from support.background import config_map, namespace, until
from support.crashing import Crashing
from support.writtenpolicies import generating

NEVER = 10_000
SYNCHRONIZED = generating(synchronize=True)
CLONE = generating(synchronize=True, clone={"name": "source", "namespace": "base"})
del CLONE["generate"]["data"]
EACH = {**generating(), "generate": {"synchronize": True, "foreach": [
    {"list": "['x', 'y']", "apiVersion": "v1", "kind": "ConfigMap", "name": "{{element}}-{{ random('[a-z]{8}') }}",
     "namespace": "shop", "data": {"data": {"a": "b"}}},
]}}  # fmt: skip
COUNT = {
    "match": {"any": [{"resources": {"kinds": ["ConfigMap"], "names": ["trigger"]}}]},
    "mutate": {
        "targets": [{"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "t-*"}],
        "patchStrategicMerge": {"data": {"count": "{{ target.data.count }}x"}},
    },
}


async def data(work: background.Work) -> None:
    work.enforce(SYNCHRONIZED)
    await work.ask(await work.cluster.put("namespaces", namespace("shop", uid="trigger")))


async def clone(work: background.Work) -> None:
    work.enforce(CLONE)
    await work.cluster.put("configmaps", config_map("source", "base", a="1"))
    await work.ask(await work.cluster.put("namespaces", namespace("shop", uid="trigger")))


async def several(work: background.Work) -> None:
    work.enforce(EACH)
    await work.ask(await work.cluster.put("namespaces", namespace("shop", uid="trigger")))


async def a_deleted_trigger(work: background.Work) -> None:
    await data(work)
    await settled(work)
    trigger = work.cluster.stored["namespaces", "", "shop"]
    await work.cluster.remove("namespaces", "", "shop")
    await work.ask(trigger, operation="DELETE", old=trigger)


async def a_deleted_policy(work: background.Work) -> None:
    await data(work)
    await settled(work)
    work.forget()


async def targets(work: background.Work) -> None:
    work.enforce(COUNT)
    for name in ("t-1", "t-2"):
        await work.cluster.put("secrets", {**config_map(name, count="x"), "kind": "Secret"})
    trigger = await work.cluster.put("configmaps", config_map("trigger"))
    await work.ask(trigger, type_=updaterequests.MUTATE)


async def settled(work: background.Work) -> None:
    """Let a process do all that is to be done."""
    async with running(work, work.cluster):
        await done(work)


async def done(work: background.Work) -> None:
    """Wait until nothing is left to do."""
    await until(
        lambda: (
            all(each.get("status", {}).get("state") in updaterequests.FINAL for each in requests(work))
            and (work.store.held or not any(place[0] == "configmaps" for place in work.cluster.stored))
        )
    )


@contextlib.asynccontextmanager
async def running(work: background.Work, client: Any):
    task = asyncio.create_task(work.process(client).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def requests(work: background.Work) -> list[dict[str, Any]]:
    return [each for place, each in work.cluster.stored.items() if place[0] == "updaterequests"]


def content(work: background.Work) -> dict[Any, Any]:
    """What is in the cluster but for UpdateRequests, without what differs from run to run."""
    return {
        place: {**each, "metadata": {**each["metadata"], "uid": "", "resourceVersion": "", "annotations": ""}}
        for place, each in work.cluster.stored.items()
        if place[0] != "updaterequests"
    }


def outcomes(work: background.Work) -> list[int]:
    """How often each UpdateRequest has ended."""
    states: dict[str, list[str]] = {}
    for _, _, (plural, _, name), document in work.cluster._events:
        if plural == "updaterequests":
            states.setdefault(name, []).append(document.get("status", {}).get("state", ""))
    return [sum(each in updaterequests.FINAL for each in listed) for listed in states.values()]


async def crashed(prepare: Callable[[background.Work], Awaitable[None]], at: int, *, heard: bool):
    """The cluster after a crash at a call and a new start, and how many calls there were before."""
    async with background.work() as work:
        await prepare(work)
        client = Crashing(work.cluster, at, heard=heard)
        async with running(work, client):
            finished = asyncio.create_task(done(work))
            killed = asyncio.create_task(client.dead.wait())
            await asyncio.wait([finished, killed], return_when=asyncio.FIRST_COMPLETED)
            for task in (finished, killed):
                task.cancel()
        await settled(work)
        return content(work), outcomes(work), client.made


@pytest.mark.parametrize("prepare", [data, clone, several, a_deleted_trigger, a_deleted_policy, targets])
async def test_a_crash_at_any_call_loses_and_doubles_nothing(prepare) -> None:
    expected, ended, calls = await crashed(prepare, NEVER, heard=False)
    assert calls > 3
    assert set(ended) == {1}
    cases = [(at, heard) for at in range(calls) for heard in (False, True)]
    found = await asyncio.gather(*(crashed(prepare, at, heard=heard) for at, heard in cases))
    for case, (left, ended, _) in zip(cases, found, strict=True):
        assert left == expected, case
        assert set(ended) == {1}, case
