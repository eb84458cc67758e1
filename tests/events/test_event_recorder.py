"""Events are written once, within bounds, and never while somebody waits for it."""

import asyncio
import contextlib
import datetime as dt
import pathlib

import pytest
from opentelemetry import trace

from fakes import traced
from kymograph.clients.kubernetes import errors
from kymograph.controllers.events import notes, recorder, telling
from kymograph.engine import exceptions
from kymograph.telemetry import roots
from support import pods, trees
from support.reporting import compiled, result_of

POD = notes.Reference("v1", "Pod", "shop", "web", "uid-web")


class Events:
    """Takes Events; what is asked is written down."""

    def __init__(self):
        self.created = []
        self.merged = []
        self.trouble = []

    async def create(self, resource, document, *, namespace=""):
        assert (resource.group, resource.plural, document["metadata"]["namespace"]) == (
            "events.k8s.io",
            "events",
            namespace,
        )
        if self.trouble:
            raise self.trouble.pop(0)
        self.created.append(document)
        return document

    async def merge(self, resource, name, patch, *, namespace="", subresource=""):
        self.merged.append((name, patch))
        return patch


class Writing:
    """A recorder, its clock and what it dropped."""

    def __init__(self, omitted=(), kept=None, most=recorder.MOST_WAITING):
        self.events = Events()
        self.seconds = 1.0
        self.dropped = 0
        self.worked = []
        self.recorder = recorder.Recorder(
            self.events,
            lambda: int(self.seconds * 1e9),
            lambda: dt.datetime(2024, 3, 1, tzinfo=dt.UTC),
            "host",
            self._drop,
            lambda controller: trace.NoOpTracer() if kept is None else kept.telemetry.tracer_for(controller),
            omitted,
            most,
            lambda seconds, outcome: self.worked.append(outcome),
        )

    def _drop(self):
        self.dropped += 1

    @contextlib.asynccontextmanager
    async def at_work(self):
        task = asyncio.create_task(self.recorder.run())
        try:
            async with asyncio.timeout(30):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, look):
        while not look():  # noqa: ASYNC110  # looks at anything
            await asyncio.sleep(0.001)


def note(text="no", reason=notes.Reason.POLICY_VIOLATION, **more):
    return notes.Note(
        **{
            "regarding": POD,
            "related": None,
            "reason": reason,
            "action": notes.Action.PASSED,
            "source": notes.Source.SCAN,
            "text": text,
            **more,
        }
    )


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(recorder, "PER_SECOND", 1e6)


@pytest.fixture
def writing():
    return Writing()


async def test_an_event_says_who_what_and_why(writing) -> None:
    """In the namespace of its object, in `default` where that has none."""
    writing.recorder.add(note(related=notes.Reference("kyverno.io/v1", "ClusterPolicy", "", "p")))
    writing.recorder.add(
        note(regarding=notes.Reference("v1", "Node", "", "Node:1"), reason=notes.Reason.POLICY_SKIPPED)
    )
    async with writing.at_work():
        await writing.until(lambda: len(writing.events.created) == 2)
    first, second = writing.events.created
    name = first["metadata"].pop("name")
    assert name.startswith("web.")
    assert first == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "shop"},
        "eventTime": "2024-03-01T00:00:00.000000Z",
        "reportingController": "kyverno-scan",
        "reportingInstance": "kyverno-scan-host",
        "action": "Resource Passed",
        "reason": "PolicyViolation",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": "uid-web"},
        "related": {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "name": "p"},
        "note": "no",
        "type": "Warning",
    }
    assert second["metadata"]["namespace"] == "default"
    assert second["metadata"]["name"].startswith("node-1.")
    assert second["type"] == "Normal"


async def test_an_event_says_where_the_trace_of_its_first_time_is(writing) -> None:
    """In an annotation, so that what differs in nothing else is the same Event, seen again."""
    writing.recorder.later(lambda: [note()], "https://jaeger.example/trace/1")
    async with writing.at_work():
        await writing.until(lambda: writing.events.created)
        writing.recorder.later(lambda: [note(), note("other")], "https://jaeger.example/trace/2")
        await writing.until(lambda: len(writing.events.created) == 2)
    told = [(each["note"], each["metadata"]["annotations"][recorder.TRACE]) for each in writing.events.created]
    assert told == [("no", "https://jaeger.example/trace/1"), ("other", "https://jaeger.example/trace/2")]


async def test_what_is_seen_again_is_counted_in_the_first_event(writing, monkeypatch) -> None:
    """Not more often than once in a while; after long enough it is a new Event."""
    monkeypatch.setattr(recorder, "SERIES_EVERY", 0.01)
    async with writing.at_work():
        writing.recorder.add(note())
        await writing.until(lambda: writing.events.created)
        writing.recorder.add(note())
        writing.recorder.add(note())
        writing.seconds += 1
        await writing.until(lambda: writing.events.merged)
        ((name, patch),) = writing.events.merged
        assert name == writing.events.created[0]["metadata"]["name"]
        assert patch == {"series": {"count": 3, "lastObservedTime": "2024-03-01T00:00:00.000000Z"}}
        writing.seconds += recorder.SERIES_LASTS
        writing.recorder.add(note())
        await writing.until(lambda: len(writing.events.created) == 2)


async def test_what_is_too_much_is_dropped_and_counted() -> None:
    """The same waiting twice is once."""
    writing = Writing(most=2)
    for text in ("a", "b", "b", "c"):
        writing.recorder.add(note(text))
    assert writing.dropped == 1
    async with writing.at_work():
        await writing.until(lambda: len(writing.events.created) == 2)


