"""What generate rules make of triggers: by what the cluster says, however often and whoever else writes."""

import asyncio
import datetime as dt
import pathlib

import pytest

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers import updaterequests
from kymograph.engine.generate import labels
from support import background, trees
from support.background import config_map, namespace, until
from support.writtenpolicies import generating

SYNCHRONIZED = generating(synchronize=True)


@pytest.fixture
async def work():
    async with background.work() as made:
        yield made


async def test_a_trigger_has_what_its_rule_describes(work) -> None:
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        name = await work.ask(trigger)
        status = await work.ended(name)
    assert status["state"] == "Completed"
    assert status["generatedResources"] == [{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "c"}]
    made = work.cluster.stored["configmaps", "shop", "c"]
    assert made["data"] == {"a": "b"}
    assert made["metadata"]["labels"]["generate.kyverno.io/trigger-uid"] == trigger["metadata"]["uid"]
    assert made["metadata"]["annotations"] == {"kymograph.dev/trigger-name": "shop"}


async def test_a_request_waits_until_its_object_is_stored(work) -> None:
    """Admission comes before storage."""
    work.enforce(generating())
    async with work.leading():
        name = await work.ask(namespace("shop", uid="to-come"))
        await until(
            lambda: len([call for call in work.cluster.calls if call == ("get", ("namespaces", "", "shop"))]) > 2
        )
        assert work.status(name)["state"] == "Pending"
        assert work.cluster.verbs("updaterequests") == ["patch"], "claimed once"
        await work.cluster.put("namespaces", namespace("shop", uid="to-come"))
        assert (await work.ended(name))["state"] == "Completed"
    assert work.content("c", "shop") == {"a": "b"}


@pytest.mark.parametrize(
    ("stored", "state", "said"), [(None, "Skip", "may have been denied"), ("another", "Failed", "another object")]
)
async def test_an_object_that_never_comes_has_no_effect(work, stored, state, said) -> None:
    """Also where another one has its name: that is a failure, as in Kyverno, and no denial after us."""
    work.enforce(generating())
    if stored:
        await work.cluster.put("namespaces", namespace("shop", uid=stored))
    async with work.leading():
        name = await work.ask(namespace("shop", uid="denied"))
        await until(lambda: ("get", ("namespaces", "", "shop")) in work.cluster.calls)
        assert work.status(name)["state"] == "Pending"
        work.now += dt.timedelta(seconds=60)
        status = await work.ended(name)
    assert (status["state"], said in status["message"]) == (state, True)
    assert work.content("c", "shop") is None


async def test_an_update_counts_once_it_is_stored(work) -> None:
    """The version that it updates is not it."""
    work.enforce(generating(data={"data": {"team": "{{ request.object.metadata.labels.team }}"}}))
    old = await work.cluster.put("namespaces", namespace("shop", labels={"team": "red"}))
    new = namespace("shop", uid=old["metadata"]["uid"], labels={"team": "blue"})
    async with work.leading():
        name = await work.ask(new, operation="UPDATE", old=old)
        await until(lambda: work.cluster.calls.count(("get", ("namespaces", "", "shop"))) > 2)
        assert work.status(name)["state"] == "Pending"
        await work.cluster.put("namespaces", new)
        await work.ended(name)
    assert work.content("c", "shop") == {"team": "blue"}


async def test_an_update_that_changes_nothing_counts_at_once(work) -> None:
    work.enforce(generating())
    old = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        assert (await work.ended(await work.ask(old, operation="UPDATE", old=old)))["state"] == "Completed"


async def test_what_is_there_is_left_alone_unless_the_rule_synchronizes(work) -> None:
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    await work.cluster.put("configmaps", config_map("c", mine="yes"))
    async with work.leading():
        assert (await work.ended(await work.ask(trigger)))["state"] == "Completed"
    assert work.content("c", "shop") == {"mine": "yes"}
    assert work.cluster.verbs("configmaps") == []


