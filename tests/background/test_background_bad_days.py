"""Bad days of background work: what the worker does when the cluster does not do as it should."""

import datetime as dt

import pytest

from kymograph.clients.kubernetes import errors
from kymograph.controllers import updaterequests
from kymograph.controllers.background import queue, worker
from support import background
from support.background import config_map, namespace, until
from support.writtenpolicies import generating

REMOVED = 'controller_reconcile_duration_seconds_count{controller_name="update-request-removal",outcome="success"}'

GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["theirs/never"]}


@pytest.fixture
async def work():
    async with background.work() as made:
        yield made


async def failing(work, name: str) -> str:
    """The message of an UpdateRequest, once it has failed."""
    await until(lambda: work.status(name).get("retryCount"))
    return work.status(name)["message"]


@pytest.mark.parametrize("synchronize", [False, True])
async def test_what_is_being_deleted_is_waited_for(work, synchronize) -> None:
    """A finalizer that never clears is named; once the object is gone it is made anew."""
    work.enforce(generating(synchronize=synchronize))
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    going = config_map("c", mine="yes")
    await work.cluster.put("configmaps", {**going, "metadata": {**going["metadata"], **GOING}})
    async with work.leading():
        name = await work.ask(trigger)
        assert await failing(work, name) == "ConfigMap c is being deleted, finalizers left: theirs/never"
        await work.cluster.remove("configmaps", "shop", "c")
        assert (await work.ended(name))["state"] == "Completed"
    assert work.content("c", "shop") == {"a": "b"}


async def test_a_trigger_that_is_being_deleted_gets_nothing_any_more(work) -> None:
    """However long its finalizers take; what it had goes."""
    work.enforce(generating(synchronize=True))
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        going = await work.cluster.put("namespaces", namespace("shop", uid=trigger["metadata"]["uid"], **GOING))
        await work.ended(await work.ask(going, operation="UPDATE", old=trigger))
    assert work.content("c", "shop") is None


async def test_a_namespace_that_is_being_deleted_takes_nothing(work) -> None:
    """It is no reason to try again."""
    said = "configmaps is forbidden: unable to create new content in namespace shop because it is being terminated"

    async def refused(*_, **__):
        raise errors.Forbidden(403, "Forbidden", said)

    work.cluster.apply = refused
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        status = await work.ended(await work.ask(trigger))
    assert (status["state"], status["message"]) == ("Skip", "namespace shop is being deleted")


async def test_what_another_webhook_refuses_is_told_with_its_words(work) -> None:
    said = 'admission webhook "theirs" denied the request: not on a Friday'
    original = work.cluster.apply

    async def refused(*_, **__):
        raise errors.StatusError(400, "BadRequest", said)

    work.cluster.apply = refused
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        name = await work.ask(trigger)
        assert said in await failing(work, name)
        assert any(said in each.text for each in work.events if each.reason == "PolicyError")
        work.cluster.apply = original
        assert (await work.ended(name))["state"] == "Completed"


@pytest.mark.parametrize("obstacle", ["forbidden", "refused", "finalizers"])
async def test_what_never_succeeds_is_given_up_for_all_to_see(work, monkeypatch, obstacle) -> None:
    """In the UpdateRequest, in an Event, in the report on the trigger and in metrics, with the reason."""
    monkeypatch.setattr(worker, "RETRY_MOST", 0.01)
    said = {
        "forbidden": 'resource "configmaps"',
        "refused": 'admission webhook "theirs" denied the request',
        "finalizers": "finalizers left: theirs/never",
    }[obstacle]
    if obstacle == "forbidden":
        work.cluster.forbidden |= {("patch", "configmaps"), ("create", "configmaps"), ("update", "configmaps")}
    elif obstacle == "refused":

        async def refused(*_, **__):
            raise errors.StatusError(400, "BadRequest", said)

        work.cluster.apply = refused
    else:
        going = config_map("c")
        await work.cluster.put("configmaps", {**going, "metadata": {**going["metadata"], **GOING}})
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        status = await work.ended(await work.ask(trigger))
        counted = work.kept.scrape()
    assert (status["state"], said in status["message"]) == ("Failed", True)
    assert any(said in each.text for each in work.events if each.reason == "PolicyError")
    assert {(row.status, said in row.message) for _, _, rows in work.reported for row in rows} == {("error", True)}
    assert counted['update_requests_total{type="generate",state="Failed"}'] == 1
    assert counted['controller_drop_total{controller_name="update-request-controller"}'] == 1


async def test_a_target_that_does_not_exist_is_no_failure(work) -> None:
    match = {"any": [{"resources": {"kinds": ["ConfigMap"]}}]}
    target = {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "nobody"}
    work.enforce({"match": match, "mutate": {"targets": [target], "patchStrategicMerge": {"data": {"a": "b"}}}})
    trigger = await work.cluster.put("configmaps", config_map("t"))
    async with work.leading():
        status = await work.ended(await work.ask(trigger, type_=updaterequests.MUTATE))
    assert (status["state"], status["generatedResources"]) == ("Completed", [])


