"""What a request sets off is noted before its answer is given, once, and only where there is something."""

import asyncio
import copy
import json
import time

import pytest

from fakes import objects, traced
from kymograph.clients.kubernetes import errors
from kymograph.controllers import policies, updaterequests
from kymograph.controllers.admission import review, reviewing, server, updaterequestroom, webhooks
from kymograph.controllers.admission import updaterequests as noting
from kymograph.controllers.admission.metrics import ReviewMetrics
from support.writtenpolicies import generating, mutating, policy

PARENT = b"00-0000000000000000000000000000000a-000000000000000b-01"
ACCOUNT = "system:serviceaccount:kymograph:kymograph"
NAMESPACED = {"any": [{"resources": {"kinds": ["Namespace"]}}]}
EXISTING = {
    "match": NAMESPACED,
    **mutating(
        targets=[{"apiVersion": "v1", "kind": "Secret", "name": "s", "namespace": "n"}],
        patchStrategicMerge={"data": {"a": "b"}},
    ),
}


class Facts:
    """Knows nothing, and is not asked."""

    def at_hand(self, need, facts):
        return False

    async def fetch(self, need, facts):
        raise AssertionError(need)


class Slow(objects.Objects):
    """An API server that does not answer in time."""

    async def create(self, *_, **__):
        await asyncio.sleep(60)


