"""An outcome is written once reports say it, and says something about the work, not about a busy API server."""

import asyncio
import datetime as dt

import pytest

from kymograph.clients.kubernetes import errors
from kymograph.controllers import updaterequests
from kymograph.controllers.background import policywork, worker
from support import background
from support.background import config_map, namespace, until
from support.writtenpolicies import generating

BUSY = errors.from_status(429, {"reason": "TooManyRequests", "message": "storage is (re)initializing"})


@pytest.fixture
async def work():
    async with background.work() as made:
        yield made


def written_by(work, monkeypatch) -> asyncio.Event:
    """What tells the worker that a report is written."""
    event = asyncio.Event()

    async def applied(request, policy, rule, told):
        return event

    monkeypatch.setattr(work, "applied", applied)
    return event


async def test_an_outcome_waits_for_the_report_that_says_it(work, monkeypatch) -> None:
    """Killed before, the work is done and told again; killed afterwards nobody would tell."""
    monkeypatch.setattr(worker, "REPORTED_WITHIN", 3600.0)
    reported = written_by(work, monkeypatch)
    work.enforce(generating())
    names = [
        await work.ask(await work.cluster.put("namespaces", namespace(f"n-{each}")))
        for each in range(worker.WORKERS + 1)
    ]
    async with work.leading():
        await until(lambda: all(work.content("c", f"n-{each}") for each in range(len(names))))
        assert {work.status(name)["state"] for name in names} == {"Pending"}, "nor do they keep each other waiting"
        reported.set()
        assert [(await work.ended(name))["state"] for name in names] == ["Completed"] * len(names)


async def test_reports_that_cannot_be_written_hold_up_nobody_for_long(work, monkeypatch) -> None:
    monkeypatch.setattr(worker, "REPORTED_WITHIN", 0.05)
    written_by(work, monkeypatch)
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        assert (await work.ended(await work.ask(trigger)))["state"] == "Completed"


@pytest.mark.parametrize("type_", [updaterequests.GENERATE, updaterequests.MUTATE])
async def test_a_busy_api_server_costs_no_tries(work, type_, monkeypatch) -> None:
    """429 says nothing about the work: it is not told of, and tried again until it is answered."""
    monkeypatch.setattr(worker, "POLL_MOST", worker.POLL_FIRST)
    calls = 0

    def busy(original):
        async def answer(*given, **named):
            nonlocal calls
            calls += 1
            if calls <= worker.MOST_RETRIES:
                raise BUSY
            return await original(*given, **named)

        return answer

    target = {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "t"}
    changing = {
        "match": {"any": [{"resources": {"kinds": ["Namespace"]}}]},
        "mutate": {"targets": [target], "patchStrategicMerge": {"data": {"a": "b"}}},
    }
    work.enforce(generating() if type_ == updaterequests.GENERATE else changing)
    await work.cluster.put("secrets", {**config_map("t"), "kind": "Secret"})
    work.cluster.apply, work.cluster.patch = busy(work.cluster.apply), busy(work.cluster.patch)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        status = await work.ended(await work.ask(trigger, type_=type_))
    assert calls > worker.MOST_RETRIES
    assert (status["state"], status["retryCount"]) == ("Completed", 0)
    assert "PolicyError" not in {each.reason for each in work.events}
    assert {row.status for _, _, rows in work.reported for row in rows} == {"pass"}


async def test_what_a_busy_api_server_did_not_list_is_listed_again(work, monkeypatch) -> None:
    """A new leader looks once for what went while nobody ran: the look has to be a whole one."""
    monkeypatch.setattr(policywork, "RETRY_AFTER", 0.05)
    work.enforce(generating(synchronize=True))
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
    work.forget()
    work.now += dt.timedelta(minutes=1)
    work.background = work.process(work.cluster)
    original, busy = work.cluster.pages, [BUSY, BUSY]

    async def pages(resource, **named):
        if resource.plural == "configmaps" and busy:
            raise busy.pop()
        async for page in original(resource, **named):
            yield page

    monkeypatch.setattr(work.cluster, "pages", pages)
    async with work.leading():
        await until(lambda: work.content("c", "shop") is None)
    assert not busy


async def test_what_may_not_be_done_for_a_policy_is_tried_again(work, monkeypatch) -> None:
    """It is granted later; or the API server had just started, and did not know its roles yet."""
    monkeypatch.setattr(policywork, "REFUSED_AFTER", 0.1)
    work.cluster.forbidden.add(("list", "namespaces"))
    await work.cluster.put("namespaces", namespace("shop"))
    work.enforce(generating(generateExisting=True))
    async with work.leading():
        await until(lambda: ("list", ("namespaces", "", "")) in work.cluster.calls)
        work.cluster.forbidden.clear()
        await until(lambda: work.content("c", "shop"))
