"""The author of a policy is told what became of it: truly, once, and not before it is so."""

import asyncio
import datetime as dt

import pytest

from fakes.stored import BROKEN, stored
from kymograph.clients.kubernetes import errors
from kymograph.controllers import policies
from kymograph.controllers.background import status
from kymograph.model import policy as model

NOW = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
STAMP = "2024-03-01T12:00:00Z"
EARLIER = "2024-02-01T00:00:00Z"


class Statuses:
    """Takes status patches.

    Attributes:
        written: (name, ready) of each, oldest first.
        failing: What patches of a name raise.
    """

    def __init__(self):
        self.written = []
        self.patches = []
        self.failing = {}

    async def merge(self, resource, name, patch, *, namespace, subresource):
        await asyncio.sleep(0)
        assert subresource == "status"
        if name in self.failing:
            raise self.failing[name]
        self.written.append((name, patch["status"]["ready"]))
        self.patches.append((resource.kind, namespace, patch))
        return {}


class Coverage:
    """Which generations of the policies API servers ask about."""

    def __init__(self):
        self.generation = 1_000_000
        self.waiting = []
        self._changed = asyncio.Condition()

    async def covers(self, generation):
        self.waiting.append(generation)
        async with self._changed:
            await self._changed.wait_for(lambda: self.generation >= generation)

    async def reach(self, generation):
        async with self._changed:
            self.generation = generation
            self._changed.notify_all()


class Here:
    def __init__(self, telemetry):
        self.cluster, self.coverage, self.store = Statuses(), Coverage(), policies.PolicyStore()
        self.writer = status.PolicyStatusWriter(self.cluster, self.store, telemetry, self.coverage.covers, lambda: NOW)
        self.task = None

    def start(self):
        self.task = asyncio.create_task(self.writer.run())

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.001)


@pytest.fixture
async def here(kept, monkeypatch):
    monkeypatch.setattr(status, "RETRY_AFTER", 0.005)
    made = Here(kept.telemetry)
    yield made
    if made.task is not None:
        assert not made.task.done(), made.task
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


async def test_a_policy_is_ready_when_it_is_asked_about(here) -> None:
    """Not when it is compiled: until API servers ask, nothing is enforced."""
    await here.coverage.reach(0)
    here.start()
    here.store.put(stored("p", 1))
    await here.until(lambda: here.coverage.waiting == [1])
    assert here.cluster.written == []
    await here.coverage.reach(1)
    await here.until(lambda: here.cluster.written == [("p", True)])


async def test_a_policy_that_came_while_another_was_waited_for_has_its_own_wait(here) -> None:
    """Being covered is a matter of its own generation, not of the one that others waited for."""
    await here.coverage.reach(0)
    here.start()
    here.store.put(stored("a", 1))
    await here.until(lambda: here.coverage.waiting)
    here.store.put(stored("b", 2))
    await here.coverage.reach(1)
    await here.until(lambda: here.coverage.waiting == [1, 2])
    assert here.cluster.written == [("a", True)]
    await here.coverage.reach(2)
    await here.until(lambda: here.cluster.written == [("a", True), ("b", True)])


async def test_a_policy_that_does_not_compile_waits_for_nobody(here) -> None:
    """Its author learns what is wrong even while webhooks cannot be written."""
    await here.coverage.reach(0)
    here.store.put(stored("good", 1))
    here.store.put(stored("bad", 2, validate=BROKEN))
    here.start()
    await here.until(lambda: here.cluster.written == [("bad", False)])


async def test_what_changed_or_went_while_waiting_is_not_told(here) -> None:
    """The latest word counts."""
    await here.coverage.reach(0)
    here.start()
    here.store.put(stored("p", 1))
    here.store.put(stored("q", 2))
    await here.until(lambda: here.coverage.waiting)
    here.store.drop(policies.Key("ClusterPolicy", "", "p"), "uid-p")
    here.store.put(stored("q", 3, generation=2, validate=BROKEN))
    await here.coverage.reach(100)
    await here.until(lambda: here.cluster.written == [("q", False)])


async def test_a_status_that_says_so_already_is_not_written_again(here) -> None:
    """A restart with a thousand policies writes nothing; policies that were there before are looked at too."""
    held = policies.Held(policies.Key("ClusterPolicy", "", "p"), "u", 1, 1, None, (), {})
    assert status.render(held, NOW)["ready"] is False
    here.store.put(stored("p", 1))
    told = status.render(here.store.held[0], NOW)
    here.store.put(stored("p", 2, status=told))
    here.store.put(stored("q", 3))
    here.start()
    await here.until(lambda: here.cluster.written == [("q", True)])


async def test_a_write_that_fails_holds_up_no_other_and_is_tried_again(here) -> None:
    """One policy whose status cannot be written does not keep the rest from being told."""
    here.cluster.failing = {"a": errors.StatusError(422, "Invalid", "too long"), "gone": errors.NotFound(404, "", "")}
    for number, name in enumerate(("a", "gone", "b", "c")):
        here.store.put(stored(name, number + 1))
    here.start()
    await here.until(lambda: here.cluster.written == [("b", True), ("c", True)])
    here.store.put(stored("a", 9, status={}))
    here.cluster.failing.clear()
    await here.until(lambda: here.cluster.written[2:] == [("a", True)])


