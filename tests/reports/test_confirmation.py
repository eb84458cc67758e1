"""What a review showed counts only for an object that is stored just so; else the stored one is looked at."""

import copy

import pytest

from kymograph.controllers import policies
from kymograph.controllers.reports import confirmation, findings
from kymograph.controllers.reports.writer import Outcome
from kymograph.engine import evaluate, exceptions
from support import pods
from support.reporting import FOUND_AT, POD, Controller, policy_document, result_of

STORED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "uid-web",
        "resourceVersion": "9",
        "labels": {"app": "web"},
    },
    "spec": {"containers": [{"name": "web", "image": "web:1"}], "nodeName": "a"},
    "status": {"phase": "Running"},
}


def changed(document: dict, *path: str, to: object) -> dict:
    """A copy with one field, added or changed; removed where `to` is None."""
    made = copy.deepcopy(document)
    inner = made
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    if to is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return made


REVIEWED = changed(STORED, "spec", "nodeName", to=None)


def team_wanted(name: str, selected: dict | None = None, **spec: object) -> dict:
    """A policy on Pods that fails without the label `team`."""
    document = policy_document(name)
    (rule,) = document["spec"]["rules"]
    rule["match"] = {"any": [{"resources": {"kinds": ["Pod"], **(selected or {})}}]}
    rule["validate"] = {"message": "no", "pattern": {"metadata": {"labels": {"team": "?*"}}}}
    document["spec"].update(spec)
    return document


@pytest.fixture
def store():
    made = policies.PolicyStore()
    made.put(team_wanted("p"))
    made.put(team_wanted("user", background=False))
    made.put(team_wanted("selected", {"namespaceSelector": {"matchLabels": {"kind": "shop"}}}))
    made.complete.set()
    return made


@pytest.fixture
def stored(cluster):
    """The Pod as the cluster has it, and its namespace."""
    cluster.objects["pods", "shop", "web"] = copy.deepcopy(STORED)
    cluster.put("namespaces", "", "shop", labels={"kind": "shop"})
    return cluster


def reviewed(controller: Controller, document: dict, **results: str) -> findings.Findings:
    """What admission found in a document."""
    compiled = {held.compiled.key: held.compiled for held in controller.reported._store.held}
    seen = confirmation.digest(document)
    latest = {
        key: findings.Found(result_of(compiled[key], result) if result else None, FOUND_AT, seen)
        for key, result in results.items()
    }
    return findings.Findings(POD, "pods", latest)


def told(cluster) -> dict[str, str]:
    return {each["policy"]: each["result"] for each in (cluster.report() or {}).get("results", [])}


@pytest.mark.parametrize(
    "before",
    [
        STORED,
        REVIEWED,
        changed(STORED, "metadata", "resourceVersion", to="1"),
        changed(STORED, "metadata", "generation", to=3),
        changed(STORED, "metadata", "managedFields", to=[{"manager": "kubectl"}]),
        changed(REVIEWED, "status", to={"phase": "Pending"}),
        dict(reversed(STORED.items())),
    ],
)
def test_what_the_api_server_changes_by_itself_is_the_same_object(before: dict) -> None:
    """Versions, managed fields, status, the node of a Pod that had none; and never the order of fields."""
    assert confirmation.digest(before) in confirmation.digests(STORED)


@pytest.mark.parametrize(
    "other",
    [
        changed(STORED, "metadata", "labels", "team", to="x"),
        changed(STORED, "metadata", "annotations", "a", to="x"),
        changed(STORED, "metadata", "finalizers", to=["a"]),
        changed(STORED, "spec", "nodeName", to="b"),
        changed(STORED, "spec", "hostNetwork", to=True),
        changed(STORED, "apiVersion", to="v2"),
        changed(STORED, "data", to={}),
    ],
)
def test_any_other_field_makes_another_object(other: dict) -> None:
    """Also a node that the stored Pod is not on."""
    assert confirmation.digest(other) not in confirmation.digests(STORED)


