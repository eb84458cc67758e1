"""Watched is what may be cleaned up, as it changes; where nothing may be, nothing is asked."""

import asyncio
import types

import pytest
from opentelemetry import trace

from kymograph.clients.kubernetes import discovery, errors
from kymograph.controllers.cleanup import controller, spared, ttl, watches
from kymograph.telemetry import work
from support.handclock import settle

EVERYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}


def rule(*plurals):
    return {"verbs": ["list", "watch", "delete"], "apiGroups": [""], "resources": list(plurals)}


def document(name, text="1h", **metadata):
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "creationTimestamp": "2024-03-01T12:00:00Z",
            "labels": {ttl.LABEL: text},
            **metadata,
        }
    }


class Server:
    """An API server with rules, kinds, objects, and watches that events can be sent to."""

    def __init__(self):
        self.rules = []
        self.kinds = {"pods": "Pod", "secrets": "Secret"}
        self.objects = {}
        self.watches = {}
        self.asked = []
        self.down = False

    async def create(self, resource, document):
        self.asked.append("rules")
        await asyncio.sleep(0)
        if self.down:
            raise errors.Unreachable("refused")
        return {**document, "status": {"resourceRules": self.rules}}

    async def read(self, path, *, accept):
        self.asked.append(path)
        if path != "/api":
            return {"items": []}
        kinds = [
            {
                "resource": plural,
                "responseKind": {"kind": kind},
                "scope": "Namespaced",
                "verbs": ["create", "delete", "get", "list", "watch"],
                "subresources": [{"subresource": "status", "verbs": ["get", "patch"]}],
            }
            for plural, kind in self.kinds.items()
        ]
        return {"items": [{"metadata": {}, "versions": [{"version": "v1", "resources": kinds}]}]}

    async def pages(self, resource, *, label_selector, metadata_only, **_):
        self.asked.append(f"list {resource.plural}")
        assert (label_selector, metadata_only) == ("cleanup.kyverno.io/ttl", True)
        yield {"metadata": {"resourceVersion": "1"}, "items": self.objects.get(resource.plural, [])}

    async def delete(self, resource, name, **preconditions):
        self.asked.append(f"delete {resource.plural} {name}")

    async def watch(self, resource, resource_version, *, label_selector, metadata_only, **_):
        assert (label_selector, metadata_only) == ("cleanup.kyverno.io/ttl", True)
        events = self.watches[resource.plural] = asyncio.Queue()
        try:
            while True:
                yield await events.get()
        finally:
            del self.watches[resource.plural]


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def seen():
    """What the watches told, newest last."""
    return []


@pytest.fixture
async def start(server, seen, tracer, clock, running, counted):
    """Start watching; returns the watches once they have looked for the first time."""

    async def start():
        def changed(target, labelled):
            seen.append((target.resource.plural, target.name, labelled and labelled.wish.ttl))

        made = watches.Watches(
            server,
            discovery.Catalogues(server),
            tracer,
            clock,
            changed,
            work.Work(counted.instruments, "ttl-controller-manager"),
        )
        with trace.use_span(tracer.start_span("start of the process")):
            await running(made.run())
        await settle()
        return made

    return start


def names(watching):
    return {resource.plural for resource in watching.watched}


async def test_without_a_grant_one_question_is_asked_a_minute(start, server, clock) -> None:
    """The shipped role: no list, no watch, not even of the kinds there are."""
    watching = await start()
    assert server.asked == ["rules"]
    await clock.advance(10 * 60)
    assert server.asked == ["rules"] * 11
    assert names(watching) == set()


async def test_only_granted_kinds_are_listed(start, server, seen) -> None:
    """Secrets among them only where granted."""
    server.rules = [rule("pods")]
    server.objects = {"pods": [document("web")], "secrets": [document("key")]}
    watching = await start()
    assert names(watching) == {"pods"}
    assert seen == [("pods", "web", "1h")]
    assert server.asked == ["rules", "/api", "/apis", "list pods"]


async def test_a_wildcard_grants_what_there_is(start, server) -> None:
    server.rules = [EVERYTHING]
    assert names(await start()) == {"pods", "secrets"}


async def test_labels_are_followed_live(start, server, seen) -> None:
    """A change of the label is told; a server that leaves the object in, without the label, is understood."""
    server.rules = [rule("pods")]
    await start()
    events = server.watches["pods"]
    for kind, thing in (
        ("ADDED", document("web")),
        ("MODIFIED", document("web", "2h", resourceVersion="2")),
        ("BOOKMARK", {"metadata": {"resourceVersion": "3"}}),
        ("MODIFIED", document("web", labels={}, resourceVersion="4")),
        ("ADDED", document("api")),
        ("DELETED", document("api", resourceVersion="6")),
    ):
        events.put_nowait({"type": kind, "object": thing})
    await settle()
    assert seen == [
        ("pods", "web", "1h"),
        ("pods", "web", "2h"),
        ("pods", "web", None),
        ("pods", "api", "1h"),
        ("pods", "api", None),
    ]


