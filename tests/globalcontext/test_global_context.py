"""GlobalContextEntries: what is kept, when it is known, and how who asks learns that it is not."""

import asyncio

import pytest

from fakes.collection import Collection
from fakes.globalcontext import DEPLOYMENTS, Caller, Catalogues, calling, unseen, until
from kymograph.clients.kubernetes import discovery, errors, informer
from kymograph.controllers.globalcontext import definition, sources
from kymograph.engine import errors as engine_errors
from kymograph.engine import needs


def _refusal(ask) -> str:
    """Why it is not at hand; empty where it is."""
    try:
        ask()
    except LookupError as error:
        return str(error)
    return ""


def _raises(attempt):
    try:
        attempt()
    except LookupError:
        return True
    return False


def names(documents):
    return [document["metadata"]["name"] for document in documents]


async def test_a_collection_is_whole_objects_in_order(cluster, start) -> None:
    """With the kind that lists leave out; who manages which field is left out."""
    await cluster.define("all", DEPLOYMENTS)
    await cluster.deployments.put("c", spec={"replicas": 1})
    cluster.deployments.objects["ns", "c"]["metadata"]["managedFields"] = [{}]
    held = await start().wait("all")
    assert names(held) == ["a", "b", "c"]
    assert held[2]["kind"] == "Deployment"
    assert held[2]["apiVersion"] == "apps/v1"
    assert held[2]["spec"] == {"replicas": 1}
    assert "managedFields" not in held[2]["metadata"]


async def test_a_collection_follows_the_cluster(cluster, start) -> None:
    """And so do projections of it."""
    await cluster.define("all", {**DEPLOYMENTS, "projections": [{"name": "names", "jmesPath": "[].metadata.name"}]})
    context = start()
    assert await context.wait("all.names") == ["a", "b"]
    await cluster.deployments.put("c")
    await until(lambda: context.at_hand("all.names") == ["a", "b", "c"])
    await cluster.deployments.remove("a")
    await until(lambda: names(context.at_hand("all")) == ["b", "c"])


async def test_a_projection_is_computed_once_for_a_state(cluster, start) -> None:
    """It is asked for in every review."""
    await cluster.define("all", {**DEPLOYMENTS, "projections": [{"name": "names", "jmesPath": "[].metadata.name"}]})
    context = start()
    first = await context.wait("all.names")
    assert context.at_hand("all.names") is first


async def test_entries_of_one_collection_share_it(cluster, start) -> None:
    """It is listed once, until nobody wants it any more; wanted again, it is listed again."""
    await cluster.define("one", DEPLOYMENTS)
    await cluster.define("two", {**DEPLOYMENTS, "projections": [{"name": "first", "jmesPath": "[0]"}]})
    context = start()
    assert await context.wait("one") is await context.wait("two")
    assert cluster.deployments.listed == 1
    await cluster.delete("one")
    await until(lambda: "one" not in context.entries)
    await cluster.deployments.put("c")
    await until(lambda: len(context.at_hand("two")) == 3)
    await cluster.delete("two")
    await until(lambda: not context.entries)
    await cluster.define("three", DEPLOYMENTS)
    await until(lambda: "three" in context.entries)
    assert len(await context.wait("three")) == 3
    assert cluster.deployments.listed == 2


async def test_an_entry_that_is_deleted_holds_nothing(cluster, start) -> None:
    """In the words of Kyverno."""
    await cluster.define("all", DEPLOYMENTS)
    context = start()
    await context.wait("all")
    await cluster.delete("all")
    await until(lambda: not context.entries)
    with pytest.raises(LookupError, match="failed to fetch entry key=all"):
        context.at_hand("all")
    with pytest.raises(LookupError, match="failed to fetch entry key=all"):
        await context.wait("all")


async def test_a_call_is_kept_and_made_again(cluster, start) -> None:
    """At the interval that the entry says."""
    caller = Caller({"round": 1}, {"round": 2})
    await cluster.define(
        "called", {**calling(refreshInterval="1s"), "projections": [{"name": "n", "jmesPath": "round"}]}
    )
    context = start(caller)
    assert await context.wait("called") == {"round": 1}
    assert context.at_hand("called.n") == 1
    await until(lambda: context.at_hand("called.n") == 2)
    assert set(caller.asked) == {needs.APICall("/api")}


async def test_a_failed_call_is_tried_again(cluster, start) -> None:
    """As often as the entry says, before it counts as failed."""
    caller = Caller(errors.Unreachable("refused"), errors.Unreachable("refused"), "there")
    await cluster.define("called", calling(retryLimit=3))
    assert await start(caller).wait("called") == "there"


