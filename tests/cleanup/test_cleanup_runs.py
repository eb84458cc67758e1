"""One run of a cleanup policy: what it looks at, what it deletes, what it leaves alone, and what is told of it."""

import asyncio
import base64
import pathlib
import time

import pytest
from opentelemetry.trace import SpanContext, StatusCode

from fakes.cleanable import NODES, PODS, Catalogues, Cleanable, NoFacts
from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.cleanup import deletions, notes, pace, runs, selection, spared, ttl
from kymograph.engine import cleanup, needs
from kymograph.telemetry import current, fieldpaths
from support import trees
from support.cleanuppolicies import cleanup_policy, named_like
from support.handclock import NOON

TREES = pathlib.Path(__file__).parent
SPARE = spared.Spared("kymograph")
DUE = runs.Occasion("schedule", NOON)


@pytest.fixture
def server():
    return Cleanable()


@pytest.fixture
def announced():
    return []


@pytest.fixture
def execute(server, tracer, counted, clock, announced):
    """Run a policy to its end."""

    async def run(
        document, facts=None, catalogues=None, is_current=lambda: True, spare=SPARE, occasion=DUE, hidden=tuple
    ):
        choosing = selection.Selection(server, facts or NoFacts(), spare, lambda: 0, hidden)
        running = runs.Runs(
            server,
            catalogues or Catalogues(),
            choosing,
            tracer,
            counted.instruments,
            clock,
            lambda _policy, candidate, problem: announced.append((str(candidate), problem)),
        )
        task = asyncio.create_task(running.run(cleanup.compile(document), occasion, is_current))
        while not task.done():
            await clock.advance(1)
        return task.result()

    return run


async def test_what_is_matched_is_deleted_page_by_page(execute, server, counted, announced) -> None:
    """With the policy's propagation; every deletion is counted and announced."""
    for number in range(5):
        server.put(f"web-{number}")
    server.put("db")
    outcome = await execute(cleanup_policy(conditions=named_like("web-*"), deletionPropagationPolicy="Orphan"))
    assert sorted(server.deleted) == [("pods", "shop", f"web-{number}", "Orphan") for number in range(5)]
    assert (outcome.looked, outcome.deleted, outcome.failed, outcome.complete) == (6, 5, 0, True)
    labels = ("ClusterCleanupPolicy", "", "tidy", "Pod", "shop", "Orphan")
    assert counted["cleanup_deleted_objects"] == {labels: 5}
    assert counted["cleanup_errors"] == {}
    assert sorted(announced) == [(f"Pod/shop/web-{number}", "") for number in range(5)]


async def test_a_policy_of_a_namespace_deletes_there(execute, server) -> None:
    """And nowhere else, nothing of the cluster."""
    server.put("here")
    server.put("there", "other")
    server.put("node", "", "nodes")
    await execute(cleanup_policy(namespace="shop", kinds=("Pod", "Node")))
    assert server.names == ["here"]


async def test_what_is_spared(execute, server) -> None:
    """The operator's own namespace, itself and what is in it, and what is going already."""
    spaces = resources.NAMESPACES
    server.put("webhook", "kymograph")
    server.put("going", deletionTimestamp="2024-03-01T12:00:00Z")
    server.put("kymograph", "", "namespaces")
    server.put("scratch", "", "namespaces")
    await execute(cleanup_policy(kinds=("Pod", "Namespace")), catalogues=Catalogues(PODS, spaces))
    assert server.names == ["scratch"]


@pytest.mark.parametrize(("protect", "deleted"), [(False, ["clone", "web"]), (True, ["web"])])
async def test_what_kyverno_manages_is_spared_on_request(execute, server, protect, deleted) -> None:
    """`--protectManagedResources`; without it, it is cleaned up as everything else."""
    server.put("clone", labels={"app.kubernetes.io/managed-by": "kyverno"})
    server.put("web", labels={"app.kubernetes.io/managed-by": "helm"})
    await execute(cleanup_policy(), spare=spared.Spared("kymograph", protect=protect))
    assert sorted(server.names) == deleted


async def test_wildcards_stand_for_what_is_granted(execute, server) -> None:
    """A kind that may be listed and not deleted is not even listed."""
    server.put("web")
    server.put("node", "", "nodes")
    server.granted = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    ]
    server.unlisted["nodes"] = errors.Forbidden(403, "Forbidden", "no")
    outcome = await execute(cleanup_policy(kinds=("*",)))
    assert server.names == ["web"]
    assert outcome.failed == 0