class Entry:
    """Reviews as they are served."""

    def __init__(self, kept, cluster=None, most=100):
        self.cluster, self.store = cluster or objects.Objects(), policies.PolicyStore()
        self.refused, self.now = [], 0.0
        room = updaterequestroom.Room(self.cluster, "kymograph", lambda: most, lambda: self.now)
        self.reviews = review.Reviews(
            self.store,
            Facts(),
            reviewing.Owner(
                kept.telemetry,
                ReviewMetrics(kept.telemetry.instruments, self.store),
                time.monotonic_ns,
                afterwards=noting.UpdateRequests(self.cluster, "kymograph", lambda: ACCOUNT, room, self.refused.append),
            ),
        )

    def enforce(self, *rules, **spec):
        document = policy(*rules, **spec)
        document["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1}
        self.store.put(document)

    async def judge(self, document, failure="Fail", within=10**10):
        path = webhooks.FAIL_PATH if failure == "Fail" else webhooks.IGNORE_PATH
        http = server.Request(
            path, json.dumps(document).encode(), time.monotonic_ns() + within, b"application/json", traceparent=PARENT
        )
        answer = self.reviews.validate(http, failure)
        return json.loads(answer if isinstance(answer, bytes) else await answer)["response"]

    @property
    def noted(self):
        return [each for place, each in self.cluster.stored.items() if place[0] == "updaterequests"]


@pytest.fixture
async def entry():
    async with traced.kept() as kept:
        yield Entry(kept)


def created(name="shop", uid="request-1", **more):
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": "uid-1"}}
    request = {
        "uid": uid,
        "kind": {"group": "", "version": "v1", "kind": "Namespace"},
        "resource": {"group": "", "version": "v1", "resource": "namespaces"},
        "name": name,
        "namespace": name,
        "operation": "CREATE",
        "userInfo": {"username": "jane"},
        "object": made,
        "oldObject": None,
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def updated(old, new):
    review_of = created(operation="UPDATE")
    base = review_of["request"]["object"]
    for field, labels in (("object", new), ("oldObject", old)):
        document = copy.deepcopy(base)
        document["metadata"] |= {"labels": labels, "resourceVersion": "7", "managedFields": [{"manager": field}]}
        review_of["request"][field] = document
    return review_of


@pytest.mark.parametrize(("rule", "type_"), [(generating(), "generate"), (EXISTING, "mutate")])
async def test_each_rule_that_is_set_off_is_noted(entry, rule, type_) -> None:
    """With the trigger, the request without its object, and the trace."""
    entry.enforce(rule)
    assert (await entry.judge(created()))["allowed"] is True
    (noted,) = entry.noted
    asked = updaterequests.read(noted)
    trigger = updaterequests.Reference("v1", "Namespace", "", "shop", "uid-1")
    assert (asked.type, asked.policy, asked.parts) == (type_, "p", (updaterequests.Part("r", trigger, deletes=False),))
    assert asked.request is not None
    assert "object" not in asked.request
    assert asked.request["userInfo"] == {"username": "jane"}
    assert asked.traceparent[:36] == PARENT.decode()[:36]


@pytest.mark.parametrize(
    ("trigger", "told"),
    [
        (
            updaterequests.Reference("apps/v1", "Deployment", "shop", "web", "1"),
            {"trigger-name": "web", "trigger-namespace": "shop", "trigger-kind": "Deployment",
             "trigger-apiversion": "apps-v1"},
        ),
        (
            updaterequests.Reference("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:node", "1"),
            {"trigger-namespace": "", "trigger-kind": "ClusterRole",
             "trigger-apiversion": "rbac.authorization.k8s.io-v1"},
        ),
        (
            updaterequests.Reference("v1", "ConfigMap", "shop", f"{'a' * 62}.b", "1"),
            {"trigger-namespace": "shop", "trigger-kind": "ConfigMap", "trigger-apiversion": "v1"},
        ),
    ],
    ids=["plain", "colon", "ends in a dot where it is cut"],
)  # fmt: skip
def test_update_requests_are_found_by_kyvernos_labels(trigger, told) -> None:
    """What can be the value of no label is left out: the API server would refuse the whole UpdateRequest."""
    part = updaterequests.Part("r", trigger, deletes=False)
    mutate = updaterequests.document("ur-1", updaterequests.MUTATE, "ns/p", part)["metadata"]["labels"]
    told = {"policy-name": "p", **told}
    assert mutate == {f"mutate.updaterequest.kyverno.io/{key}": value for key, value in told.items()}
    generate = updaterequests.document("ur-1", updaterequests.GENERATE, "ns/p", part)["metadata"]["labels"]
    assert generate == {"generate.kyverno.io/policy-name": "p"}


async def test_a_request_that_is_retried_is_noted_once(entry) -> None:
    entry.enforce(generating())
    for _ in range(2):
        assert (await entry.judge(created()))["allowed"] is True
    await entry.judge(created(uid="request-2"))
    assert len(entry.noted) == 2


@pytest.mark.parametrize(
    "document",
    [
        created(dryRun=True),
        created(kind={"group": "", "version": "v1", "kind": "Secret"}),
        created(userInfo={"username": ACCOUNT}),
    ],
    ids=["dry run", "another kind", "our own"],
)
async def test_nothing_is_noted_where_nothing_is_set_off(entry, document) -> None:
    entry.enforce(generating(), name="p")
    assert (await entry.judge(document))["allowed"] is True
    assert entry.cluster.calls == []


async def test_a_rule_may_ask_for_our_own_requests(entry) -> None:
    entry.enforce({**generating(), "skipBackgroundRequests": False})
    await entry.judge(created(userInfo={"username": ACCOUNT}))
    assert len(entry.noted) == 1


async def test_a_request_that_we_deny_sets_nothing_off(entry) -> None:
    entry.enforce(
        {"match": NAMESPACED, "validate": {"failureAction": "Enforce", "message": "no", "deny": {}}}, generating()
    )
    assert (await entry.judge(created()))["allowed"] is False
    assert entry.noted == []


@pytest.mark.parametrize("synchronize", [False, True])
async def test_an_object_that_is_no_trigger_any_more_is_noted_if_the_rule_synchronizes(entry, synchronize) -> None:
    rule = generating(synchronize=synchronize)
    selected = {"kinds": ["Namespace"], "selector": {"matchLabels": {"a": "b"}}}
    entry.enforce({**rule, "match": {"any": [{"resources": selected}]}})
    await entry.judge(updated({"a": "b"}, {}))
    assert [updaterequests.read(each).parts[0].deletes for each in entry.noted] == [True] * synchronize


async def test_an_update_to_what_is_there_already_says_so(entry) -> None:
    entry.enforce(generating())
    await entry.judge(updated({"a": "b"}, {"a": "b"}))
    (noted,) = entry.noted
    assert updaterequests.read(noted).unchanged
    assert "managedFields" not in json.dumps(noted)


@pytest.mark.parametrize("failure", ["Fail", "Ignore"])
async def test_what_cannot_be_noted_denies_or_warns(entry, failure) -> None:
    """As the failure policy says; the user reads which rule, and why."""
    entry.enforce(generating(), failurePolicy=failure)
    entry.cluster.broken = [errors.StatusError(500, "", "etcd is down")]
    response = await entry.judge(created(), failure)
    said = "what rule r of policy p does cannot be noted: 500: etcd is down"
    if failure == "Fail":
        assert (response["allowed"], response["status"]["message"]) == (False, said)
    else:
        assert (response["allowed"], response["warnings"]) == (True, [said])


@pytest.mark.parametrize("failure", ["Fail", "Ignore"])
async def test_there_are_no_more_than_there_may_be(failure) -> None:
    """The failure policy decides; the user reads which rule, and why. None of a request's is noted, or all are."""
    async with traced.kept() as kept:
        entry = Entry(kept, most=3)
        entry.enforce(generating(), {**EXISTING, "name": "s"}, failurePolicy=failure)
        assert (await entry.judge(created(), failure))["allowed"] is True
        response = await entry.judge(created(uid="request-2"), failure)
    said = (
        "what rule r of policy p does cannot be noted: there may be no more than 3 UpdateRequests at once; "
        "try again when some are done"
    )
    if failure == "Fail":
        assert (response["allowed"], response["status"]["message"]) == (False, said)
    else:
        assert (response["allowed"], response["warnings"]) == (True, [said])
    assert len(entry.noted) == 2
    assert entry.refused == ["generate", "mutate"]


async def test_how_many_there_are_is_asked_now_and_then() -> None:
    """Not for each review; but nothing is refused, and nothing allowed for long, because of an old number."""
    async with traced.kept() as kept:
        entry = Entry(kept, most=10)
        entry.enforce(generating())

        async def ask(number):
            return (await entry.judge(created(uid=f"request-{number}")))["allowed"]

        assert [await ask(number) for number in range(11)] == [True] * 10 + [False]
        counted = ("count", ("updaterequests", "kymograph", ""))
        assert entry.cluster.calls.count(counted) == 1
        await entry.cluster.remove("updaterequests", "kymograph", entry.noted[0]["metadata"]["name"])
        entry.now += updaterequestroom.FRESH
        assert [await ask(number) for number in (11, 12)] == [True, False], "somebody else has made room"
        entry.now += updaterequestroom.STALE
        for number in range(20):
            await entry.cluster.put(
                "updaterequests", {"metadata": {"name": f"other-{number}", "namespace": "kymograph"}}
            )
        assert not await ask(13), "others have taken it"
        assert entry.cluster.calls.count(counted) == 3


async def test_where_nobody_knows_how_many_there_are_there_is_room() -> None:
    class Silent(objects.Objects):
        async def count(self, *_, **__):
            raise errors.from_status(429, {"reason": "TooManyRequests", "message": "later"})

    async with traced.kept() as kept:
        entry = Entry(kept, Silent(), most=1)
        entry.enforce(generating())
        assert (await entry.judge(created()))["allowed"] is True


async def test_an_api_server_that_has_no_time_is_asked_again(entry) -> None:
    """429 while it notes: the request is not refused for that as long as it has time itself."""
    entry.enforce(generating())
    entry.cluster.broken = [errors.from_status(429, {"reason": "TooManyRequests", "message": "later"})] * 3
    assert (await entry.judge(created()))["allowed"]
    assert not entry.cluster.broken
    assert len(entry.noted) == 1


async def test_the_answer_is_in_time_although_nothing_can_be_noted(monkeypatch) -> None:
    monkeypatch.setattr(reviewing, "ANSWERING", 29.9)
    async with traced.kept() as kept:
        entry = Entry(kept, Slow())
        entry.enforce(generating())
        response = await entry.judge(created(), within=30 * 10**9)
    assert response["allowed"] is False
    assert "in the time that it has" in response["status"]["message"]


async def test_what_generate_rules_came_to_is_counted_and_traced() -> None:
    async with traced.kept() as kept:
        entry = Entry(kept)
        entry.enforce(generating())
        await entry.judge(created())
        assert "RULE r" in {span.name for span in kept.finished()}
        counted = [name for name in kept.scrape() if name.startswith("policy_results_total")]
    assert any('rule_type="generate"' in name and 'rule_result="pass"' in name for name in counted)
