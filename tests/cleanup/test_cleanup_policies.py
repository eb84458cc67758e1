"""Cleanup policies run when they are due: at once where their time was missed, once, and never two at a time."""

import asyncio
import datetime as dt

import pytest
from opentelemetry.trace import SpanContext, TraceFlags

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.cleanup import held, policies, runs
from support.cleanuppolicies import cleanup_policy
from support.handclock import NOON, settle

MINUTE = 60.0


def written(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cluster:
    """The two collections of policies, watched, and what is written into their status."""

    def __init__(self, clock):
        self._clock = clock
        self.events = {each.plural: asyncio.Queue() for each in held.RESOURCES.values()}
        self.listed = {each.plural: [] for each in held.RESOURCES.values()}
        self.statuses = []
        self.refusing = []
        self._version = 0

    def put(self, document, *, created=NOON, last=None, generation=1, uid="u1"):
        self._version += 1
        plural = held.RESOURCES[document["kind"]].plural
        more = {"uid": uid, "generation": generation, "creationTimestamp": written(created)}
        metadata = {**document["metadata"], **more, "resourceVersion": str(self._version)}
        status = {"status": {"lastExecutionTime": written(last)}} if last is not None else {}
        stored = {**document, "metadata": metadata, **status}
        self.listed[plural].append(stored)
        self.events[plural].put_nowait({"type": "MODIFIED", "object": stored})
        return stored

    def remove(self, stored):
        self._version += 1
        metadata = {**stored["metadata"], "resourceVersion": str(self._version)}
        plural = held.RESOURCES[stored["kind"]].plural
        self.events[plural].put_nowait({"type": "DELETED", "object": {**stored, "metadata": metadata}})

    async def pages(self, resource, **_):
        yield {"metadata": {"resourceVersion": "0"}, "items": []}

    async def watch(self, resource, resource_version, **_):
        while True:
            yield await self.events[resource.plural].get()

    async def merge(self, resource, name, patch, *, namespace, subresource):
        if self.refusing:
            raise self.refusing.pop(0)
        (newest,) = [each for each in reversed(self.listed[resource.plural]) if each["metadata"]["name"] == name][:1]
        if patch["metadata"]["resourceVersion"] != newest["metadata"]["resourceVersion"]:
            raise errors.Conflict(409, "Conflict", "the object has been modified")
        self.statuses.append((resource.kind, namespace, name, patch))

    def conditions(self, type_):
        found = []
        for _, _, _, patch in self.statuses:
            found += [each for each in patch["status"]["conditions"] if each["type"] == type_]
        return found


class Running:
    """Notes when policies are run, and lets them take as long as a test wants."""

    def __init__(self, clock):
        self._clock = clock
        self.at = []
        self.occasions = []
        self.outcomes = []
        self.lasts = 0.0
        self.under_way = 0
        self.most_under_way = 0
        self.stayed_current = []

    async def run(self, policy, occasion, is_current):
        self.at.append((policy.name, self._clock.now() - NOON))
        self.occasions.append(occasion)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.lasts:
                await self._clock.sleep(self.lasts)
        finally:
            self.under_way -= 1
        self.stayed_current.append(is_current())
        outcome = self.outcomes.pop(0) if self.outcomes else runs.Outcome(looked=3, deleted=2)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def times(self):
        return [at for _, at in self.at]


@pytest.fixture
def cluster(clock):
    return Cluster(clock)


@pytest.fixture
def done(clock):
    return Running(clock)


@pytest.fixture
async def controller(cluster, done, clock, running, tracer):
    made = policies.CleanupPolicies(cluster, done, clock, tracer)
    await running(made.run())
    return made


async def test_it_runs_by_its_schedule_and_says_so(controller, cluster, done, clock) -> None:
    """Every five minutes; the status says when, and what came of it."""
    cluster.put(cleanup_policy(namespace="shop"))
    await clock.advance(4 * MINUTE)
    assert done.times == []
    await clock.advance(11 * MINUTE)
    assert done.times == [5 * MINUTE, 10 * MINUTE, 15 * MINUTE]
    kind, namespace, name, patch = cluster.statuses[-1]
    assert (kind, namespace, name) == ("CleanupPolicy", "shop", "tidy")
    assert patch["metadata"] == {"uid": "u1", "resourceVersion": "1"}
    assert patch["status"]["lastExecutionTime"] == written(NOON + 15 * MINUTE)
    ready, ran = patch["status"]["conditions"]
    assert (ready["type"], ready["status"], ready["message"]) == ("Ready", "True", "Ready")
    assert (ran["type"], ran["status"], ran["message"]) == ("Ran", "True", "looked at 3 objects, deleted 2")


@pytest.mark.parametrize("missed", [6 * MINUTE, 60 * MINUTE, 86_400.0])
@pytest.mark.parametrize("has_run", [True, False])
async def test_what_was_missed_is_made_up_for_once(controller, cluster, done, clock, missed, has_run) -> None:
    """However often; then the schedule goes on. Before the first run the creation counts."""
    cluster.put(cleanup_policy(), created=NOON - missed, last=NOON - missed if has_run else None)
    await clock.advance(1)
    assert done.times == [0.0]
    await clock.advance(5 * MINUTE)
    assert done.times == [0.0, 5 * MINUTE]


async def test_a_clock_that_was_set_back_stops_nothing(controller, cluster, done, clock) -> None:
    """A last run that lies in the future counts as now."""
    cluster.put(cleanup_policy(), created=NOON - 60, last=NOON + 365 * 86_400)
    await clock.advance(5 * MINUTE)
    assert done.times == [5 * MINUTE]


async def test_a_clock_that_was_set_forward_is_noticed(controller, cluster, done, clock) -> None:
    """Within a minute."""
    cluster.put(cleanup_policy(schedule="0 18 * * *"))
    await settle()
    clock.jump(7 * 3600)
    await clock.advance(MINUTE)
    assert len(done.at) == 1


async def test_another_schedule_counts_at_once(controller, cluster, done, clock) -> None:
    """A change of the spec only: a status that was written starts nothing."""
    cluster.put(cleanup_policy(schedule="0 0 1 1 *"))
    await clock.advance(10 * MINUTE)
    cluster.put(cleanup_policy(schedule="@every 1m"), generation=2)
    await clock.advance(1)
    assert done.times == [10 * MINUTE]
    cluster.put(cleanup_policy(schedule="@every 1m"), generation=2, last=NOON + 10 * MINUTE)
    await clock.advance(30)
    assert done.times == [10 * MINUTE]


async def test_what_is_gone_does_not_run(controller, cluster, done, clock) -> None:
    """Nor is its status written."""
    stored = cluster.put(cleanup_policy())
    await clock.advance(1)
    cluster.remove(stored)
    await clock.advance(20 * MINUTE)
    assert done.times == []


async def test_what_is_gone_stops_running(controller, cluster, done, clock) -> None:
    """The run is told."""
    stored = cluster.put(cleanup_policy())
    done.lasts = 30.0
    await clock.advance(5 * MINUTE + 1)
    cluster.remove(stored)
    await clock.advance(30)
    assert done.stayed_current == [False]
    assert cluster.conditions("Ran") == []


async def test_a_run_that_lasts_is_followed_by_one_when_it_ends(controller, cluster, done, clock) -> None:
    """A policy never runs twice at the same time."""
    cluster.put(cleanup_policy(schedule="@every 10s"))
    done.lasts = 25.0
    await clock.advance(65)
    assert done.most_under_way == 1
    assert done.times == [10.0, 35.0, 60.0]


async def test_few_run_at_once(controller, cluster, done, clock) -> None:
    """As many as Kyverno has workers."""
    for number in range(6):
        cluster.put(cleanup_policy(f"p{number}"), uid=f"u{number}")
    done.lasts = 10.0
    await clock.advance(5 * MINUTE + 25)
    assert done.most_under_way == 3
    assert sorted(name for name, _ in done.at) == [f"p{number}" for number in range(6)]


async def test_a_run_that_was_not_complete_is_repeated(controller, cluster, done, clock) -> None:
    """After 5 s, then 10 s; `lastExecutionTime` waits, so that the next leader would repeat it too."""
    cluster.put(cleanup_policy(schedule="0 * * * *"), created=NOON - 3600)
    failed = runs.Outcome(failed=1, complete=False, problems=["no answer"])
    done.outcomes = [failed, failed]
    await clock.advance(20)
    assert done.times == [0.0, 5.0, 15.0]
    states = [(each["status"], each["reason"]) for each in cluster.conditions("Ran")]
    assert states == [("False", "Failed"), ("False", "Failed"), ("True", "Succeeded")]
    executed = [patch["status"].get("lastExecutionTime") for *_, patch in cluster.statuses]
    assert [each for each in executed if each] == [written(NOON + 15)]


async def test_a_defect_in_one_run_stops_nothing(controller, cluster, done, clock, caplog) -> None:
    """It is logged as such and repeated."""
    cluster.put(cleanup_policy())
    done.outcomes = [RuntimeError("odd")]
    await clock.advance(5 * MINUTE + 6)
    assert done.times == [5 * MINUTE, 5 * MINUTE + 5]
    assert "this is a defect of Kymograph" in caplog.text


async def test_a_policy_that_does_not_compile_says_why(controller, cluster, done, clock) -> None:
    """And deletes nothing."""
    cluster.put(cleanup_policy(schedule="sometimes"))
    await clock.advance(20 * MINUTE)
    assert done.times == []
    (condition,) = cluster.conditions("Ready")
    assert (condition["status"], condition["reason"]) == ("False", "Failed")
    assert condition["message"].startswith("spec.schedule: Invalid value")


async def test_a_policy_that_cannot_be_taken_in_stops_no_other(controller, cluster, done, clock, caplog) -> None:
    """Also one that could before; it does not run any more."""
    cluster.put(cleanup_policy("odd"))
    cluster.put(cleanup_policy("other"), uid="u2")
    await clock.advance(1)
    broken = cluster.put(cleanup_policy("odd"), generation=2)
    broken["metadata"]["creationTimestamp"] = "yesterday"
    await clock.advance(5 * MINUTE)
    assert [name for name, _ in done.at] == ["other"]
    assert "ClusterCleanupPolicy odd is not followed; this is a defect of Kymograph" in caplog.text


async def test_a_schedule_that_never_comes_is_told(controller, cluster, done, clock) -> None:
    """The author sees it in the status."""
    cluster.put(cleanup_policy(schedule="0 0 30 2 *"))
    await clock.advance(MINUTE)
    assert [each["message"] for each in cluster.conditions("Ready")] == ["its schedule never comes"]


async def test_a_status_that_cannot_be_written_is_written_later(controller, cluster, done, clock) -> None:
    """And does not make the policy run again."""
    cluster.refusing = [errors.Unreachable("no answer")]
    cluster.put(cleanup_policy())
    await clock.advance(10)
    assert [each["status"] for each in cluster.conditions("Ready")] == ["True"]
    cluster.refusing = [errors.Unreachable("no answer")]
    await clock.advance(5 * MINUTE)
    assert done.times == [5 * MINUTE]


async def test_the_status_of_a_run_is_written_until_it_is(controller, cluster, done, clock) -> None:
    """Else the next leader would run the policy again."""
    cluster.put(cleanup_policy(schedule="0 * * * *"), created=NOON - 3600)
    cluster.refusing = [errors.StatusError(429, "TooManyRequests", "later")] * 3
    await clock.advance(30)
    assert done.times == [0.0]
    assert [patch["status"].get("lastExecutionTime") for *_, patch in cluster.statuses] == [written(NOON)]


async def test_another_leaders_later_run_is_not_unsaid(controller, cluster, done, clock) -> None:
    """Two lead for a moment: the status is written over what was read, and never goes back."""
    cluster.put(cleanup_policy())
    done.lasts = 30.0
    await clock.advance(5 * MINUTE + 1)
    cluster.put(cleanup_policy(), last=NOON + 5 * MINUTE + 1)
    await clock.advance(MINUTE)
    assert done.times == [5 * MINUTE]
    assert not any("lastExecutionTime" in patch["status"] for *_, patch in cluster.statuses)
    assert cluster.conditions("Ran") == []


async def test_a_run_knows_why_it_is(controller, cluster, done, clock) -> None:
    """By its schedule; because it was missed; as a repetition, which names the run before."""
    before = SpanContext(1, 1, is_remote=False)
    cluster.put(cleanup_policy(), created=NOON - 3600)
    done.outcomes = [runs.Outcome(failed=1, complete=False, problems=["no answer"], span=before)]
    await clock.advance(5 * MINUTE)
    missed = NOON - 3600 + 5 * MINUTE
    assert done.occasions == [("missed", missed, None), ("repeat", NOON + 5, before), ("schedule", NOON + 300, None)]


async def test_a_clock_that_is_set_back_does_not_put_off_runs(controller, cluster, done, clock) -> None:
    """It was a year ahead; the next run was entered by that."""
    cluster.put(cleanup_policy(schedule="0 18 * * *"))
    await settle()
    clock.jump(365 * 86_400)
    await clock.advance(MINUTE)
    assert len(done.at) == 1
    clock.jump(-365 * 86_400)
    await clock.advance(6 * 3600)
    assert len(done.at) == 2


def test_the_resources_are_those_of_the_kinds() -> None:
    """Version 2, which the others are stored as."""
    assert held.RESOURCES == {
        "CleanupPolicy": resources.CLEANUP_POLICIES,
        "ClusterCleanupPolicy": resources.CLUSTER_CLEANUP_POLICIES,
    }


async def test_the_next_leader_ends_what_the_last_one_began(cluster, done, clock, running, tracer) -> None:
    """Leadership is lost in the middle of a run: nothing says that it was, so the policy runs again, once."""
    stored = cluster.put(cleanup_policy(schedule="0 12 * * *"), created=NOON - 60)
    done.lasts = 60.0
    first = asyncio.create_task(policies.CleanupPolicies(cluster, done, clock, tracer).run())
    await clock.advance(10)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (done.times, done.under_way) == ([0.0], 0)
    done.lasts = 0.0
    cluster.events["clustercleanuppolicies"].put_nowait({"type": "ADDED", "object": stored})
    await running(policies.CleanupPolicies(cluster, done, clock, tracer).run())
    await clock.advance(3600)
    assert done.times == [0.0, 10.0]
    assert [each for each in done.occasions if each.cause == "missed"] == done.occasions[1:]


async def test_a_status_is_written_in_a_trace_that_leads_to_its_run(controller, cluster, done, clock, exported) -> None:
    """Who sees what came of a run finds what it did; that a policy is followed has no run behind it."""
    ran = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    done.outcomes.append(runs.Outcome(looked=3, deleted=2, span=ran))
    cluster.put(cleanup_policy(namespace="shop"))
    await clock.advance(6 * MINUTE)
    told = [span for span in exported.get_finished_spans() if span.name == "CLEANUP policy status"]
    assert [[link.context.span_id for link in span.links] for span in told] == [[], [2]]
    assert {(span.parent, span.attributes["kyverno.policy.name"]) for span in told} == {(None, "tidy")}