async def test_a_kind_without_a_group_is_the_first_of_its_name(execute, server) -> None:
    """As Kyverno's client finds it."""
    others = resources.Resource("other.example", "v1", "pods", "Pod", namespaced=True)
    server.put("web")
    outcome = await execute(cleanup_policy(), catalogues=Catalogues(PODS, others))
    assert outcome.looked == 1


async def test_what_changed_meanwhile_is_looked_at_again(execute, server) -> None:
    """Deleted if it is still chosen, kept if not, gone if another one has its name."""
    for name in ("still", "kept", "replaced"):
        server.put(name, labels={"tmp": "yes"})
    document = cleanup_policy()
    document["spec"]["match"]["any"][0]["resources"]["selector"] = {"matchLabels": {"tmp": "yes"}}
    true_delete = server.delete

    async def delete(resource, name, **more):
        server.delete = true_delete
        server.put("still", labels={"tmp": "yes"})
        server.put("kept", labels={})
        del server.objects["pods", "shop", "replaced"]
        server.put("replaced", labels={"tmp": "yes"})
        await true_delete(resource, name, **more)

    server.delete = delete
    outcome = await execute(document)
    assert server.names == ["still"]
    assert (outcome.deleted, outcome.failed) == (1, 0)


async def test_a_delete_is_tried_again_and_given_up(execute, server, counted, announced) -> None:
    """Three times where a webhook is in the way; once where we may not. The others are deleted."""
    refused = errors.StatusError(500, "InternalError", "webhook says no")
    server.put("web")
    server.refusing = [refused] * 2
    assert (await execute(cleanup_policy())).deleted == 1
    server.put("web")
    server.refusing = [refused] * 3
    outcome = await execute(cleanup_policy())
    assert (outcome.deleted, outcome.failed, outcome.complete) == (0, 1, True)
    assert outcome.problems == ["Pod/shop/web: 500 InternalError: webhook says no"]
    assert announced[-1] == ("Pod/shop/web", "500 InternalError: webhook says no")
    server.refusing = [errors.Forbidden(403, "Forbidden", "may not")]
    assert (await execute(cleanup_policy())).failed == 1
    assert sum(counted["cleanup_errors"].values()) == 2


@pytest.mark.parametrize(
    "error",
    [
        errors.Unreachable("no answer"),
        errors.StatusError(429, "TooManyRequests", "later"),
        errors.StatusError(503, "ServiceUnavailable", "not now"),
    ],
)
async def test_an_api_server_that_cannot_now_is_left_alone(execute, server, error) -> None:
    """The run ends before it has bothered it with every object, and is repeated: a daily policy loses no day."""
    for number in range(1_000):
        server.put(f"web-{number}")
    server.refusing = [error] * 1_000
    outcome = await execute(cleanup_policy(kinds=("Pod", "Node")))
    assert (outcome.deleted, outcome.complete) == (0, False)
    assert 1_000 - len(server.refusing) <= runs.TRIES * 2 * pace.DELETES_AT_ONCE


async def test_a_webhook_that_hangs_for_one_object_ends_no_run(execute, server, exported) -> None:
    """Its deletion is not answered in time; those of the others are, and the run is one."""
    for name in ("stuck", *(f"web-{number}" for number in range(20))):
        server.put(name)
    true_delete = server.delete

    async def delete(resource, name, **more):
        if name == "stuck":
            raise errors.Unreachable("TimeoutError")
        await true_delete(resource, name, **more)

    server.delete = delete
    outcome = await execute(cleanup_policy())
    assert (outcome.deleted, outcome.failed, outcome.complete) == (20, 1, True)
    results = [span.attributes.get("kymograph.cleanup.result") for span in exported.get_finished_spans()]
    assert results.count("unanswered") == 1


async def test_a_run_in_which_nothing_is_answered_is_not_complete(execute, server) -> None:
    """However few its objects are."""
    server.put("web")
    server.refusing = [errors.Unreachable("refused")] * runs.TRIES
    assert not (await execute(cleanup_policy())).complete


async def test_of_more_than_may_wait_the_first_are_deleted_first(execute, server, monkeypatch) -> None:
    """Memory is bounded, whatever a policy matches; what cannot be deleted does not make it go on for ever."""
    monkeypatch.setattr(runs, "MOST_WAITING", 10)
    for number in range(45):
        server.put(f"web-{number:02}")
    assert (await execute(cleanup_policy())).deleted == 45
    assert server.names[:10] == [f"web-{number:02}" for number in range(10)]
    for number in range(20):
        server.put(f"web-{number:02}")
    server.refusing = [errors.Forbidden(403, "Forbidden", "may not")] * 20
    assert (await execute(cleanup_policy())).failed == 10


