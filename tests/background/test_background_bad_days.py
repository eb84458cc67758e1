"""Bad days of background work: what the worker does when the cluster does not do as it should."""

import pytest

from kymograph.clients.kubernetes import errors
from kymograph.controllers import updaterequests
from kymograph.controllers.background import queue
from support import background
from support.background import config_map, namespace, until
from support.writtenpolicies import generating

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
