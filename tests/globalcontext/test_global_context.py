"""GlobalContextEntries: what is kept, when it is known, and what is said of it where it is not."""

import asyncio
import datetime as dt
import pathlib

import pytest
from opentelemetry import trace

from fakes.collection import Collection
from fakes.traced import kept
from kymograph.clients.kubernetes import discovery, errors, informer
from kymograph.controllers.globalcontext import definition, sources, status, store
from kymograph.engine import errors as engine_errors
from kymograph.engine import needs
from support import trees

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)


class Cluster:
    """Entries, and objects by plural, each a collection of its own; satisfies `informer.Source`."""

    def __init__(self):
        self.collections = {"globalcontextentries": Collection(), "deployments": Collection("a", "b")}

    def pages(self, resource, **given):
        return self.collections[resource.plural].pages(resource, **given)

    def watch(self, resource, resource_version, **given):
        return self.collections[resource.plural].watch(resource, resource_version, **given)

    @property
    def deployments(self):
        return self.collections["deployments"]

    async def define(self, name, spec, **fields):
        entries = self.collections["globalcontextentries"]
        version = {"namespace": "ns", "resourceVersion": str(entries.version + 1), "generation": 1}
        await entries.put(name, metadata={"name": name, "uid": f"uid-{name}", **version}, spec=spec, **fields)

    async def delete(self, name):
        await self.collections["globalcontextentries"].remove(name)


class Catalogues:
    """What the API server serves: Deployments."""

    def __init__(self):
        self.current = discovery.Catalogue(
            (discovery.Served("apps", "v1", "deployments", "Deployment", "", True, frozenset({"list"})),)
        )
        self.refreshed = 0

    async def refresh(self):
        self.refreshed += 1
        return self.current


class Caller:
    """Answers calls, oldest answer first, the last one again and again; an exception is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, need):
        self.asked.append(need)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


_UNTRACED = trace.NoOpTracer()
DEPLOYMENTS = {"kubernetesResource": {"group": "apps", "version": "v1", "resource": "deployments"}}


def calling(path="/api", **fields):
    return {"apiCall": {"urlPath": path, "refreshInterval": "1h", "retryLimit": 1, **fields}}


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
async def start(cluster):
    tasks = []

    def make(caller=None, tracer=_UNTRACED):
        context = store.GlobalContext(cluster, Catalogues(), caller or Caller(None), tracer)
        tasks.append(asyncio.create_task(context.run()))
        return context

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
    watched = sources.Watched(wanted, cluster, Catalogues(), lambda: None, limit=1_000)
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
    watched = sources.Watched(wanted, cluster, catalogues, lambda: None)
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
    await until(lambda: _raises(lambda: context.at_hand("all")))
    with pytest.raises(LookupError, match="does not serve apps/v1/deployments"):
        context.at_hand("all")
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


async def until(look):
    """Wait until something is true."""
    async with asyncio.timeout(30):
        while not look():  # noqa: ASYNC110  # what is looked at has no event
            await asyncio.sleep(0.005)


def _raises(attempt):
    try:
        attempt()
    except LookupError:
        return True
    return False


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