@pytest.mark.parametrize(
    ("error", "complete"),
    [
        (errors.Forbidden(403, "Forbidden", "no"), True),
        (errors.NotFound(404, "NotFound", "no such kind"), True),
        (errors.Unreachable("no answer"), False),
        (errors.Expired(410, "Expired", "too old"), False),
    ],
)
async def test_kinds_that_cannot_be_listed(execute, server, counted, error, complete) -> None:
    """The others are; where it may be another time the run is not complete."""
    server.put("web")
    server.unlisted["nodes"] = error
    outcome = await execute(cleanup_policy(kinds=("Node", "Pod")))
    assert server.names == ["web"]
    assert (outcome.failed, outcome.complete) == (1, complete)
    assert counted["cleanup_errors"] == {("ClusterCleanupPolicy", "", "tidy", "Node", "", ""): 1}


async def test_what_cannot_be_decided_stays(execute, server, announced) -> None:
    """A condition that fails on one object is told, and deletes nothing."""
    server.put("plain")
    server.put("labelled", labels={"a": "b"})
    key = {"key": "{{ target.metadata.labels.a }}", "operator": "Equals", "value": "b"}
    outcome = await execute(cleanup_policy(conditions={"all": [key]}))
    assert server.names == ["labelled"]
    assert outcome.failed == 1
    assert outcome.problems[0].startswith("Pod/shop/plain: failed to substitute variables in condition key")


async def test_facts_are_fetched_once_a_page(execute, server) -> None:
    """Whatever objects it has."""
    for number in range(4):
        server.put(f"web-{number}")
    need = needs.APICall("/api/v1/pods")
    facts = NoFacts({need: {"items": [1]}})
    context = [{"name": "pods", "apiCall": {"urlPath": "/api/v1/pods", "jmesPath": "items | length(@)"}}]
    demanded = {"all": [{"key": "{{ pods }}", "operator": "Equals", "value": 1}]}
    assert (await execute(cleanup_policy(context=context, conditions=demanded), facts)).deleted == 4
    assert facts.asked == [need, need]


async def test_a_policy_that_is_taken_back_deletes_nothing_more(execute, server) -> None:
    """Asked before each deletion."""
    for number in range(20):
        server.put(f"web-{number}")
    outcome = await execute(cleanup_policy(), is_current=lambda: len(server.deleted) < 3)
    assert 3 <= outcome.deleted < 8


async def test_deletes_keep_their_pace(execute, server, clock) -> None:
    """Twenty a second, of all policies together."""
    for number in range(60):
        server.put(f"web-{number}")
    began = clock.now()
    await execute(cleanup_policy())
    assert clock.now() - began >= 3


async def test_a_run_is_a_trace(execute, server, exported) -> None:
    """One root, a child for each object, what became of it, and why the run failed."""
    server.put("web")
    server.put("stuck")
    server.refusing = [errors.Forbidden(403, "Forbidden", "may not")]
    before = SpanContext(1, 1, is_remote=False)
    await execute(cleanup_policy(kinds=("Pod",)), occasion=runs.Occasion("repeat", NOON, before))
    *objects, root = exported.get_finished_spans()
    assert root.name == "CLEANUP policy"
    assert root.parent is None
    assert root.attributes["kyverno.policy.name"] == "tidy"
    assert root.attributes["kymograph.cleanup.cause"] == "repeat"
    assert root.attributes["kymograph.cleanup.due"] == "2024-03-01T12:00:00+00:00"
    assert [link.context for link in root.links] == [before]
    assert root.attributes["kymograph.cleanup.objects_looked_at"] == 2
    assert root.attributes["kymograph.cleanup.objects_deleted"] == 1
    assert root.attributes["kymograph.cleanup.objects_failed"] == 1
    assert root.status.status_code is StatusCode.ERROR
    assert {each.name for each in objects} == {"CLEANUP object"}
    assert {each.parent.span_id for each in objects} == {root.context.span_id}
    assert sorted(each.attributes["kymograph.cleanup.result"] for each in objects) == ["deleted", "failed"]


async def test_an_api_server_that_does_not_answer(execute, server) -> None:
    """What is served is not known: the run has to be repeated."""

    class Silent(Catalogues):
        async def refresh(self):
            raise errors.Unreachable("no answer")

    outcome = await execute(cleanup_policy(), catalogues=Silent(PODS, NODES))
    assert (outcome.complete, outcome.problems) == (False, ["no answer"])


