"""From the bytes of a review to the bytes of its answer, with what is traced and counted on the way."""

import asyncio
import hashlib
import inspect
import json
import pathlib
import time

import kopf
import pytest

from fakes.stored import stored
from kymograph.clients.kubernetes import discovery
from kymograph.controllers import policies
from kymograph.controllers.admission import handlers, observing, review, reviewing, server, webhooks
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.cleanup import ttl
from kymograph.engine import errors, exceptions, needs
from support import trees

PARENT = b"00-0000000000000000000000000000000a-000000000000000b-01"


class Facts:
    """Knows labels of namespaces: some at hand, others only by asking."""

    def __init__(self):
        self.known = {}
        self.asked = []
        self.fails = False

    def at_hand(self, need, facts):
        return False

    async def fetch(self, need, facts):
        self.asked.append(need)
        await asyncio.sleep(0)
        if self.fails:
            facts.fail(need, "the API server does not answer")
        else:
            facts.add(need, self.known.get(need.namespace, {}))


class Entry:
    """The entry points as they are served."""

    def __init__(self, kept):
        self.kept, self.facts, self.store = kept, Facts(), policies.PolicyStore()
        metrics = ReviewMetrics(kept.telemetry.instruments, self.store)
        self.decided = []
        reviews = review.Reviews(
            self.store,
            self.facts,
            reviewing.Owner(
                kept.telemetry,
                metrics,
                time.monotonic_ns,
                decided=lambda request, evaluated, results, decision: self.decided.append(request["uid"]),
                excepted=lambda: self.exceptions,
            ),
        )
        self.exceptions = exceptions.NONE
        self.registry = kopf.OperatorRegistry()
        checks = {("v2", "policyexceptions"): self.check}
        advised = lambda document: self.advice(document)  # noqa: E731, PLW0108 - a test may say otherwise later
        handlers.register(self.registry, reviews, Catalogues(), checks, advice=advised)
        self.seam = handlers.Seam()
        self.routes = handlers.routes(self.registry, self.seam, observing.Observed(kept.telemetry, metrics, None))

    def check(self, document):
        """Looks at an exception: one without a spec is wrong."""
        if "spec" not in document:
            raise errors.PolicyInvalid((errors.Problem("spec", "there is none"),))
        return ("think again",)

    def advice(self, document):
        """What there is to be said of an object."""
        return (f"{document['metadata']['name']} goes soon",)

    def send(self, document, path=webhooks.FAIL_PATH, *, within=10**10, **headers):
        """What the server does with a request; the answer may have to be awaited."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        deadline = time.monotonic_ns() + within
        return self.routes[path](server.Request(path, body, deadline, b"application/json", **headers))

    def judge(self, document, path=webhooks.FAIL_PATH, **headers):
        """The response of a review that is answered at once."""
        return json.loads(self.send(document, path, **headers))["response"]


class Catalogues:
    """Serves nothing."""

    current = discovery.Catalogue()

    async def refresh(self):
        return self.current


@pytest.fixture
async def entry(kept):
    return Entry(kept)


def pod_review(image="app:1", uid="u-1", namespace="default", **request):
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "operation": "CREATE",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace,
            "name": "web",
            "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "web", "namespace": namespace, "uid": "o-1"},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
            "oldObject": None,
            **request,
        },
    }


async def test_without_policies_everything_is_allowed(entry) -> None:
    """And the answer carries the request's uid, as the API server demands."""
    response = entry.judge(pod_review())
    assert (response["uid"], response["allowed"]) == ("u-1", True)


async def test_a_violation_is_denied_with_its_policy_rule_and_message(entry) -> None:
    """What the user reads."""
    entry.store.put(stored("no-latest", 1))
    allowed, denied = entry.judge(pod_review()), entry.judge(pod_review("app:latest"))
    assert (allowed["allowed"], denied["allowed"]) == (True, False)
    assert denied["status"]["code"] == 403
    for words in ("no-latest", "no-latest-rule", "No latest."):
        assert words in denied["status"]["message"]