async def test_a_grant_is_found_within_a_minute_and_its_end_too(start, server, seen, clock) -> None:
    """Of a kind no longer watched every object is forgotten."""
    watching = await start()
    server.rules = [rule("pods")]
    server.objects = {"pods": [document("web")]}
    await clock.advance(watches.RESYNC_EVERY)
    assert names(watching) == {"pods"}
    server.rules = []
    await clock.advance(watches.RESYNC_EVERY)
    assert names(watching) == set()
    assert seen == [("pods", "web", "1h"), ("pods", "web", None)]
    assert server.watches == {}


async def test_new_kinds_are_watched_before_the_minute_is_over(start, server, clock) -> None:
    """Asked for at once, and again when the definition has had time to be served."""
    server.rules = [EVERYTHING]
    watching = await start()
    server.asked.clear()
    for _ in range(50):
        watching.look_again()
    await clock.advance(watches.SETTLE)
    assert server.asked.count("rules") == 1
    server.kinds["widgets"] = "Widget"
    await clock.advance(watches.ESTABLISHED_AFTER)
    assert server.asked.count("rules") == 2
    assert names(watching) == {"pods", "secrets", "widgets"}
    await clock.advance(watches.RESYNC_EVERY - 1)
    assert server.asked.count("rules") == 2


async def test_a_server_that_is_down_changes_nothing(start, server, clock, caplog) -> None:
    """What is watched stays watched; the question is asked again soon, and then every minute as before."""
    server.rules = [rule("pods")]
    watching = await start()
    server.down = True
    await clock.advance(watches.RESYNC_EVERY)
    assert names(watching) == {"pods"}
    assert "cannot be found out, trying again: refused" in caplog.text
    server.down, server.rules = False, []
    await clock.advance(watches.RETRY_AFTER)
    assert names(watching) == set()
    server.asked.clear()
    await clock.advance(watches.RESYNC_EVERY * 3)
    assert server.asked == ["rules"] * 3


async def test_each_resync_is_a_trace_of_its_own(start, server, exported) -> None:
    server.rules = [rule("pods")]
    await start()
    (span,) = exported.get_finished_spans()
    assert (span.name, span.parent) == ("CLEANUP resync", None)


async def test_what_is_watched_is_deleted_and_shown(server, tracer, counted, clock, running) -> None:
    """The parts together: a grant, a label, the moment, the metric of watched kinds."""
    server.rules = [rule("pods")]
    server.objects = {"pods": [document("web", "10m"), document("ours", "10m", namespace="kymograph")]}
    telemetry = types.SimpleNamespace(
        tracer_for=lambda _part: tracer, instruments=counted.instruments, redacted_paths=()
    )
    cleaner = controller.TTLController(
        server, discovery.Catalogues(server), telemetry, clock, spared.Spared("kymograph"), [].append
    )
    assert counted["ttl_info"] == {}
    await running(cleaner.run())
    await clock.advance(599)
    assert counted["ttl_info"] == {("", "v1", "pods"): 1}
    assert not [asked for asked in server.asked if asked.startswith("delete")]
    await clock.advance(1)
    assert [asked for asked in server.asked if asked.startswith("delete")] == ["delete pods web"]


async def test_a_controller_that_ended_watches_nothing(server, tracer, counted, clock) -> None:
    """Another replica may lead now: the metric must not show what this one watched."""
    server.rules = [rule("pods")]
    telemetry = types.SimpleNamespace(
        tracer_for=lambda _part: tracer, instruments=counted.instruments, redacted_paths=()
    )
    cleaner = controller.TTLController(
        server, discovery.Catalogues(server), telemetry, clock, spared.Spared("kymograph"), [].append
    )
    task = asyncio.create_task(cleaner.run())
    await settle()
    assert counted["ttl_info"] == {("", "v1", "pods"): 1}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted["ttl_info"] == {}
    assert server.watches == {}


async def test_each_look_at_what_may_be_cleaned_up_is_work(start, clock, counted) -> None:
    """Under Kyverno's name for who does that."""
    await start()
    before = counted["reconciled"][("ttl-controller-manager",)]
    await clock.advance(watches.RESYNC_EVERY)
    assert counted["reconciled"][("ttl-controller-manager",)] > before >= 1