async def test_without_the_right_to_patch_objects_are_replaced(work) -> None:
    """As under the roles that are made for Kyverno; what others keep in the metadata stays."""
    work.cluster.forbidden.add(("patch", "configmaps"))
    work.enforce(SYNCHRONIZED)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    theirs = config_map("c", mine="yes")
    theirs["metadata"]["finalizers"] = ["theirs"]
    await work.cluster.put("configmaps", theirs)
    async with work.leading():
        await work.ended(await work.ask(trigger))
        assert work.content("c", "shop") == {"a": "b"}
        assert work.cluster.stored["configmaps", "shop", "c"]["metadata"]["finalizers"] == ["theirs"]
        await work.ended(await work.ask(trigger))
    assert work.cluster.verbs("configmaps") == ["patch", "update"]


async def test_a_field_that_the_kind_does_not_have_is_lost_as_in_a_creation(work) -> None:
    """Although server-side apply would refuse it."""

    async def refused(*_, **__):
        raise kubernetes_errors.StatusError(500, "", "failed to create typed patch object (...): .x: not declared")

    work.cluster.apply = refused
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        assert (await work.ended(await work.ask(trigger)))["state"] == "Completed"
    assert work.cluster.verbs("configmaps") == ["create"]


@pytest.mark.parametrize("rule", [SYNCHRONIZED, generating()])
async def test_what_a_deleted_trigger_had_generated_goes_if_it_is_synchronized(work, rule) -> None:
    work.enforce(rule)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        name = await work.ask(trigger, operation="DELETE", old=trigger)
        await until(lambda: work.cluster.calls.count(("get", ("namespaces", "", "shop"))) > 2)
        assert work.content("c", "shop") == {"a": "b"}
        await work.cluster.remove("namespaces", "", "shop")
        status = await work.ended(name)
    if rule is SYNCHRONIZED:
        assert status["state"] == "Completed"
        assert work.content("c", "shop") is None
    else:
        assert (status["state"], work.content("c", "shop")) == ("Skip", {"a": "b"})


async def test_what_a_trigger_wants_no_more_is_pruned(work) -> None:
    """One of the elements of a `foreach` is gone."""
    one = {"apiVersion": "v1", "kind": "ConfigMap", "name": "{{element}}", "namespace": "shop", "data": {"data": {}}}
    each = {"list": "request.object.data.names | split(@, ',')", **one}
    match = {"any": [{"resources": {"kinds": ["Secret"]}}]}
    work.enforce({"match": match, "generate": {"synchronize": True, "foreach": [each]}})
    trigger = {**config_map("t", names="x,y"), "kind": "Secret"}
    old = await work.cluster.put("secrets", trigger)
    async with work.leading():
        await work.ended(await work.ask(old))
        assert work.content("x", "shop") is not None
        assert work.content("y", "shop") is not None
        new = await work.cluster.put("secrets", {**old, "data": {"names": "y"}})
        await work.ended(await work.ask(new, operation="UPDATE", old=old))
    assert work.content("x", "shop") is None
    assert work.content("y", "shop") is not None


def requests(work) -> list[dict]:
    """The UpdateRequests; those that nobody has claimed are pending, too."""
    stored = [each for place, each in work.cluster.stored.items() if place[0] == "updaterequests"]
    return [{"status": {"state": "Pending"}, **each} for each in stored]


@pytest.mark.parametrize("denied", [set(), {("patch", "configmaps")}])
async def test_a_rule_that_names_another_target_lets_go_of_the_old_one(work, denied) -> None:
    """As the warning says that Kyverno gives; the triggers of the old target get the new one."""
    work.cluster.forbidden |= denied
    work.enforce(SYNCHRONIZED)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        work.enforce(generating(synchronize=True, name="other"), generation=2)
        await until(lambda: work.content("other", "shop") and not work.background._changes.moved)
        await until(lambda: all(each["status"]["state"] == "Completed" for each in requests(work)))
        left = work.cluster.stored["configmaps", "shop", "c"]["metadata"]["labels"]
        made = work.cluster.stored["configmaps", "shop", "other"]["metadata"]["labels"]
        work.forget()
        await until(lambda: work.content("other", "shop") is None)
    assert work.content("c", "shop") == {"a": "b"}
    assert not left.keys() & set(labels.RULE)
    assert set(labels.RULE) <= made.keys()


