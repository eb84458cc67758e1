"""Objects go when they are due, only if they are what was seen, at a bounded pace, for as long as they ask."""

import asyncio
import itertools
import logging
import pathlib
import time

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.cleanup import deletions, pace, spared, ttl
from kymograph.telemetry import current, fieldpaths
from support import trees
from support.handclock import NOON

PODS = resources.Resource("", "v1", "pods", "Pod", namespaced=True)
POD_LABELS = ("default", "", "v1", "pods")


def target(name="web", namespace="default"):
    return deletions.Target(PODS, namespace, name)


def labelled(text="10m", *, uid="u1", version="1", propagation=""):
    return ttl.Labelled(ttl.Wish(uid, text, propagation), version, NOON)


class Server:
    """Keeps what was asked of it; `answers` are raised one after the other, then all is well."""

    def __init__(self, clock):
        self._clock = clock
        self.deleted = []
        self.answers = []
        self.hanging = set()
        self.go_on = asyncio.Event()
        self.under_way = 0
        self.most_under_way = 0

    @property
    def names(self):
        return [name for _, name, _ in self.deleted]

    async def delete(self, resource, name, *, namespace, uid, resource_version, propagation):
        asked = {"namespace": namespace, "uid": uid, "version": resource_version, "propagation": propagation}
        self.deleted.append((self._clock.now() - NOON, name, asked))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if name in self.hanging:
                await self.go_on.wait()
            await asyncio.sleep(0)
            if self.answers:
                raise self.answers.pop(0)
        finally:
            self.under_way -= 1


@pytest.fixture
def server(clock):
    return Server(clock)


@pytest.fixture
def forbidden():
    """The times the controller was told to look at its rights again."""
    return []


@pytest.fixture
def announced():
    """What was told of objects that stay: their names, and why."""
    return []


@pytest.fixture
async def running_deletions(server, tracer, counted, clock, running, forbidden, announced):
    """Started while a span is current that has nothing to do with it."""

    def announce(about, wanted, problem):
        assert wanted.wish.ttl
        announced.append((about.name, problem))

    made = deletions.Deletions(
        server,
        tracer,
        counted.instruments,
        clock,
        spared.Spared("kymograph"),
        lambda: forbidden.append(clock.now()),
        announce,
    )
    with trace.use_span(tracer.start_span("start of the process")):
        await running(made.run())
    return made


async def test_an_object_is_deleted_when_due_and_not_before(running_deletions, server, clock, counted) -> None:
    """With what was seen of it as preconditions, and its propagation policy; counted once, afterwards."""
    running_deletions.changed(target(), labelled("10m", propagation="Orphan"))
    await clock.advance(599)
    assert server.deleted == []
    assert counted["ttl_deleted_objects"] == {}
    await clock.advance(1)
    wanted = {"namespace": "default", "uid": "u1", "version": "1", "propagation": "Orphan"}
    assert server.deleted == [(600.0, "web", wanted)]
    await clock.advance(3600)
    assert len(server.deleted) == 1
    assert counted["ttl_deleted_objects"] == {POD_LABELS: 1}
    assert counted["ttl_errors"] == {}


async def test_what_is_past_is_due_at_once(running_deletions, server, clock) -> None:
    running_deletions.changed(target(), labelled("2023-07-19T120000Z"))
    await clock.advance()
    assert server.deleted[0][2]["propagation"] is None


async def test_the_last_label_counts(running_deletions, server, clock) -> None:
    """Set earlier, set later, taken away: nothing of the former value is left."""
    running_deletions.changed(target("earlier"), labelled("10m"))
    running_deletions.changed(target("later"), labelled("10m"))
    running_deletions.changed(target("kept"), labelled("10m"))
    await clock.advance(60)
    running_deletions.changed(target("earlier"), labelled("2m", version="2"))
    running_deletions.changed(target("later"), labelled("20m", version="2"))
    running_deletions.changed(target("kept"), None)
    await clock.advance(3600)
    assert [(moment, name) for moment, name, _ in server.deleted] == [(120.0, "earlier"), (1200.0, "later")]