def test_the_revision_of_a_deployment_is_not_its_content() -> None:
    """Its controller writes it with the status, after any review; policies that know no background see no other one."""
    reviewed = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1}}
    revision = "deployment.kubernetes.io/revision"
    first = changed(reviewed, "metadata", "annotations", to={revision: "1"})
    assert confirmation.digest(first) == confirmation.digest(reviewed)
    own = changed(reviewed, "metadata", "annotations", to={"team": "a"})
    assert confirmation.digest(changed(own, "metadata", "annotations", revision, to="2")) == confirmation.digest(own)
    assert confirmation.digest(own) != confirmation.digest(reviewed)
    pod = {**first, "kind": "Pod"}
    assert confirmation.digest(pod) != confirmation.digest(changed(pod, "metadata", "annotations", to=None))


async def test_the_object_that_was_reviewed_is_believed(stored, controller) -> None:
    """Nobody is asked again: also what only the review could know is written."""
    assert await controller.settle(reviewed(controller, REVIEWED, p="warn", user="pass")) == [Outcome.WRITTEN]
    assert told(stored) == {"p": "warn", "user": "pass"}


async def test_a_forged_review_of_a_stored_object_changes_nothing(stored, controller) -> None:
    """With the right name and uid and another content: what is stored says what it said."""
    await controller.settle(reviewed(controller, REVIEWED, user="fail"))
    older = changed(STORED, "spec", "hostNetwork", to=True)
    await controller.settle(reviewed(controller, older, p="fail", selected="fail"))
    before = stored.report()
    assert told(stored) == {"p": "fail", "user": "fail", "selected": "fail"}
    forged = changed(STORED, "metadata", "labels", "team", to="forged")
    outcomes = await controller.settle(reviewed(controller, forged, p="pass", user="pass", selected=""))
    assert outcomes[-1] is Outcome.UNCHANGED
    assert stored.report() is before


async def test_an_object_that_a_subresource_changed_is_looked_at_as_it_is(stored, controller) -> None:
    """A status write may bring annotations: the result is that of the stored object, the namespace's labels known."""
    older = changed(STORED, "metadata", "annotations", "revision", to="1")
    assert await controller.settle(reviewed(controller, older, p="pass", selected="pass")) == [Outcome.WRITTEN]
    assert told(stored) == {"p": "fail", "selected": "fail"}


async def test_a_policy_that_may_look_at_the_user_cannot_be_asked_again(stored, controller) -> None:
    """`background: false`: counted, nothing written, not tried again."""
    older = changed(STORED, "spec", "hostNetwork", to=True)
    assert await controller.settle(reviewed(controller, older, user="pass")) == [Outcome.UNCONFIRMED]
    assert stored.verbs() == [("get", "pods")]


async def test_a_violation_that_was_tolerated_is_told_as_it_is(stored, controller) -> None:
    """In whichever order the review and a scan are heard of. What only a review can know stays what it said."""
    compiled = {held.compiled.key: held.compiled for held in controller.reported._store.held}
    tolerated = {
        key: findings.Found(result_of(compiled[key], "skip", evaluate.EXISTING), FOUND_AT, confirmation.digest(STORED))
        for key in ("p", "user")
    }
    assert await controller.settle(findings.Findings(POD, "pods", tolerated)) == [Outcome.WRITTEN]
    assert told(stored) == {"p": "fail", "user": "skip"}


async def test_an_object_that_cannot_be_digested_is_looked_at_as_it_is(stored, controller, caplog) -> None:
    """Stored deeper than JSON is written here: no defect, and no review passes for it."""
    deep: dict = {}
    for _ in range(300):
        deep = {"in": deep}
    stored.objects["pods", "shop", "web"]["deep"] = deep
    assert await controller.settle(reviewed(controller, STORED, p="pass")) == [Outcome.WRITTEN]
    assert told(stored) == {"p": "fail"}
    assert caplog.text == ""


async def test_policies_that_spend_too_much_leave_what_was(stored, controller, monkeypatch) -> None:
    """An exhausted budget must not put errors into a report that had none."""
    monkeypatch.setattr(confirmation, "STEPS", 0)
    older = changed(STORED, "spec", "hostNetwork", to=True)
    assert await controller.settle(reviewed(controller, older, p="pass")) == [Outcome.UNCONFIRMED]


