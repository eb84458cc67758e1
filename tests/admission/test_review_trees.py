"""Reviews as traces: the golden tree of each kind, from the server span down to what was fetched."""

import inspect
import json
import pathlib
import time

import pytest

from fakes import traced
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers import policies
from kymograph.controllers.admission import filtering, review, reviewing, server, webhooks
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.configuration import reading
from kymograph.engine import exceptions, needs
from support import pods, trees
from support.writtenpolicies import mutating, policy, validating

TREES = pathlib.Path(__file__).parent
PARENT = b"00-0000000000000000000000000000000a-000000000000000b-01"


class Facts:
    """Knows one ConfigMap, by a call to the API server; others are not there."""

    def __init__(self, spans):
        self._spans = spans

    def at_hand(self, need, facts):
        return False

    async def fetch(self, need, facts):
        if isinstance(need, needs.ImageData):
            with self._spans.start("REGISTRY manifests", {"kymograph.registry.reference": "v1"}) as call:
                call.set_status(200)
                facts.add(need, {"image": need.reference, "resolvedImage": f"{need.reference}@sha256:{'0' * 64}"})
            return
        with self._spans.start("KUBE get configmaps", {"kube.client.kind": "ConfigMap"}) as call:
            if need == needs.ConfigMap("shop", "limits"):
                call.set_status(200)
                facts.add(need, {"metadata": {"name": "limits"}, "data": {"tier": "gold"}})
            else:
                call.set_status(404, expected=True)
                facts.fail(need, str(kubernetes_errors.NotFound(404, "NotFound", "it is not there")))


class Entry:
    """Reviews, and the spans that they leave behind."""

    def __init__(self, kept):
        self.configuration = reading.NOTHING
        self.kept, self.store, self.exceptions = kept, policies.PolicyStore(), exceptions.NONE
        self.reviews = review.Reviews(
            self.store,
            Facts(kept.telemetry.client_spans),
            reviewing.Owner(
                kept.telemetry,
                ReviewMetrics(kept.telemetry.instruments, self.store),
                time.monotonic_ns,
                excepted=lambda: self.exceptions,
            ),
            filtered=filtering.Filtering(lambda: self.configuration),
        )

    def enforce(self, *rules, **spec):
        document = policy(*rules, annotations={"pod-policies.kyverno.io/autogen-controllers": "none"}, **spec)
        document["metadata"] |= {"uid": "uid-p", "resourceVersion": "1", "generation": 1}
        self.store.put(document)

    async def answer(self, handler, path, parent):
        body = json.dumps(pods.create("web")).encode()
        deadline = time.monotonic_ns() + 10**10
        http = server.Request(path, body, deadline, b"application/json", traceparent=parent)
        answer = handler(http, "Fail")
        return json.loads(await answer if inspect.isawaitable(answer) else answer)["response"]

    async def tree(self, name, handler, path):
        answer = await self.answer(handler, path, PARENT)
        trees.compare(TREES / f"{name}.tree", self.kept.finished())
        return answer

    async def validated(self, name):
        return await self.tree(name, self.reviews.validate, webhooks.FAIL_PATH)

    async def mutated(self, name):
        return await self.tree(name, self.reviews.mutate, webhooks.MUTATE_FAIL_PATH)


@pytest.fixture
async def entry():
    async with traced.kept() as kept:
        yield Entry(kept)


async def test_a_review_that_is_allowed(entry) -> None:
    """See `validate.tree`: a rule that passes, one whose preconditions are not met, one that excludes the object."""
    passing = validating(pattern={"metadata": {"name": "?*"}})
    unmet = {"any": [{"key": "{{ request.operation }}", "operator": "Equals", "value": "DELETE"}]}
    entry.enforce(
        passing,
        {**passing, "preconditions": unmet},
        {**passing, "exclude": {"any": [{"resources": {"namespaces": ["shop"]}}]}},
        validationFailureAction="Enforce",
    )
    assert (await entry.validated("validate"))["allowed"]


async def test_a_review_that_is_denied(entry) -> None:
    """See `denied.tree`: no error, but an event of the review and one of the rule."""
    entry.enforce(validating(pattern={"metadata": {"name": "db-*"}}), validationFailureAction="Enforce")
    assert not (await entry.validated("denied"))["allowed"]


async def test_a_review_that_asks_for_context(entry) -> None:
    """See `context.tree`: the call is below the entry that needed it."""
    deny = {"conditions": {"any": [{"key": "{{ limits.data.tier }}", "operator": "NotEquals", "value": "gold"}]}}
    entry.enforce(
        {
            **validating(deny=deny),
            "context": [{"name": "limits", "configMap": {"name": "limits", "namespace": "shop"}}],
        },
        validationFailureAction="Enforce",
    )
    assert (await entry.validated("context"))["allowed"]


async def test_a_review_that_cannot_be_decided(entry) -> None:
    """See `error.tree`: the call, the entry and the rule say why."""
    deny = {"conditions": {"any": [{"key": "{{ gone.data.tier }}", "operator": "NotEquals", "value": "gold"}]}}
    entry.enforce(
        {**validating(deny=deny), "context": [{"name": "gone", "configMap": {"name": "gone", "namespace": "shop"}}]},
        validationFailureAction="Enforce",
    )
    assert not (await entry.validated("error"))["allowed"]


async def test_a_review_with_an_exception(entry) -> None:
    """See `exception.tree`: the rule is skipped and says by which exception."""
    entry.enforce(validating(pattern={"metadata": {"name": "db-*"}}), validationFailureAction="Enforce")
    document = {
        "apiVersion": "kyverno.io/v2",
        "kind": "PolicyException",
        "metadata": {"name": "spared", "namespace": "shop"},
        "spec": {
            "exceptions": [{"policyName": "p", "ruleNames": ["r"]}],
            "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        },
    }
    entry.exceptions = exceptions.Exceptions([exceptions.compile_exception(document)])
    assert (await entry.validated("exception"))["allowed"]


async def test_a_review_that_changes_its_object(entry) -> None:
    """See `mutate.tree`."""
    entry.enforce(mutating(patchStrategicMerge={"metadata": {"labels": {"seen": "yes"}}}))
    assert (await entry.mutated("mutate"))["patch"]


async def test_a_review_that_looks_up_an_image(entry) -> None:
    """See `images.tree`: the registry is asked within the rule that wants the digest."""
    entry.enforce({"verifyImages": [{"imageReferences": ["*"], "failureAction": "Enforce", "required": False}]})
    assert (await entry.mutated("images"))["patch"]


async def test_a_review_that_no_policy_is_for(entry) -> None:
    """See `filtered.tree`: where its caller is traced, one span that says so; otherwise nothing, whatever the rate."""
    entry.enforce(validating(pattern={"metadata": {"name": "db-*"}}), validationFailureAction="Enforce")
    entry.configuration, _ = reading.read({"resourceFilters": "[Pod,shop,*]"})
    assert (await entry.answer(entry.reviews.validate, webhooks.FAIL_PATH, None))["allowed"]
    assert entry.kept.finished() == []
    assert (await entry.validated("filtered"))["allowed"]