async def test_the_sleeper_wakes_for_an_earlier_moment(running_deletions, server, clock) -> None:
    """What comes later may be due first, to the second."""
    running_deletions.changed(target("first"), labelled("50s"))
    await clock.advance(1)
    running_deletions.changed(target("second"), labelled("10s"))
    await clock.advance(60)
    assert [(moment, name) for moment, name, _ in server.deleted] == [(10.0, "second"), (50.0, "first")]


async def test_an_object_made_anew_starts_anew(running_deletions, server, clock) -> None:
    """The same name and label, another uid: it is deleted too, in its own time."""
    running_deletions.changed(target(), labelled("1m"))
    await clock.advance(60)
    running_deletions.changed(target(), None)
    running_deletions.changed(target(), ttl.Labelled(ttl.Wish("u2", "1m", ""), "9", clock.now()))
    await clock.advance(60)
    assert [(moment, asked["uid"]) for moment, _, asked in server.deleted] == [(60.0, "u1"), (120.0, "u2")]


async def test_the_newest_version_is_the_precondition(running_deletions, server, clock) -> None:
    """A status that changes every second moves nothing but the version."""
    for version in range(1, 60):
        running_deletions.changed(target(), labelled("1m", version=str(version)))
        await clock.advance(1)
    await clock.advance(1)
    assert [(moment, asked["version"]) for moment, _, asked in server.deleted] == [(60.0, "59")]


async def test_news_of_an_object_that_is_being_deleted_do_not_delete_it_twice(running_deletions, server, clock) -> None:
    """Old events of the watch arrive while the delete is under way and after it."""
    server.hanging.add("web")
    running_deletions.changed(target(), labelled("1m"))
    await clock.advance(60)
    running_deletions.changed(target(), labelled("1m", version="2"))
    await clock.advance(60)
    assert server.names == ["web"]


async def test_many_at_once_are_deleted_at_the_pace(running_deletions, server, clock) -> None:
    """Ten thousand Pods of the same midnight: in order of their moments, so many a second, by one sleeping task."""
    before = len(asyncio.all_tasks())
    for number in range(10_000):
        running_deletions.changed(target(f"pod-{number}"), labelled("1m"))
    assert len(asyncio.all_tasks()) == before
    await clock.advance(60)
    assert len(server.deleted) <= 2
    await clock.advance(1)
    assert pace.DELETES_PER_SECOND <= len(server.deleted) <= 1.2 * pace.DELETES_PER_SECOND
    await clock.advance(29)
    before = len(server.deleted)
    await clock.advance(10)
    at_most = 10 * pace.MOST_PER_SECOND
    assert at_most - 1 <= len(server.deleted) - before <= at_most + 1
    assert server.names == [f"pod-{number}" for number in range(len(server.deleted))]
    assert server.most_under_way <= pace.DELETES_AT_ONCE


async def test_after_a_break_a_burst_begins_slowly_again(running_deletions, server, clock) -> None:
    """However fast the one before has become."""
    for burst, moment in enumerate(("1m", "2m")):
        for number in range(500):
            running_deletions.changed(target(f"pod-{burst}-{number}"), labelled(moment))
    await clock.advance(120)
    before = len(server.deleted)
    assert 500 <= before <= 502
    await clock.advance(1)
    assert len(server.deleted) - before <= 1.2 * pace.DELETES_PER_SECOND


async def test_a_delete_that_hangs_holds_up_no_other(running_deletions, server, clock) -> None:
    """A webhook that does not answer takes one of the places, and no more deletes than places are under way."""
    server.hanging = {"pod-0"}
    for number in range(10):
        running_deletions.changed(target(f"pod-{number}"), labelled("1m"))
    await clock.advance(120)
    assert len(server.deleted) == 10
    server.hanging = {f"stuck-{number}" for number in range(10)}
    for number in range(10):
        running_deletions.changed(target(f"stuck-{number}"), labelled("1m"))
    await clock.advance(120)
    assert server.under_way == pace.DELETES_AT_ONCE