async def test_what_is_to_be_let_go_of_is_not_deleted_before(work) -> None:
    """By a request about the same trigger that the new rule comes to first."""
    work.enforce(SYNCHRONIZED)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    relabel, goes_on = work.cluster.merge, asyncio.Event()

    async def later(resource, *given, **more):
        if resource.plural == "configmaps":
            await goes_on.wait()
        return await relabel(resource, *given, **more)

    work.cluster.merge = later
    async with work.leading():
        await work.ended(await work.ask(trigger))
        work.enforce(generating(synchronize=True, name="other"), generation=2)
        await work.ended(await work.ask(trigger, operation="UPDATE", old=trigger))
        assert work.content("other", "shop") == work.content("c", "shop") == {"a": "b"}
        goes_on.set()
        await until(lambda: not work.background._changes.moved)
        left = work.cluster.stored["configmaps", "shop", "c"]["metadata"]["labels"]
    assert not left.keys() & set(labels.RULE)


CLONE = {"match": generating()["match"], "generate": {
    "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": "{{request.object.metadata.name}}",
    "synchronize": True, "clone": {"name": "source", "namespace": "base"},
}}  # fmt: skip


async def test_a_clone_waits_for_its_source_and_follows_it(work) -> None:
    work.enforce(CLONE)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        name = await work.ask(trigger)
        await until(lambda: work.status(name).get("retryCount"))
        assert work.status(name)["state"] == "Pending"
        assert "not found" in work.status(name)["message"]
        source = await work.cluster.put("configmaps", config_map("source", "base", a="1"))
        assert (await work.ended(name))["state"] == "Completed"
        assert work.content("c", "shop") == {"a": "1"}
        stored = work.cluster.stored["configmaps", "base", "source"]
        assert "generate.kyverno.io/clone-source" in stored["metadata"]["labels"]
        await work.cluster.put("configmaps", {**stored, "data": {"a": "2"}})
        await until(lambda: work.content("c", "shop") == {"a": "2"})
        await work.cluster.remove("configmaps", "base", "source")
        await until(lambda: work.content("c", "shop") is None)
    assert source["metadata"]["uid"]


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_others_do_to_downstream_is_undone(work, deleted) -> None:
    work.enforce(SYNCHRONIZED)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        watched = work.background._watches._watched
        await until(lambda: watched and all(made.synced.is_set() and made.objects for made, _ in watched.values()))
        if deleted:
            await work.cluster.remove("configmaps", "shop", "c")
        else:
            await work.cluster.put("configmaps", {**work.cluster.stored["configmaps", "shop", "c"], "data": {"a": "x"}})
        await until(lambda: work.content("c", "shop") == {"a": "b"})


async def test_our_own_writes_are_no_news(work) -> None:
    """What the watch tells of them asks for nothing."""
    async with work.leading():
        work.enforce(SYNCHRONIZED)
        trigger = await work.cluster.put("namespaces", namespace("shop"))
        await work.ended(await work.ask(trigger))
        news = work.background._watches
        await until(lambda: not news._news and any(made.objects for made, _ in news._watched.values()))
    made = work.cluster.stored["configmaps", "shop", "c"]["metadata"]
    about = ("downstream", made["uid"], made["resourceVersion"], "p", "r", trigger["metadata"]["uid"])
    assert ("updaterequests", background.SPACE, updaterequests.named(*about)) not in work.cluster.stored


async def undone(work) -> None:
    """Wait until all that policies leave behind which have gone is gone, too: what comes later is done after it."""
    work.enforce(generating(generateExisting=True, name="marker"), name="later")
    await until(lambda: work.content("marker", "shop"))