async def test_each_path_judges_by_the_policies_of_its_failure_policy(entry) -> None:
    """A Fail policy does not answer on Ignore's path, nor the other way round."""
    entry.store.put(stored("strict", 1))
    assert entry.judge(pod_review("a:latest"), webhooks.IGNORE_PATH)["allowed"]
    entry.store.put(stored("lenient", 2, failurePolicy="Ignore"))
    assert "strict" in entry.judge(pod_review("a:latest"))["status"]["message"]
    assert "lenient" in entry.judge(pod_review("a:latest"), webhooks.IGNORE_PATH)["status"]["message"]


async def test_a_policy_that_went_judges_no_more(entry) -> None:
    """From one review to the next."""
    entry.store.put(stored("p", 1))
    assert not entry.judge(pod_review("a:latest"))["allowed"]
    entry.store.drop(policies.Key("ClusterPolicy", "", "p"), "uid-p")
    assert entry.judge(pod_review("a:latest"))["allowed"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"AdmissionReview"',
        b'{"kind": "Pod"}',
        json.dumps({**pod_review(), "request": {}}).encode(),
    ],
)
@pytest.mark.parametrize("path", [webhooks.FAIL_PATH, webhooks.IGNORE_PATH, webhooks.POLICIES_PATH])
async def test_what_is_no_review_is_refused_and_counted(entry, kept, path, body) -> None:
    """400 with the reason: never an allowed."""
    answer = entry.send(body, path)
    answer = await answer if inspect.isawaitable(answer) else answer
    assert answer.status == 400
    assert json.loads(answer.body)["error"].startswith("malformed_review: ")
    assert kept.scrape()['admission_refused_total{reason="malformed_review"}'] == 1


async def test_the_audit_event_learns_which_object_which_change_and_which_trace(entry) -> None:
    """Keys are short and values small, as the API server wants annotations."""
    body = json.dumps(pod_review()).encode()
    annotations = entry.judge(body, traceparent=PARENT)["auditAnnotations"]
    assert annotations["object"] == "/pods/default/web/o-1"
    assert annotations["digest"] == hashlib.sha256(body).hexdigest()[:32]
    assert annotations["traceparent"].split("-")[1] == "0000000000000000000000000000000a"
    gone = pod_review(operation="DELETE", object=None, oldObject={"metadata": {"name": "old", "uid": "o-2"}})
    assert entry.judge(gone)["auditAnnotations"]["object"] == "/pods/default/old/o-2"


async def test_a_review_is_a_span_with_its_policies_and_rules(entry, kept) -> None:
    """Under the API server's; a denial is an event and attributes, and no error."""
    entry.store.put(stored("p", 1))
    entry.judge(pod_review("a:latest", dryRun=True), traceparent=PARENT)
    spans = {span.name: span for span in kept.finished()}
    top = spans["admission validate CREATE Pod"]
    assert top.parent.span_id == 0xB
    assert {span.context.trace_id for span in spans.values()} == {0xA}
    assert spans["RULE p-rule"].parent.span_id == spans["POLICY /p"].context.span_id
    assert top.attributes["admission.request.namespace"] == "default"
    assert top.attributes["admission.request.dryrun"] is True
    assert top.attributes["admission.response.allowed"] is False
    assert [event.name for event in top.events] == ["kymograph.denied"]
    assert top.status.is_unset
    assert not [key for span in spans.values() for key in span.attributes if "user" in key.lower()]


async def test_a_review_is_counted_with_what_its_rules_found(entry, kept) -> None:
    """Per kind, namespace, operation and verdict; per policy and rule."""
    entry.store.put(stored("p", 1))
    entry.judge(pod_review())
    entry.judge(pod_review("a:latest"))
    entry.judge(pod_review("a:latest"))
    samples = kept.scrape()

    def counted(name, *labels):
        return [value for key, value in samples.items() if key.startswith(name + "{") and all(x in key for x in labels)]

    assert counted("admission_requests_total", 'request_allowed="true"', 'resource_kind="Pod"') == [1]
    assert counted("admission_requests_total", 'request_allowed="false"') == [2]
    assert counted("admission_review_duration_seconds_count", 'request_allowed="false"') == [2]
    assert counted("policy_results_total", 'rule_result="fail"', 'policy_name="p"', 'rule_name="p-rule"') == [2]
    assert counted("policy_results_total", 'rule_result="pass"', 'resource_request_operation="create"') == [1]
    assert counted("policy_execution_duration_seconds_count", 'rule_result="pass"') == [1]