def test_a_digest_is_sixteen_bytes_and_leaves_its_object_alone() -> None:
    """Of a Pod as API servers send them."""
    document = pods.create()["request"]["object"]
    before = copy.deepcopy(document)
    assert len(confirmation.digest(document)) == 16
    assert document == before


async def asked_again(cluster, store, excepted=exceptions.NONE, at_hand=confirmation.nothing):
    """What is confirmed of these policies, whose reviews showed another object."""
    compiled = {held.compiled.key: held.compiled for held in store.held}
    found = {key: findings.Found(result_of(compiled[key], "fail"), FOUND_AT, b"forged") for key in compiled}
    asked = confirmation.Confirmation(cluster, store, lambda: 0, lambda: excepted, at_hand)
    return await asked.confirmed(POD, "pods", STORED, found)


async def test_a_policy_whose_context_asks_for_more_says_nothing(stored, store) -> None:
    """The others do."""
    calling = team_wanted("calling")
    calling["spec"]["rules"][0]["context"] = [{"name": "a", "apiCall": {"urlPath": "/version"}}]
    calling["spec"]["rules"][0]["preconditions"] = {"all": [{"key": "{{ a }}", "operator": "Equals", "value": "b"}]}
    store.put(calling)
    confirmed = await asked_again(stored, store)
    assert "p" in confirmed
    assert "calling" not in confirmed


async def test_what_is_at_hand_is_used_when_a_policy_is_asked_again(stored, store) -> None:
    """Nobody is called for a review that may be forged; what need not be asked for is known all the same."""
    asking = team_wanted("asking")
    asking["spec"]["rules"][0]["context"] = [{"name": "limits", "configMap": {"name": "limits", "namespace": "shop"}}]
    condition = {"key": "{{ limits.data.team }}", "operator": "Equals", "value": "blue"}
    asking["spec"]["rules"][0]["preconditions"] = {"all": [condition]}
    store.put(asking)

    def at_hand(need, facts):
        facts.add(need, {"metadata": {}, "data": {"team": "blue"}})
        return True

    confirmed = await asked_again(stored, store, at_hand=at_hand)
    assert confirmed["asking"].result.rules[0].status == "fail"
    assert [verb for verb, plural in stored.verbs() if plural != "namespaces"] == []


async def test_what_rules_changed_is_believed_of_the_very_object(stored, controller) -> None:
    """As it was before it had a uid; of any other object with that name nothing is said."""
    before = changed(changed(REVIEWED, "metadata", "uid", to=None), "metadata", "resourceVersion", to=None)
    compiled = next(held.compiled for held in controller.reported._store.held if held.compiled.key == "p")
    for document, outcome in ((before, Outcome.WRITTEN), (changed(before, "spec", "x", to=1), Outcome.UNCONFIRMED)):
        seen = confirmation.digest(document, identified=False)
        latest = {findings.of_rule("p", "r"): findings.Found(result_of(compiled, "pass"), FOUND_AT, seen)}
        about = findings.Findings(POD._replace(uid=""), "pods", latest)
        assert (await controller.settle(about))[-1] is outcome
    assert told(stored) == {"p": "pass"}
    assert stored.report()["scope"]["uid"] == "uid-web"


async def test_an_exception_counts_when_it_is_asked_again(stored, store) -> None:
    """As it does in a review."""
    spec = {
        "exceptions": [{"policyName": "p", "ruleNames": ["*"]}],
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
    }
    metadata = {"name": "e", "namespace": "shop"}
    document = {"apiVersion": "kyverno.io/v2", "kind": "PolicyException", "metadata": metadata, "spec": spec}
    made = exceptions.Exceptions([exceptions.compile_exception(document)])
    (rule,) = (await asked_again(stored, store))["p"].result.rules
    assert rule.status == "fail"
    (rule,) = (await asked_again(stored, store, made))["p"].result.rules
    assert rule.status == "skip"