async def test_while_a_call_fails_there_are_no_data(cluster, start) -> None:
    """Who asks is told why; old data would be taken for new ones."""
    caller = Caller("there", errors.Forbidden(403, "Forbidden", "no"), "back")
    await cluster.define("called", calling(refreshInterval="1s"))
    context = start(caller)
    assert await context.wait("called") == "there"
    await until(lambda: _raises(lambda: context.at_hand("called")))
    with pytest.raises(LookupError, match="permission denied: no"):
        context.at_hand("called")
    await until(lambda: not _raises(lambda: context.at_hand("called")))
    assert context.at_hand("called") == "back"


async def test_a_service_may_be_called(cluster, start) -> None:
    """With its header fields, certificates and the JSON that is posted."""
    service = {"url": "https://a", "caBundle": "pem", "headers": [{"key": "a", "value": "b"}]}
    data = [{"key": "x", "value": {"y": 1}}]
    await cluster.define("called", {"apiCall": {"service": service, "method": "POST", "data": data}})
    caller = Caller([])
    assert await start(caller).wait("called") == []
    assert caller.asked == [needs.ServiceCall("https://a", "POST", (("a", "b"),), b'{"x":{"y":1}}', "pem")]


async def test_a_changed_entry_is_read_anew(cluster, start) -> None:
    """A write of its status is no change."""
    caller = Caller("first")
    await cluster.define("called", calling())
    context = start(caller)
    await context.wait("called")
    before = context.entries["called"]
    caller.answers = ["second"]
    await cluster.define("called", calling(), status={"ready": True})
    await until(lambda: "status" in before.document)
    assert context.entries["called"] is before
    await cluster.define("called", calling("/changed"))
    await until(lambda: context.entries["called"] is not before)
    assert await context.wait("called") == "second"


async def test_what_is_not_served_is_looked_for_again(cluster, start, monkeypatch) -> None:
    """Its definition may come later."""
    monkeypatch.setattr(sources, "LOOK_AGAIN", 0.02)
    spec = {"kubernetesResource": {"group": "example.org", "version": "v1", "resource": "deployments"}}
    await cluster.define("later", spec)
    context = start()
    with pytest.raises(LookupError, match=r"does not serve example\.org/v1/deployments"):
        await context.wait("later")
    served = discovery.Served("example.org", "v1", "deployments", "Deployment", "", True, frozenset({"list"}))
    context._catalogues.current = discovery.Catalogue((served,))
    await until(lambda: not _raises(lambda: context.at_hand("later")))


async def test_a_collection_that_outgrows_its_limit_is_let_go(cluster) -> None:
    """Policies do not take the memory of the operator."""
    wanted = definition.Collection("apps", "v1", "deployments", "")
    watched = sources.Watched(wanted, cluster, Catalogues(), lambda: None, unseen, limit=1_000)
    task = asyncio.create_task(watched.run())
    await watched.settled.wait()
    assert len(watched.value()) == 2
    await cluster.deployments.put("large", data="x" * 1_000)
    await until(lambda: _raises(watched.value))
    with pytest.raises(LookupError, match="more than 1000 bytes"):
        watched.value()
    task.cancel()


async def test_a_collection_that_may_not_be_listed_says_so_at_once(cluster, start, monkeypatch) -> None:
    """Nobody waits for what is refused; once the right is granted, there are data."""
    monkeypatch.setattr(informer, "BACKOFF_FIRST", 0.001)
    cluster.deployments.refusing = [errors.Forbidden(403, "Forbidden", "deployments.apps is forbidden")] * 3
    await cluster.define("all", DEPLOYMENTS)
    context = start()
    with pytest.raises(LookupError, match=r"permission denied: deployments\.apps is forbidden"):
        await context.wait("all")
    await until(lambda: not _raises(lambda: context.at_hand("all")))
    assert names(context.at_hand("all")) == ["a", "b"]


async def test_a_collection_that_cannot_be_listed_says_so_after_some_tries(cluster, start, monkeypatch) -> None:
    """An API server that is busy for a moment fails nobody's review."""
    monkeypatch.setattr(informer, "BACKOFF_FIRST", 0.001)
    busy = errors.StatusError(429, "TooManyRequests", "later")
    cluster.deployments.refusing = [busy] * (sources.PATIENCE - 1)
    await cluster.define("all", DEPLOYMENTS)
    assert names(await start().wait("all")) == ["a", "b"]
    cluster.collections["statefulsets"] = Collection("c")
    cluster.collections["statefulsets"].refusing = [busy] * 1_000
    wanted = definition.Collection("apps", "v1", "statefulsets", "")
    served = discovery.Served("apps", "v1", "statefulsets", "StatefulSet", "", True, frozenset({"list"}))
    catalogues = Catalogues()
    catalogues.current = discovery.Catalogue((served,))
    watched = sources.Watched(wanted, cluster, catalogues, lambda: None, unseen)
    task = asyncio.create_task(watched.run())
    await watched.settled.wait()
    with pytest.raises(LookupError, match="apps/v1/statefulsets cannot be listed: 429"):
        watched.value()
    task.cancel()


