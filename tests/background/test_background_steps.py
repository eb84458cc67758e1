"""What a rule went through in the background stands below it in the trace, and nothing of a Secret does."""

import base64
import pathlib

import pytest

from kymograph.controllers.background import watches
from kymograph.telemetry import fieldpaths
from support import background, trees
from support.background import config_map, namespace, until
from support.writtenpolicies import generating

HOLDERS = {"any": [{"resources": {"kinds": ["Secret", "ConfigMap"]}}]}


@pytest.fixture
async def work():
    async with background.work() as made:
        yield made


async def test_the_steps_of_a_rule_and_no_other(work) -> None:
    """See `skipped.tree`: preconditions that are not met, of the rule that was asked for."""
    unmet = {"all": [{"key": "{{ request.operation }}", "operator": "Equals", "value": "DELETE", "message": "not now"}]}
    work.enforce({**generating(), "preconditions": unmet}, generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        assert (await work.ended(await work.ask(trigger)))["state"] == "Skip"
    trees.compare(
        pathlib.Path(__file__).with_name("skipped.tree"), trees.below(work.kept.finished(), "BACKGROUND generate")
    )


async def test_what_a_policy_sets_off_is_linked_to_it(work) -> None:
    """See `policy-change.tree`: of a trigger that was there before."""
    await work.cluster.put("namespaces", namespace("shop"))
    work.enforce(generating(generateExisting=True))
    async with work.leading():
        await until(lambda: work.content("c", "shop"))
        await until(lambda: trees.below(work.kept.finished(), "BACKGROUND generate"))
    (change,) = trees.below(work.kept.finished(), "BACKGROUND policy change")
    trees.compare(pathlib.Path(__file__).with_name("policy-change.tree"), [change])
    assert work.kept.scrape()['controller_reconcile_total{controller_name="policy-controller"}'] >= 1
    (root,) = [span for span in work.kept.finished() if span.name == "BACKGROUND generate"]
    assert [link.context.span_id for link in root.links] == [change.context.span_id]


async def because_of(work, name: str, before=frozenset()):
    """The root span of that name, none of those before, to which work on an UpdateRequest is linked."""

    def linked():
        finished = work.kept.finished()
        done = [span for span in finished if span.name == "BACKGROUND generate"]
        causes = {link.context.span_id for span in done for link in span.links} - before
        roots = [span for span in finished if span.name == name and span.parent is None]
        return next((span for span in roots if span.context.span_id in causes), None)

    return await until(linked)


async def watched(work, count: int) -> None:
    """Wait until so many generated objects, and the sources of clones, are watched."""

    def all_seen() -> bool:
        informers = {selector: made for (_, selector), (made, _) in work.background._watches._watched.items()}
        objects = len(informers[watches.MANAGED].objects) if watches.MANAGED in informers else 0
        return objects == count and all(made.synced.is_set() and made.objects for made in informers.values())

    await until(all_seen)


async def test_what_is_put_back_is_linked_to_the_change(work) -> None:
    """See `object-change.tree`: of what a rule generated and somebody else deleted."""
    work.enforce(generating(synchronize=True))
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        await watched(work, 1)
        uid = work.cluster.stored["configmaps", "shop", "c"]["metadata"]["uid"]
        await work.cluster.remove("configmaps", "shop", "c")
        change = await because_of(work, "BACKGROUND object change")
    assert change.attributes["kymograph.object.uid"] == uid
    trees.compare(pathlib.Path(__file__).with_name("object-change.tree"), [change], {"kymograph.object.uid"})


async def test_what_is_cloned_anew_is_linked_to_the_change_of_its_source(work) -> None:
    """The change is the source's, and one for everything that was cloned from it."""
    clone = generating(synchronize=True, clone={"name": "source", "namespace": "base"})
    del clone["generate"]["data"]
    work.enforce(clone)
    await work.cluster.put("configmaps", config_map("source", "base", a="1"))
    triggers = [await work.cluster.put("namespaces", namespace(name)) for name in ("shop", "store")]
    async with work.leading():
        for trigger in triggers:
            await work.ended(await work.ask(trigger))
        await watched(work, 2)
        source = work.cluster.stored["configmaps", "base", "source"]
        await work.cluster.put("configmaps", {**source, "data": {"a": "2"}})
        await until(lambda: work.content("c", "shop") == work.content("c", "store") == {"a": "2"})
        change = await because_of(work, "BACKGROUND object change")
    about = {key.rpartition(".")[2]: value for key, value in change.attributes.items() if "kymograph.object" in key}
    uid = source["metadata"]["uid"]
    assert about == {"kind": "ConfigMap", "namespace": "base", "name": "source", "uid": uid}


async def test_what_goes_with_its_rule_is_linked_to_the_change_of_the_policy(work) -> None:
    """Of which there is nothing left but its name."""
    work.enforce(generating(synchronize=True))
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        followed = await until(lambda: trees.below(work.kept.finished(), "BACKGROUND policy change"))
        work.forget()
        change = await because_of(
            work, "BACKGROUND policy change", frozenset(span.context.span_id for span in followed)
        )
    assert change.attributes["kyverno.policy.name"] == "p"
    assert change.attributes["kyverno.policy.kind"] == "ClusterPolicy"


async def test_what_went_unseen_is_linked_to_the_look_for_it(work) -> None:
    """A leader begins with one look for all of it."""
    work.enforce(generating(synchronize=True, orphanDownstreamOnPolicyDelete=False))
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
    work.forget()
    work.background = work.process(work.cluster)
    async with work.leading():
        left = await because_of(work, "BACKGROUND leftovers")
    assert left.status.is_ok


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_nothing_of_a_secret_is_told(work, kind) -> None:
    """Wherever a rule quotes it; nor of a field that `logs.redact.paths` names."""
    work.kept.telemetry.redacted_paths = (fieldpaths.parse("data.password", "logs.redact.paths[0]"),)
    odd = {"all": [{"key": "{{ abs(request.object.data.password) }}", "operator": "Equals", "value": 1}]}
    described = {**generating(namespace="shop"), "match": HOLDERS, "preconditions": odd}
    work.enforce(described)
    written = base64.b64encode(b"hunter2-hunter2").decode()
    secret = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": "s", "namespace": "shop"},
        "data": {"password": written},
    }
    trigger = await work.cluster.put(f"{kind.lower()}s", secret)
    async with work.leading():
        await work.ask(trigger)
        await until(lambda: trees.below(work.kept.finished(), "BACKGROUND generate"))
    spans = trees.below(work.kept.finished(), "BACKGROUND generate")
    (step,) = [span for span in spans if span.name == "PRECONDITIONS"]
    assert "[redacted]" in step.attributes["kymograph.message"]
    for span in spans:
        assert written not in span.to_json()
        assert "hunter2" not in span.to_json()


