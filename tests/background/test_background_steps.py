"""What a rule went through in the background stands below it in the trace, and nothing of a Secret does."""

import base64
import pathlib

import pytest

from kymograph.telemetry import fieldpaths
from support import background, trees
from support.background import namespace, until
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
    (root,) = [span for span in work.kept.finished() if span.name == "BACKGROUND generate"]
    assert [link.context.span_id for link in root.links] == [change.context.span_id]


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
