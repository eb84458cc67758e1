"""What a new leader finds that went, or changed, while no replica ran."""

import datetime as dt
from typing import Any

import pytest

from support import background
from support.background import config_map, namespace, until
from support.writtenpolicies import generating

CLONE = generating(
    synchronize=True, clone={"name": "source", "namespace": "base"}, orphanDownstreamOnPolicyDelete=False
)
del CLONE["generate"]["data"]


@pytest.fixture
async def work():
    async with background.work() as made:
        yield made


async def made(work, rule) -> dict:
    """Have a rule applied to a namespace; gives the namespace."""
    work.enforce(rule)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
    return trigger


def begin_anew(work) -> None:
    """The process that saw everything is gone, and time has passed."""
    work.now += dt.timedelta(minutes=1)
    work.background = work.process(work.cluster)


def written(work, place, manager: str, time: str) -> None:
    """Say when somebody wrote an object."""
    fields = work.cluster.stored[place]["metadata"].setdefault("managedFields", [])
    fields.append({"manager": manager, "operation": "Apply", "time": time})


@pytest.mark.parametrize("rule", [generating(synchronize=True), CLONE])
async def test_what_a_rule_generated_goes_with_it(work, rule) -> None:
    """Of every kind that may be deleted; the text of the rule is not needed."""
    await work.cluster.put("configmaps", config_map("source", "base", a="b"))
    await made(work, rule)
    work.forget()
    begin_anew(work)
    async with work.leading():
        await until(lambda: work.content("c", "shop") is None)
    assert work.content("source", "base") == {"a": "b"}


@pytest.mark.parametrize(
    "rule",
    [
        generating(),
        generating(synchronize=True, orphanDownstreamOnPolicyDelete=True),
        {**CLONE, "generate": {**CLONE["generate"], "orphanDownstreamOnPolicyDelete": True}},
    ],
)
async def test_what_is_to_outlive_its_rule_stays(work, rule) -> None:
    await work.cluster.put("configmaps", config_map("source", "base", a="b"))
    await made(work, rule)
    work.forget()
    begin_anew(work)
    async with work.leading():
        work.enforce(generating(generateExisting=True, name="marker"), name="other")
        await until(lambda: work.content("marker", "shop") == {"a": "b"})
    assert work.content("c", "shop") == {"a": "b"}


async def test_what_an_old_rule_generated_stays_while_its_policy_does_not_compile(work) -> None:
    await made(work, generating(synchronize=True))
    work.enforce({"validate": {"pattern": {"^(a)": "{{ ( }}"}}}, generation=2)
    begin_anew(work)
    async with work.leading():
        work.enforce(generating(generateExisting=True, name="marker"), name="other")
        await until(lambda: work.content("marker", "shop") == {"a": "b"})
    assert work.content("c", "shop") == {"a": "b"}


async def test_what_was_generated_for_a_trigger_goes_with_it(work) -> None:
    await made(work, generating(synchronize=True))
    await work.cluster.remove("namespaces", "", "shop")
    begin_anew(work)
    async with work.leading():
        await until(lambda: work.content("c", "shop") is None)


ONLY_MARKED = {"any": [{"resources": {"kinds": ["Namespace"], "selector": {"matchLabels": {"a": "b"}}}}]}
MARKED = {"all": [{"key": "{{ request.object.metadata.labels.a || '' }}", "operator": "Equals", "value": "b"}]}

NEVER = {"operator": "Equals", "value": "never"}


async def unlabelled(work, rule, time: str = "2026-01-01T00:00:02Z", **spec: Any) -> None:
    """Have a rule applied to a namespace, which loses its label then, at a time, and another leader begin."""
    work.enforce(rule, **spec)
    trigger = await work.cluster.put("namespaces", namespace("shop", labels={"a": "b"}))
    async with work.leading():
        await work.ended(await work.ask(trigger))
    written(work, ("configmaps", "shop", "c"), "kymograph", "2026-01-01T00:00:01Z")
    await work.cluster.put("namespaces", namespace("shop", uid=trigger["metadata"]["uid"]))
    written(work, ("namespaces", "", "shop"), "kubectl", time)
    begin_anew(work)