async def test_requests_about_one_object_keep_their_order(work) -> None:
    """Also where the first one failed at first: the last one has the last word."""
    rule = {
        "match": {"any": [{"resources": {"kinds": ["ConfigMap"], "names": ["trigger"]}}]},
        "mutate": {
            "targets": [{"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "t"}],
            "patchStrategicMerge": {"data": {"before": "{{ request.oldObject.data.n }}"}},
        },
    }
    work.enforce(rule)
    await work.cluster.put("secrets", {**config_map("t"), "kind": "Secret"})
    versions = [await work.cluster.put("configmaps", config_map("trigger", n=str(n))) for n in range(4)]
    work.cluster.forbidden |= {("patch", "secrets"), ("update", "secrets")}
    async with work.leading():
        more = {"operation": "UPDATE", "type_": updaterequests.MUTATE}
        first = await work.ask(versions[1], old=versions[0], **more)
        await failing(work, first)
        others = [await work.ask(new, old=old, **more) for old, new in ((versions[2], versions[3]), versions[1:3])]
        await until(lambda: work.background._worker.queue.depth == 3)
        work.cluster.forbidden.clear()
        for name in (first, *others):
            assert (await work.ended(name))["state"] == "Completed"
    assert work.content("t", "shop", "secrets") == {"before": "2"}


async def test_more_requests_than_there_is_room_for_are_taken_up_later(work, monkeypatch) -> None:
    monkeypatch.setattr(queue, "MOST_NAMES", 2)
    work.enforce(generating())
    triggers = [await work.cluster.put("namespaces", namespace(f"shop-{number}")) for number in range(6)]
    names = [await work.ask(each) for each in triggers]
    async with work.leading():
        for name in names:
            assert (await work.ended(name))["state"] == "Completed"


async def test_what_has_ended_is_kept_for_a_while_whoever_leads(work) -> None:
    """Leaders that never lead for long would keep all of it otherwise, and each of them would list all of it."""
    work.enforce(generating())
    name = await work.ask(await work.cluster.put("namespaces", namespace("shop")))
    async with work.leading():
        await work.ended(name)
    stored = work.cluster.stored["updaterequests", background.SPACE, name]
    written = background.START.isoformat().replace("+00:00", "Z")
    fields = [{"manager": "kymograph", "subresource": "status", "time": written}]
    await work.cluster.put("updaterequests", {**stored, "metadata": {**stored["metadata"], "managedFields": fields}})
    work.now += dt.timedelta(seconds=worker.KEPT)
    async with work.leading():
        await until(lambda: ("updaterequests", background.SPACE, name) not in work.cluster.stored)
        await until(lambda: REMOVED in work.kept.scrape())


async def test_what_has_the_name_of_one_that_ended_is_another(work) -> None:
    """Although nobody told that the first one had gone: it is worked off, and not removed in its place."""
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        name = await work.ask(trigger)
        await work.ended(name)
        await work.cluster.remove("configmaps", "shop", "c")
        place = ("updaterequests", background.SPACE, name)
        again = work.cluster.stored.pop(place)
        del again["status"]
        await work.cluster.put("updaterequests", {**again, "metadata": {**again["metadata"], "uid": "another"}})
        assert (await work.ended(name))["state"] == "Completed"
    assert work.content("c", "shop") == {"a": "b"}


async def test_there_are_no_more_requests_than_there_may_be(work, monkeypatch) -> None:
    """A policy may be about more objects than that: they are noted as others are done, whose outcomes make room."""
    monkeypatch.setattr(worker, "SWEEP_EVERY", 0.02)
    work.most = 4
    most = 0

    def stored():
        return [each for place, each in work.cluster.stored.items() if place[0] == "updaterequests"]

    for number in range(20):
        await work.cluster.put("namespaces", namespace(f"shop-{number}"))
    work.enforce(generating(generateExisting=True))
    async with work.leading():

        def done():
            nonlocal most
            most = max(most, len(stored()))
            return all(work.content("c", f"shop-{number}") for number in range(20))

        await until(done)
        await until(lambda: len(stored()) <= work.most // 2)
    assert 0 < most <= work.most


async def test_what_an_old_kyverno_generated_is_found_by_the_name_of_its_trigger(work) -> None:
    """It wrote no uid."""
    work.enforce(generating(synchronize=True))
    trigger = await work.cluster.put("namespaces", namespace("shop", creationTimestamp="2024-01-01T00:00:00Z"))
    theirs = config_map("theirs")
    theirs["metadata"]["labels"] = {
        "app.kubernetes.io/managed-by": "kyverno",
        "generate.kyverno.io/policy-name": "p",
        "generate.kyverno.io/policy-namespace": "",
        "generate.kyverno.io/rule-name": "r",
        "generate.kyverno.io/trigger-name": "shop",
        "generate.kyverno.io/trigger-namespace": "",
        "generate.kyverno.io/trigger-kind": "Namespace",
    }
    async with work.leading():
        await work.cluster.put("configmaps", theirs)
        await work.cluster.remove("namespaces", "", "shop")
        await work.ended(await work.ask(trigger, operation="DELETE", old=trigger))
    assert work.content("theirs", "shop") is None