BY_KIND = {"any": [{"resources": {"kinds": ["Pod"]}}]}
BY_LABEL = {"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": {"strict": "yes"}}}}]}


async def test_what_a_policy_lacks_is_fetched_and_the_review_answered_then(entry) -> None:
    """Only such a review leaves the call that brought it."""
    entry.store.put(stored("p", 1, match=BY_LABEL))
    entry.facts.known = {"default": {"strict": "yes"}}
    verdicts = [
        json.loads(await entry.send(pod_review("a:latest", namespace=namespace)))["response"]["allowed"]
        for namespace in ("default", "other")
    ]
    assert verdicts == [False, True]
    assert entry.facts.asked == [needs.NamespaceLabels("default"), needs.NamespaceLabels("other")]


async def test_what_cannot_be_found_out_is_an_error_of_the_policy(entry) -> None:
    """Which blocks where its author said Fail, and not where Ignore."""
    entry.facts.fails = True
    entry.store.put(stored("strict", 1, match=BY_LABEL))
    entry.store.put(stored("lenient", 2, match=BY_LABEL, failurePolicy="Ignore"))
    strict = json.loads(await entry.send(pod_review()))["response"]
    lenient = json.loads(await entry.send(pod_review(), webhooks.IGNORE_PATH))["response"]
    assert (strict["allowed"], lenient["allowed"]) == (False, True)
    assert "the API server does not answer" in strict["status"]["message"]


async def test_what_is_not_known_in_time_is_an_error_of_the_policy(entry, monkeypatch) -> None:
    """The review is answered before its deadline, and says what was missing."""
    monkeypatch.setattr(reviewing, "ANSWERING", 29.9)

    async def never(_need, _facts):
        await asyncio.Event().wait()

    entry.facts.fetch = never
    entry.store.put(stored("p", 1, match=BY_LABEL))
    began = time.monotonic_ns()
    verdict = json.loads(await entry.send(pod_review(), within=30 * 10**9))["response"]
    assert not verdict["allowed"]
    assert "no answer in the time that the review has" in verdict["status"]["message"]
    assert time.monotonic_ns() - began < 30 * 10**9


async def test_a_review_keeps_the_exceptions_that_it_began_with(entry) -> None:
    """Those that are made while it waits count for the next one."""
    spec = {"exceptions": [{"policyName": "p", "ruleNames": ["*"]}], "match": BY_KIND}
    metadata = {"name": "e", "namespace": "default"}
    document = {"apiVersion": "kyverno.io/v2", "kind": "PolicyException", "metadata": metadata, "spec": spec}
    made = exceptions.Exceptions([exceptions.compile_exception(document)])
    entry.facts.known = {"default": {"strict": "yes"}}
    entry.store.put(stored("p", 1, match=BY_LABEL))
    waiting = entry.send(pod_review("a:latest"))
    entry.exceptions = made
    assert not json.loads(await waiting)["response"]["allowed"]
    assert json.loads(await entry.send(pod_review("a:latest")))["response"]["allowed"]


async def test_who_listens_is_told_of_what_was_allowed_only(entry) -> None:
    """There is an object to report on; a denied one does not exist, and one that no policy concerns needs no report."""
    entry.judge(pod_review(uid="no-policy"))
    entry.store.put(stored("p", 1))
    entry.judge(pod_review(uid="allowed"))
    entry.judge(pod_review("a:latest", uid="denied"))
    assert entry.decided == ["allowed"]


async def test_a_policy_is_judged_by_kopf_once_that_is_there(entry, kept) -> None:
    """Kopf starts late; reviews of policies wait for it, within their deadline."""
    document = pod_review()
    waiting = asyncio.ensure_future(entry.send(document, webhooks.POLICIES_PATH))
    await asyncio.sleep(0)
    assert not waiting.done()
    seen = []

    async def dispatch(given, *, webhook):
        seen.append((given, webhook))
        return {"response": {"uid": "u-1", "allowed": False, "status": {"message": "no", "code": 422}}}

    offered = aiter(entry.seam(dispatch))
    await anext(offered)
    assert json.loads(await waiting)["response"]["status"] == {"message": "no", "code": 422}
    assert seen == [(document, "policies")]
    (span,) = kept.finished()
    assert (span.name, span.attributes["admission.response.allowed"]) == ("admission validate CREATE Pod", False)
    await offered.aclose()