@pytest.mark.parametrize(
    ("judging", "time"),
    [
        ({"match": ONLY_MARKED}, "2026-01-01T00:00:02Z"),
        ({"preconditions": MARKED}, "2026-01-01T00:00:02Z"),
        ({"match": ONLY_MARKED}, "2026-01-01T00:00:00Z"),
    ],
    ids=["match", "precondition", "without a time"],
)
async def test_what_was_generated_for_what_is_no_trigger_any_more_goes(work, judging, time) -> None:
    """The rule judges by the object alone: it would have gone with the update, had anybody seen it.

    Who takes a label out leaves no time of it, only a new version of the object.
    """
    await unlabelled(work, {**generating(synchronize=True), **judging}, time)
    async with work.leading():
        await until(lambda: work.content("c", "shop") is None)


@pytest.mark.parametrize(
    ("judging", "time"),
    [
        ({"match": {"any": [{**ONLY_MARKED["any"][0], "subjects": [{"kind": "User", "name": "jane"}]}]}}, None),
        ({"match": {"any": [{"resources": {**ONLY_MARKED["any"][0]["resources"], "operations": ["CREATE"]}}]}}, None),
        ({"match": ONLY_MARKED, "exclude": {"any": [{"resources": {"operations": ["UPDATE"]}}]}}, None),
        ({"preconditions": {"any": [*MARKED["all"], {**NEVER, "key": "{{ request.userInfo.username }}"}]}}, None),
        ({"preconditions": {"any": [*MARKED["all"], {**NEVER, "key": "{{ time_now_utc() }}"}]}}, None),
        ({"match": ONLY_MARKED, "context": [{"name": "v", "variable": {"value": "x"}}]}, None),
        ({"match": ONLY_MARKED}, "2025-12-31T00:00:00Z"),
        ({}, None),
    ],
    ids=["users", "operation", "excluded", "variable", "time", "context", "unchanged", "matches"],
)
async def test_what_may_still_have_its_reason_stays(work, judging, time) -> None:
    """The object does not say whether the rule is still about it, or has not changed since, or is a trigger."""
    await unlabelled(
        work, {**generating(synchronize=True), **judging}, time or "2026-01-01T00:00:02Z", background=False
    )
    if time is not None:  # what was generated has been written since
        work.cluster.stored["configmaps", "shop", "c"]["metadata"]["resourceVersion"] = "1000000"
    async with work.leading():
        work.enforce(generating(generateExisting=True, name="marker"), name="other")
        await until(lambda: work.content("marker", "shop") == {"a": "b"})
    assert work.content("c", "shop") == {"a": "b"}


async def test_a_clone_follows_what_became_of_its_source(work) -> None:
    """Somebody wrote it after we wrote the clone; or it is gone."""
    source = await work.cluster.put("configmaps", config_map("source", "base", a="1"))
    await made(work, CLONE)
    written(work, ("configmaps", "shop", "c"), "kymograph", "2026-01-01T00:00:01Z")
    stored = work.cluster.stored["configmaps", "base", "source"]
    await work.cluster.put("configmaps", {**stored, "data": {"a": "2"}})
    written(work, ("configmaps", "base", "source"), "kubectl", "2026-01-01T00:00:02Z")
    begin_anew(work)
    async with work.leading():
        await until(lambda: work.content("c", "shop") == {"a": "2"})
    await work.cluster.remove("configmaps", "base", "source")
    begin_anew(work)
    async with work.leading():
        await until(lambda: work.content("c", "shop") is None)
    assert source["metadata"]["uid"]


async def test_a_rule_that_was_changed_is_applied_anew(work) -> None:
    await made(work, generating(synchronize=True))
    written(work, ("configmaps", "shop", "c"), "kymograph", "2026-01-01T00:00:01Z")
    fields = [{"manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:02Z"}]
    work.enforce(
        generating(synchronize=True, data={"data": {"a": "z"}}), generation=2, metadata={"managedFields": fields}
    )
    begin_anew(work)
    async with work.leading():
        await until(lambda: work.content("c", "shop") == {"a": "z"})


async def test_what_is_as_it_should_be_is_not_looked_at_again(work) -> None:
    await made(work, generating(synchronize=True))
    written(work, ("configmaps", "shop", "c"), "kymograph", "2026-01-01T00:00:01Z")
    begin_anew(work)
    work.cluster.calls.clear()
    async with work.leading():
        work.enforce(generating(generateExisting=True, name="marker"), name="other")
        await until(lambda: work.content("marker", "shop") == {"a": "b"})
    assert work.cluster.verbs("configmaps") == ["patch"]