async def test_a_failed_write_of_a_policy_that_is_gone_is_forgotten(here) -> None:
    """And one of a policy that has changed is of the new one."""
    here.cluster.failing = {"p": errors.Unreachable("refused"), "q": errors.Unreachable("refused")}
    here.store.put(stored("p", 1))
    here.store.put(stored("q", 2))
    here.start()
    await here.until(lambda: len(here.coverage.waiting) == 2)
    here.store.drop(policies.Key("ClusterPolicy", "", "p"), "uid-p")
    here.store.put(stored("q", 3, generation=2, validate=BROKEN))
    here.cluster.failing.clear()
    await here.until(lambda: here.cluster.written == [("q", False)])


async def test_a_patch_is_for_one_incarnation_and_its_write_a_trace(here, kept) -> None:
    """A policy made again under the same name does not get the status of the old one."""
    here.start()
    here.store.put(stored("p", 1, kind="Policy", namespace="ns", uid="u"))
    await here.until(lambda: here.cluster.written)
    kind, namespace, patch = here.cluster.patches[0]
    assert (kind, namespace, patch["metadata"]) == ("Policy", "ns", {"uid": "u"})
    (span,) = kept.finished()
    assert (span.name, span.parent) == ("BACKGROUND policy status", None)
    assert dict(span.attributes) == {
        "kyverno.policy.group": "kyverno.io",
        "kyverno.policy.version": "v1",
        "kyverno.policy.kind": "Policy",
        "kyverno.policy.name": "p",
        "kyverno.policy.namespace": "ns",
    }


async def held(**given):
    store = policies.PolicyStore()
    store.put(stored("p", 1, **given))
    return store.held[0]


def ready_since(value, since):
    """A status with only a Ready condition, perhaps without a time."""
    return {"conditions": [{"type": "Ready", "status": value, **({"lastTransitionTime": since} if since else {})}]}


@pytest.mark.parametrize(
    ("before", "since"),
    [
        (None, STAMP),
        (ready_since("True", EARLIER), EARLIER),
        (ready_since("False", EARLIER), STAMP),
        (ready_since("True", None), STAMP),
        ({"conditions": [{"type": "Other", "status": "True", "lastTransitionTime": EARLIER}]}, STAMP),
        ({"conditions": None}, STAMP),
    ],
)
async def test_a_transition_is_dated_when_the_status_changes(before, since) -> None:
    """Whatever somebody else may have written there before."""
    rendered = status.render(await held(status=before), NOW)
    del rendered["autogen"]
    assert rendered == {
        "ready": True,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Succeeded",
                "message": "Ready",
                "lastTransitionTime": since,
                "observedGeneration": 1,
            }
        ],
        "rulecount": {"validate": 1, "mutate": 0, "generate": 0, "verifyimages": 0},
        "validatingadmissionpolicy": {
            "generated": False,
            "message": "skip generating ValidatingAdmissionPolicy for non CEL rules.",
        },
    }


async def test_what_is_told_already_is_not_told_again(here) -> None:
    """And a status of an operator that said less is."""
    rendered = status.render(await held(), NOW)
    here.store.put(stored("p", 1, status=rendered))
    here.store.put(stored("q", 2, status={**rendered, "validatingadmissionpolicy": None}))
    here.start()
    await here.until(lambda: here.cluster.written)
    assert here.cluster.written == [("q", True)]


async def test_a_namespaced_policy_is_no_candidate_for_kubernetes_own() -> None:
    """Kyverno looks at ClusterPolicies alone."""
    rendered = status.render(await held(kind="Policy", namespace="ns"), NOW)
    assert rendered["validatingadmissionpolicy"] == {"generated": False, "message": ""}


async def test_rules_made_for_controllers_are_shown_and_not_counted() -> None:
    """Whole, in the order they are evaluated in; a policy without any says so by an empty record."""
    rendered = status.render(await held(), NOW)
    assert rendered["rulecount"]["validate"] == 1
    assert [rule["name"] for rule in rendered["autogen"]["rules"]] == ["autogen-p-rule", "autogen-cronjob-p-rule"]
    plain = await held(match={"any": [{"resources": {"kinds": ["Pod"], "names": ["a"]}}]})
    assert status.render(plain, NOW)["autogen"] == {"rules": None}


async def test_problems_are_told_in_full_as_far_as_the_crd_takes_them() -> None:
    """Every path and reason; a policy of nothing but mistakes does not make its own status unwritable."""
    broken = await held(validate=BROKEN)
    rendered = status.render(broken, NOW)
    (condition,) = rendered["conditions"]
    assert (rendered["ready"], condition["status"], condition["reason"]) == (False, "False", "Failed")
    assert all(str(problem) in condition["message"] for problem in broken.problems)
    many = policies.dataclasses.replace(broken, problems=broken.problems * 10_000)
    message = status.render(many, NOW)["conditions"][0]["message"]
    limits = model.CLUSTER_POLICY.versions[0].schema["properties"]["status"]["properties"]["conditions"]
    assert len(message) == limits["items"]["properties"]["message"]["maxLength"]


async def test_who_leads_again_begins_with_every_policy(here) -> None:
    """Cancelled with a status unwritten, or after somebody else wrote: what is not told yet is told then."""
    here.coverage.generation = -1
    here.store.put(stored("one", 1))
    here.start()
    await here.until(lambda: here.coverage.waiting)
    here.task.cancel()
    await asyncio.gather(here.task, return_exceptions=True)
    assert here.cluster.written == []
    await here.coverage.reach(1_000_000)
    here.start()
    await here.until(lambda: here.cluster.written == [("one", True)])