async def test_a_policy_that_cannot_be_enforced_is_refused_with_every_problem(entry) -> None:
    """422, as for any object that is not valid; a policy that can is not."""
    checks = [each.fn for each in entry.registry._webhooks.get_all_handlers() if each.id == "policies"]
    assert len(checks) == 3
    await checks[0](body=stored("p", 1), warnings=[])
    bad = stored("p", 1, validate={"message": "{{ ( }}", "foreach": []})
    with pytest.raises(kopf.AdmissionError) as refused:
        await checks[0](body=bad, warnings=[])
    assert refused.value.code == 422
    assert "spec.rules[0].validate" in str(refused.value)


async def test_what_goes_with_policies_is_looked_at_too(entry) -> None:
    """By whoever knows the kind: it warns, or refuses with every problem."""
    check = [each.fn for each in entry.registry._webhooks.get_all_handlers() if each.id == "policies"][-1]
    warnings = []
    await check(body={"kind": "PolicyException", "spec": {}}, warnings=warnings)
    assert warnings == ["think again"]
    with pytest.raises(kopf.AdmissionError, match="the PolicyException cannot be enforced") as refused:
        await check(body={"kind": "PolicyException"}, warnings=warnings)
    assert refused.value.code == 422
    assert "spec: there is none" in str(refused.value)


async def test_who_says_when_an_object_goes_is_advised_and_never_refused(entry) -> None:
    """What is no review gets the status of one."""
    answer = json.loads(await entry.send(pod_review(), webhooks.TTL_PATH))["response"]
    assert (answer["uid"], answer["allowed"], answer["warnings"]) == ("u-1", True, ["web goes soon"])
    assert (await entry.send({"kind": "Pod"}, webhooks.TTL_PATH)).status == 400


async def test_the_tree_of_the_review_of_a_label(entry, kept) -> None:
    """See `ttl-label.tree`: allowed, with what is to be said of a label that cannot be followed."""
    entry.advice, document = ttl.advice, pod_review()
    document["request"]["object"]["metadata"]["labels"] = {ttl.LABEL: "soon"}
    await entry.send(document, webhooks.TTL_PATH)
    trees.compare(pathlib.Path(__file__).with_name("ttl-label.tree"), kept.finished())


async def test_what_a_check_raised_is_in_the_trace_of_its_review(entry, kept) -> None:
    """Kopf answers in its place with a denial; a refusal is none of these."""
    check = [each.fn for each in entry.registry._webhooks.get_all_handlers() if each.id == "policies"][-1]

    async def dispatch(given, *, webhook):
        try:
            await check(body=given["request"]["object"], warnings=[])
        except Exception as error:  # noqa: BLE001 - as Kopf does
            code = getattr(error, "code", 500)
            return {"response": {"uid": "u-1", "allowed": False, "status": {"message": str(error), "code": code}}}

    offered = aiter(entry.seam(dispatch))
    await anext(offered)
    for document in ({"kind": "PolicyException"}, {"apiVersion": "kyverno.io/v2"}):
        answer = json.loads(await entry.send(pod_review(object=document), webhooks.POLICIES_PATH))["response"]
        assert not answer["allowed"]
    refused, raised = kept.finished()
    assert (refused.status.status_code.name, raised.status.status_code.name) == ("UNSET", "ERROR")
    assert raised.attributes["error.type"] == "KeyError"
    await offered.aclose()


async def test_an_entry_point_that_is_not_registered_cannot_be_served(entry, kept) -> None:
    """A mistake in wiring is found at the start."""
    with pytest.raises(LookupError, match="fail"):
        handlers.routes(kopf.OperatorRegistry(), entry.seam, observing.Observed(kept.telemetry, None, None))
