"""What the hot path hands over, and what of it becomes findings."""

import asyncio

import pytest

from kymograph.controllers.reports import confirmation, findings, intake, queue
from kymograph.engine import compile as compiler
from kymograph.engine import evaluate
from support import pods
from support.reporting import TRACED, UNTRACED, compiled, policy_document, result_of

PAUSE = intake.GRACE
P = compiled(name="p")
Q = compiled(name="q")


class Clock:
    def __init__(self):
        self.now = 5_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def dropped():
    return []


@pytest.fixture
def taken(clock, dropped):
    """An intake whose clock started at the year 2024."""
    return intake.Intake(clock, lambda: clock.now + 1_709_294_400_000_000_000, lambda: dropped.append(1))


def let_go(taken):
    while taken.digest():
        pass


def mature(taken, clock):
    let_go(taken)
    clock.now += PAUSE
    return list(taken.mature())


def test_a_created_object_is_looked_at_after_its_grace(taken, clock) -> None:
    """It is stored only after the last webhook has answered."""
    review = pods.create()["request"]
    taken.decided(review, (P, Q), (result_of(P, "fail"),), UNTRACED)
    let_go(taken)
    clock.now += PAUSE - 1
    assert not list(taken.mature())
    clock.now += 1
    (found,) = taken.mature()
    assert found.subject == ("", "v1", "Pod", "shop", "web-7d4b9c6f58-x2x7k", "5a3f4a35-0f9b-41a2-8f0e-4cf6f4f1d777")
    assert (found.plural, found.fresh, found.replaces, found.requests) == ("pods", True, "", ())
    about = (1_709_294_405_000_000_000, confirmation.digest(review["object"]))
    assert found.latest == {
        "p": findings.Found(result_of(P, "fail"), *about),
        "q": findings.Found(None, *about),
    }


def test_an_update_remembers_what_it_replaces(taken, clock) -> None:
    """So that a change which was refused later can be told from one that was stored."""
    review = pods.update()["request"]
    review["oldObject"]["metadata"]["resourceVersion"] = "77"
    taken.decided(review, (P,), (), TRACED)
    (found,) = mature(taken, clock)
    assert (found.replaces, found.fresh) == ("77", False)
    (request,) = found.requests
    assert (request.trace_id, request.span_id, request.is_remote) == (TRACED.trace_id, TRACED.span_id, True)


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "DELETE"},
        {"operation": "CONNECT"},
        {"dryRun": True},
        {"subResource": "status"},
        {"object": None},
        {"object": {}},
        {"object": {"metadata": None}},
        {"object": {"metadata": {"name": "no-uid"}}},
        {"object": {"metadata": {"uid": "no-name"}}},
        {"object": {"metadata": {"uid": "u" * 254, "name": "n"}}},
        {"operation": "UPDATE", "oldObject": {"metadata": None}, "object": None},
        {"kind": {"group": "wgpolicyk8s.io", "version": "v1alpha2", "kind": "PolicyReport"}},
        {"kind": {"group": "", "version": "v1", "kind": "Event"}},
        {"kind": {"group": "events.k8s.io", "version": "v1", "kind": "Event"}},
    ],
)
def test_what_leaves_no_object_leaves_nothing(taken, clock, change: dict) -> None:
    """Deletions, dry runs, subresources, forged and nameless objects; reports, whose reports would have reports."""
    taken.decided({**pods.create()["request"], **change}, (P,), (result_of(P),), UNTRACED)
    assert mature(taken, clock) == []


@pytest.mark.parametrize("old", [None, {}, {"metadata": None}, {"metadata": {"resourceVersion": {"a": 1}}}])
def test_a_forged_update_raises_nothing(taken, clock, old: object) -> None:
    """The hot path believes nothing and fails at nothing."""
    taken.decided({**pods.update()["request"], "oldObject": old}, (P,), (), UNTRACED)
    assert [each.replaces for each in mature(taken, clock)] == [""]


def test_too_many_are_dropped_and_counted(taken, clock, dropped, monkeypatch) -> None:
    """No review waits for reports, and memory has a bound."""
    monkeypatch.setattr(intake, "MOST_ENTRIES", 3)
    for _ in range(5):
        taken.decided(pods.create()["request"], (P,), (), UNTRACED)
    assert len(dropped) == 2
    assert len(mature(taken, clock)) == 3