@pytest.mark.parametrize("orphans", [False, True])
async def test_what_a_rule_generated_goes_with_it(work, orphans) -> None:
    """And with the policy, unless it says otherwise."""
    work.enforce(generating(synchronize=True, orphanDownstreamOnPolicyDelete=orphans))
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        work.forget()
        if orphans:
            await undone(work)
        else:
            await until(lambda: work.content("c", "shop") is None)
    assert (work.content("c", "shop") is None) is not orphans


@pytest.mark.parametrize(("said", "stays"), [({}, True), ({"orphanDownstreamOnPolicyDelete": False}, False)])
async def test_clones_outlive_their_policy_unless_it_says_otherwise(work, said, stays) -> None:
    rule = {**CLONE, "generate": {**CLONE["generate"], **said}}
    await work.cluster.put("configmaps", config_map("source", "base", a="1"))
    work.enforce(rule)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        work.forget()
        if stays:
            await undone(work)
        else:
            await until(lambda: work.content("c", "shop") is None)
    assert work.content("c", "shop") == ({"a": "1"} if stays else None)
    assert bool(work.background._changes.gone) is False


async def test_a_policy_that_goes_while_another_replica_leads_is_undone_by_the_next(work) -> None:
    work.enforce(SYNCHRONIZED)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
    work.forget()
    async with work.leading():
        await until(lambda: work.content("c", "shop") is None)


async def test_a_rule_that_describes_something_else_has_it_written(work) -> None:
    work.enforce(SYNCHRONIZED)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        work.enforce(generating(synchronize=True, data={"data": {"a": "z"}}), generation=2)
        await until(lambda: work.content("c", "shop") == {"a": "z"})


async def test_existing_triggers_count_where_the_rule_says_so(work) -> None:
    await work.cluster.put("namespaces", namespace("shop"))
    work.enforce(generating(generateExisting=True))
    async with work.leading():
        await until(lambda: work.content("c", "shop") == {"a": "b"})


async def test_a_new_leader_finds_triggers_without_result(work) -> None:
    """Those that came after a policy that synchronizes; others are none."""
    await work.cluster.put("namespaces", namespace("before", creationTimestamp="2024-01-01T00:00:00Z"))
    await work.cluster.put("namespaces", namespace("after"))
    work.enforce(SYNCHRONIZED)
    async with work.leading():
        await until(lambda: work.content("c", "after") == {"a": "b"})
    assert work.content("c", "before") is None


async def test_the_trace_of_a_request_leads_to_what_came_of_it(work) -> None:
    """Root, policy, rule and calls; linked to the trace of the admission request."""
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger, traceparent="00-0000000000000000000000000000000a-000000000000000b-01"))
    spans = {span.name: span for span in work.kept.finished()}
    root = spans["BACKGROUND generate"]
    assert [(link.context.trace_id, link.context.span_id) for link in root.links] == [(10, 11)]
    assert root.attributes["kymograph.updaterequest.state"] == "Completed"
    assert root.attributes["kymograph.updaterequest.objects"] == ("ConfigMap shop/c",)
    assert spans["POLICY /p"].parent.span_id == root.context.span_id
    assert spans["RULE r"].parent.span_id == spans["POLICY /p"].context.span_id
    assert work.kept.scrape()['update_requests_total{type="generate",state="Completed"}'] == 1


def test_an_update_request_says_what_it_was_made_from() -> None:
    """Read back, but for the object."""
    trigger = updaterequests.Reference("v1", "Namespace", "", "shop", "u")
    part = updaterequests.Part("r", trigger, deletes=True)
    document = updaterequests.document("ur-1", "generate", "shop/p", part, request=None, kinds=[("v1", "ConfigMap")])
    document["metadata"] |= {"uid": "x", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    read = updaterequests.read(document)
    assert (read.policy, read.parts, read.kinds, read.state) == ("shop/p", (part,), (("v1", "ConfigMap"),), "Pending")


async def test_the_tree_of_an_update_request(work) -> None:
    """See `generate.tree`."""
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger, traceparent="00-0000000000000000000000000000000a-000000000000000b-01"))
    trees.compare(
        pathlib.Path(__file__).with_name("generate.tree"), trees.below(work.kept.finished(), "BACKGROUND generate")
    )