async def test_a_kind_that_is_removed_takes_its_objects_with_it(cluster, start, monkeypatch) -> None:
    """Its definition is gone: old objects would be taken for existing ones. When it is back, so are they."""
    monkeypatch.setattr(informer, "BACKOFF_FIRST", 0.001)
    monkeypatch.setattr(sources, "LOOK_AGAIN", 0.02)
    await cluster.define("all", DEPLOYMENTS)
    context = start()
    await context.wait("all")
    served = context._catalogues.current
    context._catalogues.current = discovery.Catalogue(())
    gone = errors.NotFound(404, "NotFound", "the server could not find the requested resource")
    cluster.deployments.refusing = [gone] * 1_000
    await cluster.deployments.break_watches(gone)
    await until(lambda: "does not serve apps/v1/deployments" in _refusal(lambda: context.at_hand("all")))
    cluster.deployments.refusing = []
    context._catalogues.current = served
    await until(lambda: not _raises(lambda: context.at_hand("all")))


async def test_a_restart_of_the_api_server_takes_nothing(cluster, start, monkeypatch) -> None:
    """It may answer 403 and 404 before it is whole; what was last seen stays."""
    monkeypatch.setattr(informer, "BACKOFF_FIRST", 0.001)
    await cluster.define("all", DEPLOYMENTS)
    context = start()
    await context.wait("all")
    before = cluster.deployments.listed
    cluster.deployments.refusing = [
        errors.NotFound(404, "NotFound", "no such path"),
        errors.Forbidden(403, "Forbidden", "not yet"),
        errors.Unreachable("refused"),
    ]
    await cluster.deployments.break_watches(errors.Expired(410, "Expired", "too old"))
    await until(lambda: cluster.deployments.listed >= before + 3 or _raises(lambda: context.at_hand("all")))
    assert names(context.at_hand("all")) == ["a", "b"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, "spec.kubernetesResource"),
        ({**DEPLOYMENTS, **calling()}, "spec.kubernetesResource"),
        ({"kubernetesResource": {"group": "apps", "version": "v1"}}, "spec.kubernetesResource.resource"),
        ({"kubernetesResource": {"version": "v1", "resource": "x", "kind": "X"}}, "spec.kubernetesResource.kind"),
        ({"apiCall": {}}, "spec.apiCall.service"),
        (calling(service={"url": "http://a"}), "spec.apiCall.service"),
        (calling(refreshInterval="soon"), "spec.apiCall.refreshInterval"),
        (calling(retryLimit=0), "spec.apiCall.retryLimit"),
        (calling(retryLimit=10**9), "spec.apiCall.retryLimit"),
        (calling(method="DELETE"), "spec.apiCall.method"),
        ({"kubernetesResource": {"version": "v2", "resource": "a"}}, "spec.kubernetesResource.group"),
        (calling(refreshInterval="0s"), "spec.apiCall.refreshInterval"),
        (calling(data=[{"key": "a", "value": 1}]), "spec.apiCall.method"),
        ({**DEPLOYMENTS, "projections": [{"name": "odd", "jmesPath": "@"}]}, "spec.projections[0].name"),
        ({**DEPLOYMENTS, "projections": [{"jmesPath": "@"}]}, "spec.projections[0].name"),
        ({**DEPLOYMENTS, "projections": [{"name": "a", "jmesPath": "a["}]}, "spec.projections[0].jmesPath"),
        ({**DEPLOYMENTS, "projections": [{"name": "a", "jmesPath": ""}]}, "spec.projections[0].jmesPath"),
    ],
)
async def test_an_entry_that_cannot_be_read_says_where(cluster, start, spec, path) -> None:
    """When it is written, and to whoever asks for it."""
    document = {"metadata": {"name": "odd", "uid": "u"}, "spec": spec}
    with pytest.raises(engine_errors.PolicyInvalid) as invalid:
        definition.read(document)
    assert path in [problem.path for problem in invalid.value.problems]
    await cluster.define("odd", spec)
    context = start()
    with pytest.raises(LookupError, match=path.replace("[", r"\[")):
        await context.wait("odd")


async def test_a_projection_that_fails_says_so(cluster, start) -> None:
    """The others and the data are there."""
    bad = [{"name": "bad", "jmesPath": "sum([].metadata.name)"}, {"name": "good", "jmesPath": "length(@)"}]
    await cluster.define("all", {**DEPLOYMENTS, "projections": bad})
    context = start()
    assert await context.wait("all.good") == 2
    with pytest.raises(LookupError, match='failed to apply projection "bad"'):
        context.at_hand("all.bad")
    with pytest.raises(LookupError, match='projection "missing" not found'):
        context.at_hand("all.missing")