SETTING = {"apiVersion": "v1", "kind": "Secret", "name": "kept", "namespace": "shop"}


def planted(plain: str, *, kind: str = "Secret", name: str = "kept") -> dict:
    """An object that holds what nobody is to be told."""
    data = {"password": base64.b64encode(plain.encode()).decode()}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "data": data}


async def refused(work, *rules: dict, type_: str, by: str) -> str:
    """Have a rule applied because of a namespace while every change of a Secret is refused; what the status says."""
    work.enforce(*rules)
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    work.cluster.refused["secrets"] = by
    async with work.leading():
        name = await work.ask(trigger, type_=type_)
        return await until(lambda: work.status(name).get("retryCount") and work.status(name)["message"])


def secret_free(work, written: str, message: str) -> None:
    """Neither form of the value is in a status, a span, an Event or a report."""
    left = [message, repr(work.events), repr(work.reported), *(span.to_json() for span in work.kept.finished())]
    for form in (written, base64.b64decode(written).decode()):
        assert [text for text in left if form in text] == []
    assert "[redacted]" in message


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_the_status_does_not_tell_of_a_trigger_what_nobody_is_told(work, kind) -> None:
    """Whoever may list UpdateRequests need not be allowed to read Secrets, or fields that `logs.redact.paths` names."""
    work.kept.telemetry.redacted_paths = (fieldpaths.parse("data.password", "logs.redact.paths[0]"),)
    odd = {"all": [{"key": "{{ abs(request.object.data.password) }}", "operator": "Equals", "value": 1}]}
    work.enforce({**generating(namespace="shop"), "match": HOLDERS, "preconditions": odd})
    document = planted("hunter2-hunter2", kind=kind)
    trigger = await work.cluster.put(f"{kind.lower()}s", document)
    async with work.leading():
        name = await work.ask(trigger)
        message = await until(lambda: work.status(name).get("retryCount") and work.status(name)["message"])
        await until(lambda: trees.below(work.kept.finished(), "BACKGROUND generate"))
    secret_free(work, document["data"]["password"], message)


async def test_the_status_does_not_tell_of_a_target_what_a_secret_holds(work) -> None:
    """A webhook of somebody else refuses the change and quotes the object."""
    document = planted("hunter3-hunter3")
    await work.cluster.put("secrets", document)
    labelled = {"metadata": {"labels": {"seen": "yes"}}}
    rule = {
        "mutate": {"targets": [SETTING], "patchStrategicMerge": labelled},
        "match": generating()["match"],
        "name": "r",
    }
    message = await refused(work, rule, type_="mutate", by="hunter3-hunter3 is too short")
    await until(lambda: trees.below(work.kept.finished(), "BACKGROUND mutate"))
    secret_free(work, document["data"]["password"], message)
    assert "is too short" in message


async def test_the_status_does_not_tell_of_what_is_deleted_what_a_secret_holds(work) -> None:
    """Only its metadata was looked at: of the refusal no more than its form is told."""
    body = {**SETTING, "synchronize": True, "data": {"data": {"password": ""}}}
    work.enforce({"generate": body, "match": generating()["match"], "name": "r"})
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ended(await work.ask(trigger))
        work.cluster.refused["secrets"] = "hunter5-hunter5 may not go"
        await work.cluster.remove("namespaces", "", "shop")
        name = await work.ask(trigger, operation="DELETE", old=trigger)
        message = await until(lambda: work.status(name).get("retryCount") and work.status(name)["message"])
        await until(lambda: len(trees.below(work.kept.finished(), "BACKGROUND generate")) > 1)
    assert "400 BadRequest" in message
    told = [message, repr(work.events), repr(work.reported), *(span.to_json() for span in work.kept.finished())]
    assert [text for text in told if "hunter5" in text] == []


async def test_the_status_does_not_tell_of_what_is_generated_what_a_secret_holds(work) -> None:
    """Likewise."""
    written = base64.b64encode(b"hunter4-hunter4").decode()
    body = {**SETTING, "data": {"data": {"password": written}}}
    rule = {"generate": body, "match": generating()["match"], "name": "r"}
    message = await refused(work, rule, type_="generate", by=f"{written} is too short")
    await until(lambda: trees.below(work.kept.finished(), "BACKGROUND generate"))
    secret_free(work, written, message)
    assert "is too short" in message