async def test_work_that_is_not_worked_out_in_time_is_dropped_and_counted(writing, monkeypatch) -> None:
    """Reviews come faster than Events can be written."""
    monkeypatch.setattr(recorder, "MOST_WORK", 1)
    writing.recorder.later(lambda: [note("a")])
    writing.recorder.later(lambda: [note("b")])
    assert writing.dropped == 1


async def test_reasons_can_be_omitted_and_nameless_objects_are() -> None:
    """As Kyverno's `omitEvents`; an object of `generateName` has no name yet."""
    writing = Writing(["PolicySkipped"])
    writing.recorder.add(note(reason=notes.Reason.POLICY_SKIPPED))
    writing.recorder.add(note(regarding=POD._replace(name="")))
    writing.recorder.add(note("wanted"))
    async with writing.at_work():
        await writing.until(lambda: writing.events.created)
    assert [each["note"] for each in writing.events.created] == ["wanted"]


async def test_each_write_is_a_trace_linked_to_what_it_tells_of() -> None:
    """See `events.tree`: one that is written, one whose namespace is gone, one that the API server refuses."""
    async with traced.kept() as kept:
        writing = Writing(kept=kept)
        writing.events.trouble = [errors.NotFound(404, "NotFound", "namespaces"), errors.Forbidden(403, "", "may not")]
        review = kept.telemetry.begin(None, None, 0)
        writing.recorder.later(
            lambda: [note(each, source=notes.Source.ADMISSION) for each in ("gone", "refused")],
            cause=roots.of(review.decision),
        )
        with kept.telemetry.tracer_for("cleanup").start_as_current_span("CLEANUP policy"):
            writing.recorder.add(note("deleted", source=notes.Source.CLEANUP))
        async with writing.at_work():
            await writing.until(lambda: writing.events.created)
        spans = [each for each in kept.finished() if each.name == "EVENT write"]
        trees.compare(pathlib.Path(__file__).with_name("events.tree"), spans)
        linked = {each.links[0].context.trace_id for each in spans}
        assert review.decision.trace_id in linked
        scopes = {each.instrumentation_scope.attributes["kymograph.controller"] for each in spans}
        assert scopes == {"admission", "cleanup"}


async def test_what_is_seen_again_is_counted_in_a_trace() -> None:
    """Of its own: it is because of many."""
    async with traced.kept() as kept:
        writing = Writing(kept=kept)
        writing.recorder.add(note())
        async with writing.at_work():
            await writing.until(lambda: writing.events.created)
        writing.seconds += recorder.SERIES_EVERY
        writing.recorder.add(note())
        writing.recorder.add(note("other"))
        async with writing.at_work():
            await writing.until(lambda: writing.events.merged)
        outcomes = [each.attributes["kymograph.event.outcome"] for each in kept.finished()]
        assert outcomes == ["written", "written", "counted"]


async def test_a_refused_event_stops_nobody(writing) -> None:
    """One of a namespace that is gone is forgotten, others are counted as dropped."""
    writing.events.trouble = [errors.NotFound(404, "NotFound", "namespaces"), errors.Unreachable("away")]
    for text in ("gone", "away", "written"):
        writing.recorder.add(note(text))
    async with writing.at_work():
        await writing.until(lambda: writing.events.created)
    assert [each["note"] for each in writing.events.created] == ["written"]
    assert writing.dropped == 1


@pytest.mark.parametrize("text", ["x" * 2_000, "ü" * 1_000])
async def test_long_notes_are_cut(writing, text) -> None:
    """The API server takes a kilobyte."""
    writing.recorder.add(note(text))
    async with writing.at_work():
        await writing.until(lambda: writing.events.created)
    (made,) = writing.events.created
    assert len(made["note"].encode()) <= 1024
    assert made["note"].endswith("...")


async def test_long_notes_that_are_told_alike_are_one(writing) -> None:
    """Nothing is held of them but what is told."""
    for end in ("a", "b"):
        writing.recorder.add(note("x" * 2_000 + end))
    async with writing.at_work():
        await writing.until(lambda: writing.events.created)
    assert len(writing.events.created) == 1


def review(**more):
    return {**pods.create()["request"], **more}


@pytest.mark.parametrize(
    ("request_", "status", "expected"),
    [
        (review(), "fail", 2),
        (review(), "pass", 0),
        (review(), "skip", 0),
        (review(dryRun=True), "fail", 0),
        (review(kind={"group": "events.k8s.io", "version": "v1", "kind": "Event"}), "fail", 0),
        (review(object={"metadata": {"generateName": "web-"}}, name=""), "fail", 0),
    ],
    ids=["violation", "nothing-wanted", "skip", "dry-run", "an-event", "no-name"],
)
async def test_of_reviews_what_is_wanted_is_told(request_, status, expected) -> None:
    """Without holding the request, or working anything out while it is answered."""
    writing = Writing(["PolicyApplied", "PolicySkipped"])
    made = telling.Telling(writing.recorder, lambda: exceptions.NONE)
    made.reviewed(request_, [result_of(compiled(), status)], blocked=False)
    assert not writing.recorder._waiting
    marker = note("marker")
    writing.recorder.later(lambda: [marker])
    async with writing.at_work():
        await writing.until(lambda: any(each["note"] == "marker" for each in writing.events.created))
    assert len(writing.events.created) == expected + 1