async def test_failures_are_counted_and_tried_again_ever_more_rarely(
    running_deletions, server, clock, counted, exported, caplog, announced
) -> None:
    """1, 2, 4 ... 300 seconds apart; the object is never given up."""
    server.answers = [errors.StatusError(500, "InternalError", "webhook says no")] * 12
    running_deletions.changed(target(), labelled("1m"))
    await clock.advance(3600)
    moments = [moment for moment, _, _ in server.deleted]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert counted["ttl_errors"] == {POD_LABELS: 12}
    assert counted["ttl_deleted_objects"] == {POD_LABELS: 1}
    first = exported.get_finished_spans()[0]
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes["kymograph.cleanup.result"] == "failed"
    assert [event.name for event in first.events] == ["exception"]
    assert "webhook says no" in caplog.text
    assert announced == [("web", "500 InternalError: webhook says no")] * 12


async def test_a_failure_is_forgotten_with_the_wish(running_deletions, server, clock) -> None:
    """A new value starts at once; an object that is gone is not tried again."""
    server.answers = [errors.StatusError(500, "InternalError", "webhook says no")] * 5
    running_deletions.changed(target(), labelled("1m"))
    running_deletions.changed(target("other"), labelled("1m"))
    await clock.advance(64)
    tried = len(server.deleted)
    running_deletions.changed(target("other"), None)
    server.answers = []
    running_deletions.changed(target(), labelled("30s"))
    await clock.advance(3600)
    assert server.names[tried:] == ["web"]
    assert server.deleted[-1][0] == 64.0


async def test_a_failure_of_the_former_wish_does_not_touch_the_new_one(running_deletions, server, clock) -> None:
    """The label is set to tomorrow, or the object goes, while the delete is under way that then fails."""
    server.hanging = {"web", "gone"}
    server.answers = [errors.Conflict(409, "Conflict", "the object has been modified")] * 2
    running_deletions.changed(target(), labelled("1m"))
    running_deletions.changed(target("gone"), labelled("1m"))
    await clock.advance(61)
    running_deletions.changed(target(), labelled("24h", version="2"))
    running_deletions.changed(target("gone"), None)
    server.go_on.set()
    await clock.advance(3600)
    assert server.names == ["web", "gone"]
    await clock.advance(24 * 3600)
    assert server.names == ["web", "gone", "web"]


async def test_an_object_that_changed_meanwhile_is_looked_at_again(
    running_deletions, server, clock, counted, exported
) -> None:
    """A conflict is no error: the label may have gone with the change."""
    server.answers = [errors.Conflict(409, "Conflict", "the object has been modified")] * 2
    running_deletions.changed(target(), labelled("1m"))
    running_deletions.changed(target("saved"), labelled("1m"))
    await clock.advance(60.5)
    assert server.names == ["web", "saved"]
    running_deletions.changed(target(), labelled("1m", version="2"))
    running_deletions.changed(target("saved"), None)
    await clock.advance(10)
    assert server.names == ["web", "saved", "web"]
    assert server.deleted[-1][2]["version"] == "2"
    assert counted["ttl_errors"] == {}
    results = [span.attributes["kymograph.cleanup.result"] for span in exported.get_finished_spans()]
    assert results == ["changed", "changed", "deleted"]
    assert exported.get_finished_spans()[0].status.status_code is StatusCode.UNSET


async def test_an_object_that_is_gone_is_done(running_deletions, server, clock, counted) -> None:
    """Somebody else deleted it: neither counted nor tried again."""
    server.answers = [errors.NotFound(404, "NotFound", "no such pod")]
    running_deletions.changed(target(), labelled("1m"))
    await clock.advance(3600)
    assert server.names == ["web"]
    assert counted["ttl_deleted_objects"] == {}
    assert counted["ttl_errors"] == {}