def test_no_object_is_held_for_long(taken) -> None:
    """An entry holds names and a digest, not the object: thousands of those would be hundreds of megabytes."""
    import gc

    review = pods.create()["request"]
    taken.decided(review, (P,), (), UNTRACED)
    let_go(taken)
    assert not taken._held
    ((entry, reviewed),) = taken._entries
    assert len(reviewed) == 16
    held = gc.get_referents(entry)
    assert not any(each is review["object"] or each is review["object"]["metadata"] for each in held)


def test_what_is_nested_too_deep_is_dropped_and_counted(taken, clock, dropped) -> None:
    """A forged object that cannot be digested ends nothing but itself."""
    review = pods.create()["request"]
    deep: dict = {}
    for _ in range(500):
        deep = {"in": deep}
    taken.decided({**review, "object": {**review["object"], "spec": deep}}, (P,), (), UNTRACED)
    taken.decided(review, (P,), (), UNTRACED)
    assert len(mature(taken, clock)) == 1
    assert len(dropped) == 1


async def test_a_full_queue_makes_the_intake_wait(taken, clock, dropped, monkeypatch) -> None:
    """What cannot be passed on stays within the bound of the intake."""
    monkeypatch.setattr(intake, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(intake, "HELD", 0.001)
    monkeypatch.setattr(queue, "MOST_WAITING", 2)
    work = queue.WorkQueue()
    for number in range(4):
        review = pods.create()["request"]
        review["object"]["metadata"]["uid"] = f"uid-{number}"
        taken.decided(review, (P,), (), UNTRACED)
    clock.now += PAUSE
    passing = asyncio.create_task(taken.pass_on(work))
    try:
        first = await work.take()
        second = await work.take()
        async with asyncio.timeout(60):
            while len(taken):  # noqa: ASYNC110  # the intake tells nobody
                await asyncio.sleep(0.001)
        assert {first.findings.subject.uid, second.findings.subject.uid} == {"uid-0", "uid-1"}
        assert work.full
    finally:
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)


MUTATING = compiler.compile_policy(
    {
        **policy_document("m"),
        "spec": {
            "rules": [
                {
                    "name": name,
                    "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                    "mutate": {
                        "patchStrategicMerge": {"metadata": {"labels": {"a": "b"}}},
                        **({"targets": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]} if name == "far" else {}),
                    },
                }
                for name in ("near", "other", "far")
            ]
        },
    }
)


def test_what_changed_a_new_object_is_told_of_each_rule(taken, clock) -> None:
    """It has no uid yet; rules that did nothing say so, those with targets are not about this object."""
    review = pods.create()["request"]
    made = {**review["object"], "metadata": {**review["object"]["metadata"], "labels": {"a": "b"}}}
    del made["metadata"]["uid"]
    near = next(rule for rule in MUTATING.mutate.every if rule.name == "near")
    told = evaluate.PolicyResult(
        MUTATING, "Audit", (evaluate.RuleResult(near, "pass", "mutated Pod/web", "Audit", 0, 1, {}, None),)
    )
    taken.mutated(review, made, (MUTATING,), (told,), UNTRACED)
    (found,) = mature(taken, clock)
    assert (found.subject.uid, found.subject.key) == ("", "/Pod/shop/web-7d4b9c6f58-x2x7k")
    assert not found.fresh
    assert {key: bool(each.result) for key, each in found.latest.items()} == {
        findings.of_rule("m", "near"): True,
        findings.of_rule("m", "other"): False,
    }
    stored = {**made, "metadata": {**made["metadata"], "uid": "u", "creationTimestamp": "2026-03-01T00:00:00Z"}}
    assert found.latest[findings.of_rule("m", "near")].reviewed in confirmation.digests(stored)


async def test_findings_know_where_the_trace_of_their_request_is(clock, dropped) -> None:
    """By what the link is when they are passed on."""
    taken = intake.Intake(clock, lambda: clock.now, lambda: dropped.append(1), lambda decision: f"/{decision.trace_id}")
    taken.decided(pods.create()["request"], (P,), (result_of(P, "fail"),), TRACED)
    (found,) = mature(taken, clock)
    assert found.latest["p"].trace == f"/{TRACED.trace_id}"