@pytest.mark.parametrize(
    ("problem", "reason", "action", "text"),
    [
        ("", "PolicyApplied", "Resource Cleaned Up", "successfully cleaned up the target resource Pod/shop/web"),
        ("no", "PolicyError", "None", "failed to clean up the target resource Pod/shop/web: no"),
    ],
)
def test_the_events_are_those_of_kyverno(problem, reason, action, text) -> None:
    """About the policy, with the object beside it."""
    document = cleanup_policy(namespace="shop")
    document["metadata"]["uid"] = "u1"
    candidate = selection.Candidate(PODS, "shop", "web", "u2", "1", "")
    note = notes.of_deletion(cleanup.compile(document), candidate, problem)
    assert note.regarding == ("kyverno.io/v2", "CleanupPolicy", "shop", "tidy", "u1")
    assert note.related == ("v1", "Pod", "shop", "web", "")
    assert (note.reason, note.action, note.source, note.text) == (reason, action, "kyverno-cleanup", text)


def test_what_a_label_comes_to_is_told_of_the_object() -> None:
    """Where its author looks; the same again is the same Event."""
    wish = ttl.Labelled(ttl.Wish("u2", "soon", ""), "1", NOON)
    note = notes.of_label(deletions.Target(PODS, "shop", "web"), wish, "no duration")
    assert note.regarding == ("v1", "Pod", "shop", "web", "u2")
    assert (note.related, note.reason, note.source) == (None, "PolicyError", "kyverno-cleanup")
    assert note.text == "the label cleanup.kyverno.io/ttl=soon is not followed: no duration"


async def test_the_tree_of_a_run(execute, server, exported) -> None:
    """See `cleanup-run.tree`."""
    server.put("web")
    server.put("stuck")
    server.refusing = [errors.Forbidden(403, "Forbidden", "may not")]
    await execute(
        cleanup_policy(kinds=("Pod",)), occasion=runs.Occasion("repeat", NOON, SpanContext(1, 1, is_remote=False))
    )
    trees.compare(TREES / "cleanup-run.tree", exported.get_finished_spans())


SECRETS = resources.Resource("", "v1", "secrets", "Secret", namespaced=True)
CONFIG_MAPS = resources.Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)


@pytest.mark.parametrize("resource", [SECRETS, CONFIG_MAPS])
@pytest.mark.parametrize("gone", [False, True])
async def test_nothing_is_told_of_what_a_secret_holds(
    execute, server, tracer, exported, announced, caplog, resource, gone
) -> None:
    """Whether conditions quote it or a webhook that refuses the delete does; nor of fields that are named.

    The span of the call says as much of the refusal as can be known while it is made.
    """
    delete, calls = server.delete, current.ClientSpans(tracer, time.monotonic_ns)

    async def traced(*what, **how):
        with calls.start("KUBE delete", {}):
            await delete(*what, **how)

    server.delete = traced
    plain = "hunter2-hunter2"
    written = base64.b64encode(plain.encode()).decode()
    for name in ("odd", "refused"):
        server.put(name, plural=resource.plural)["data"] = {"password": written}
    odd = {"key": "{{ abs(target.data.password) }}", "operator": "Equals", "value": 1}
    even = {"key": "{{ target.metadata.name }}", "operator": "Equals", "value": "refused"}
    server.refusing = [errors.Forbidden(403, "Forbidden", f"{plain} may not be deleted")]
    if gone:
        server.unread[resource.plural] = errors.NotFound(404, "NotFound", "refused")
    hidden = (fieldpaths.parse("data.password", "logs.redact.paths[0]"),)
    outcome = await execute(
        cleanup_policy(kinds=(resource.kind,), conditions={"any": [even, odd]}),
        catalogues=Catalogues(resource),
        hidden=lambda: hidden,
    )
    assert outcome.failed == 2
    told = [*outcome.problems, *(problem for _, problem in announced), caplog.text]
    told += [span.to_json() for span in exported.get_finished_spans()]
    for form in (plain, written):
        assert [text for text in told if form in text] == []
    assert any("[redacted]" in text for text in outcome.problems)
    (call,) = [span for span in exported.get_finished_spans() if span.name == "KUBE delete"]
    assert call.status.description == "403 Forbidden"
    refusal = next(problem for _, problem in announced)
    assert refusal == ("403 Forbidden" if gone else "403 Forbidden: [redacted] may not be deleted")