async def test_a_refusal_makes_the_rights_be_read_again(running_deletions, server, clock, forbidden) -> None:
    server.answers = [errors.Forbidden(403, "Forbidden", "no")]
    running_deletions.changed(target(), labelled("1m"))
    await clock.advance(60)
    assert forbidden == [clock.now()]


@pytest.mark.parametrize(
    ("plural", "kind", "paths"), [("secrets", "Secret", ()), ("configmaps", "ConfigMap", ("data.password",))]
)
@pytest.mark.parametrize("refusal", [errors.Forbidden, errors.Conflict, errors.StatusError])
async def test_nothing_is_told_of_what_nobody_has_looked_at(
    running, server, tracer, exported, counted, clock, announced, caplog, plural, kind, paths, refusal
) -> None:
    """A webhook that refuses the delete may quote a Secret, or a field that is named: code and reason are told."""
    calls, delete = current.ClientSpans(tracer, time.monotonic_ns), server.delete

    async def traced(*what, **how):
        with calls.start("KUBE delete", {}):
            await delete(*what, **how)

    server.delete = traced
    server.answers = [refusal(409, "Refused", "hunter2 may not go")]
    caplog.set_level(logging.DEBUG)
    named = [fieldpaths.parse(path, "logs.redact.paths[0]") for path in paths]
    made = deletions.Deletions(
        server,
        tracer,
        counted.instruments,
        clock,
        spared.Spared("kymograph"),
        lambda: None,
        lambda _target, _wanted, problem: announced.append(problem),
        lambda: named,
    )
    await running(made.run())
    resource = resources.Resource("", "v1", plural, kind, namespaced=True)
    made.changed(deletions.Target(resource, "default", "keys"), labelled("0s"))
    await clock.advance(1)
    told = [span.to_json() for span in exported.get_finished_spans()] + announced + caplog.messages
    assert [text for text in told if "hunter2" in text] == []
    (call, _) = [span for span in exported.get_finished_spans() if span.name == "KUBE delete"]
    assert call.status.description == "409 Refused"
    assert announced == ([] if refusal is errors.Conflict else ["409 Refused"])


async def test_a_wrong_value_is_told_once_per_object_and_value(
    running_deletions, server, clock, counted, caplog, announced
) -> None:
    """Not with every status update; again for another value or another object."""
    caplog.set_level(logging.WARNING)
    for version in range(5):
        running_deletions.changed(target(), labelled("soon", version=str(version)))
    assert len(caplog.records) == 1
    assert "Pod web in default" in caplog.text
    assert "'soon'" in caplog.text
    running_deletions.changed(target(), labelled("later"))
    running_deletions.changed(target("other"), labelled("soon"))
    running_deletions.changed(target(), labelled("1m", propagation="orphan"))
    assert len(caplog.records) == 4
    assert [name for name, _ in announced] == ["web", "web", "other", "web"]
    assert counted["ttl_invalid_labels"] == {POD_LABELS: 4}
    await clock.advance(3600)
    assert server.deleted == []
    running_deletions.changed(target(), labelled("1m"))
    await clock.advance(1)
    assert server.names == ["web"]


async def test_a_label_that_becomes_wrong_cancels(running_deletions, server, clock) -> None:
    running_deletions.changed(target(), labelled("1m"))
    running_deletions.changed(target(), labelled("1.5d"))
    await clock.advance(3600)
    assert server.deleted == []


async def test_the_operator_deletes_nothing_of_its_own(running_deletions, server, clock, counted, caplog) -> None:
    """Nothing in its namespace, nor the namespace; another's namespace it does."""
    running_deletions.changed(target(namespace="kymograph"), labelled("1m"))
    for name in ("kymograph", "other"):
        running_deletions.changed(deletions.Target(resources.NAMESPACES, "", name), labelled("1m"))
    await clock.advance(3600)
    assert server.names == ["other"]
    assert sum(counted["ttl_invalid_labels"].values()) == 2
    assert caplog.text.count("nothing that is its own") == 2


