"""What is told of GlobalContextEntries: their status, Events, and traces of what is done for them."""

import asyncio
import datetime as dt
import pathlib

import pytest

from fakes.globalcontext import DEPLOYMENTS, Caller, Catalogues, calling, until
from fakes.traced import kept
from kymograph.clients.kubernetes import errors
from kymograph.controllers.globalcontext import sources, status
from support import trees

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)


class Merges:
    """Keeps the statuses that are written."""

    def __init__(self):
        self.written = {}

    async def merge(self, resource, name, patch, *, subresource):
        assert (resource.plural, subresource) == ("globalcontextentries", "status")
        self.written[name] = patch["status"]
        return {}


async def test_the_status_says_whether_there_are_data(cluster, start) -> None:
    """With Kyverno's reasons, and for a call when it was last answered."""
    await cluster.define("all", DEPLOYMENTS)
    await cluster.define("called", calling())
    await cluster.define("odd", {})
    merges = Merges()
    async with kept() as traces:
        writer = status.StatusWriter(merges, start(Caller(1)), traces.telemetry, lambda: NOW)
        task = asyncio.create_task(writer.run())
        await until(lambda: set(merges.written) == {"all", "called", "odd"})
        task.cancel()
        spans = {span.name for span in traces.finished()}
    told = {name: written["conditions"][0] for name, written in merges.written.items()}
    assert {name: (each["status"], each["reason"]) for name, each in told.items()} == {
        "all": ("True", "Succeeded"),
        "called": ("True", "Succeeded"),
        "odd": ("False", "Failed"),
    }
    assert "spec.kubernetesResource" in told["odd"]["message"]
    assert merges.written["called"]["lastRefreshTime"] == "2026-03-01T12:00:00Z"
    assert "lastRefreshTime" not in merges.written["all"]
    assert spans == {"BACKGROUND global context status"}


async def test_the_status_says_when_a_call_was_answered_not_when_it_was_told(cluster, start) -> None:
    """A replica that has kept the data for an hour and leads from now on."""
    await cluster.define("called", calling())
    merges, moments = Merges(), [NOW, NOW + dt.timedelta(hours=1)]
    async with kept() as traces:
        context = start(Caller(1))
        writer = status.StatusWriter(merges, context, traces.telemetry, lambda: moments[0])
        await context.wait("called")
        moments.pop(0)
        task = asyncio.create_task(writer.run())
        await until(lambda: "called" in merges.written)
        task.cancel()
    assert merges.written["called"]["lastRefreshTime"] == "2026-03-01T12:00:00Z"


async def test_the_status_says_what_may_not_be_listed(cluster, start) -> None:
    """In the place where its author looks."""
    cluster.deployments.refusing = [errors.Forbidden(403, "Forbidden", "no")] * 1_000
    await cluster.define("all", DEPLOYMENTS)
    merges = Merges()
    async with kept() as traces:
        task = asyncio.create_task(status.StatusWriter(merges, start(), traces.telemetry, lambda: NOW).run())
        await until(lambda: "all" in merges.written)
        task.cancel()
    (condition,) = merges.written["all"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Failed")
    assert condition["message"] == "permission denied: no"


async def test_what_fails_is_an_event_and_what_goes_on_failing_is_the_same(cluster, start, monkeypatch) -> None:
    """In Kyverno's terms, of the entry; the recorder counts what is told again in the Event there is."""
    monkeypatch.setattr(sources, "FIRST_PAUSE", 0)
    monkeypatch.setattr(status, "PAUSE", 0)
    await cluster.define("odd", {})
    await cluster.define("there", calling("/there"))
    await cluster.define("away", calling("/away", refreshInterval="1s"))

    async def answer(need):
        if need.path == "/away":
            raise errors.Unreachable("no answer")
        return {"a": 1}

    told = []
    async with kept() as traces:
        writer = status.StatusWriter(Merges(), start(answer), traces.telemetry, lambda: NOW, told.append)
        task = asyncio.create_task(writer.run())
        await until(lambda: sum(each.regarding.name == "away" for each in told) > 1)
        task.cancel()
    assert {each.regarding.name for each in told} == {"odd", "away"}
    (away,) = {each for each in told if each.regarding.name == "away"}
    assert away.regarding[:4] == ("kyverno.io/v2", "GlobalContextEntry", "", "away")
    assert (away.reason, away.action, away.source) == ("PolicyError", "Retrying", "globalcontext-controller")
    assert away.text.endswith("no answer")


async def test_each_round_of_calls_is_a_trace(cluster, start, monkeypatch) -> None:
    """See `refresh.tree`: of a call that is answered, and of one that is not, with its status linked to it."""
    monkeypatch.setattr(sources, "FIRST_PAUSE", 0)
    async with kept() as traces:
        await cluster.define("away", calling("/away"))
        await cluster.define("there", calling("/there"))

        async def answer(need):
            if need.path == "/away":
                raise errors.Unreachable("no answer")
            return {"a": 1}

        made = start(answer, traces.telemetry.tracer_for("background"))
        assert await made.wait("there") == {"a": 1}
        with pytest.raises(LookupError):
            await made.wait("away")
        writer = status.StatusWriter(Merges(), made, traces.telemetry, lambda: NOW)
        for name in ("away", "there"):
            await writer._write(name, made.entries[name])
        trees.compare(pathlib.Path(__file__).with_name("refresh.tree"), traces.finished())


async def test_what_is_asked_to_find_a_collection_is_a_trace_with_its_status_linked_to_it(cluster, start) -> None:
    """See `discovery.tree`: of a kind that is not served; the calls are below what was asked."""
    async with kept() as traces:

        class Asking(Catalogues):
            async def refresh(self):
                with traces.telemetry.client_spans.start("KUBE get /apis", {}):
                    return await super().refresh()

        await cluster.define("parcels", {"kubernetesResource": {"group": "x", "version": "v1", "resource": "parcels"}})
        made = start(tracer=traces.telemetry.tracer_for("background"), catalogues=Asking())
        with pytest.raises(LookupError):
            await made.wait("parcels")
        writer = status.StatusWriter(Merges(), made, traces.telemetry, lambda: NOW)
        await writer._write("parcels", made.entries["parcels"])
        trees.compare(pathlib.Path(__file__).with_name("discovery.tree"), traces.finished())