async def test_a_clock_that_is_set_is_noticed(running_deletions, server, clock) -> None:
    """The machine slept, or its time was corrected: no timer tells, so the sleeper looks up now and then."""
    running_deletions.changed(target(), labelled("24h"))
    await clock.advance(1)
    clock.jump(24 * 3600)
    await clock.advance(deletions.LOOK_EVERY)
    assert server.names == ["web"]


async def test_each_deletion_is_a_trace_of_its_own(running_deletions, clock, exported) -> None:
    running_deletions.changed(target(), labelled("1m", propagation="Background"))
    await clock.advance(60)
    (span,) = exported.get_finished_spans()
    assert (span.name, span.parent) == ("CLEANUP ttl", None)
    assert dict(span.attributes) == {
        "kymograph.object.group": "",
        "kymograph.object.version": "v1",
        "kymograph.object.resource": "pods",
        "kymograph.object.kind": "Pod",
        "kymograph.object.namespace": "default",
        "kymograph.object.name": "web",
        "kymograph.object.uid": "u1",
        "kymograph.cleanup.ttl": "1m",
        "kymograph.cleanup.due": "2024-03-01T12:01:00+00:00",
        "kymograph.cleanup.propagation_policy": "Background",
        "kymograph.cleanup.result": "deleted",
    }


async def test_an_overloaded_api_server_is_left_alone(running_deletions, server, clock) -> None:
    """429, 503, no answer: no object's fault, so all wait, ever longer; with the first answer the pace is back."""
    server.answers = [
        errors.StatusError(429, "TooManyRequests", "later"),
        errors.StatusError(503, "ServiceUnavailable", "not now"),
        errors.Unreachable("refused"),
    ]
    for number in range(100):
        running_deletions.changed(target(f"pod-{number}"), labelled("1m"))
    await clock.advance(60 + 2.5)
    assert server.names == ["pod-0", "pod-1"]
    await clock.advance(1)
    assert server.names == ["pod-0", "pod-1", "pod-2"]
    await clock.advance(60)
    assert sorted(server.names[3:]) == sorted(f"pod-{number}" for number in range(100))


async def test_a_retry_names_the_attempt_before(running_deletions, server, clock, exported) -> None:
    """Each attempt is a trace; the link leads from one to the other."""
    server.answers = [errors.StatusError(500, "InternalError", "webhook says no")]
    running_deletions.changed(target(), labelled("1m"))
    await clock.advance(120)
    first, second = exported.get_finished_spans()
    assert first.links == ()
    assert [link.context.span_id for link in second.links] == [first.context.span_id]


async def test_a_clock_that_is_set_back_does_not_put_off_retries(running_deletions, server, clock) -> None:
    """What has been due is tried at once; what is due by the right time waits for that."""
    server.answers = [errors.StatusError(500, "InternalError", "webhook says no")] * 2
    running_deletions.changed(target("tried"), labelled("2023-07-19"))
    await clock.advance(2)
    running_deletions.changed(target("later"), labelled("1h"))
    clock.jump(-86_400)
    await clock.advance(deletions.LOOK_EVERY)
    assert server.names == ["tried", "tried", "tried"]
    await clock.advance(86_400 + 3600)
    assert server.names[3:] == ["later"]


async def test_the_backlog_is_what_is_due(running_deletions, server, clock) -> None:
    """How many objects wait for the pace, and for how long; not those that have time left."""
    for number in range(100):
        running_deletions.changed(target(f"pod-{number}"), labelled("1m"))
    running_deletions.changed(target("later"), labelled("1h"))
    assert running_deletions.backlog == (0, 0.0)
    await clock.advance(60 + 2)
    depth, age = running_deletions.backlog
    assert depth == 100 - len(server.deleted)
    assert age == 2.0
    await clock.advance(10)
    assert running_deletions.backlog == (0, 0.0)


async def test_the_tree_of_a_deletion(running_deletions, clock, exported) -> None:
    """See `ttl.tree`."""
    running_deletions.changed(target(), labelled("1m", propagation="Background"))
    await clock.advance(60)
    trees.compare(pathlib.Path(__file__).with_name("ttl.tree"), exported.get_finished_spans())
