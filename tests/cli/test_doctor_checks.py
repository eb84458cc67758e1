"""The doctor's checks one by one, on a cluster that is made up: what is well, what is not, what cannot be known."""

import base64
import datetime as dt
import json

import pytest

from kymograph.cli.diagnosing import cluster as clusters
from kymograph.cli.diagnosing import context, exporting, findings, installation, webhooks
from kymograph.clients.kubernetes import errors
from kymograph.localcluster import pki
from kymograph.runtime import certificates

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
OK, PROBLEM, NOT_CHECKED = findings.State


class Cluster:
    """What checks ask of a cluster.

    Attributes:
        objects: By plural and name; an exception instead of a document is raised.
        lists: By plural.
        texts: What is at paths and URLs, the last one for ever.
        answer: Of every probe.
        denied: Resources that the operator may not do anything with.
    """

    namespace = "kymograph"

    def __init__(self):
        self.objects, self.lists, self.texts, self.denied = {}, {}, {}, set()
        self.answer = clusters.Answer(201, "", "id-1", 0.01)
        self.probes = []
        self.now = NOW
        self.secrets = {}

    async def version(self):
        if isinstance(self.now, Exception):
            raise self.now
        return "v1.36.0"

    async def get(self, resource, name, *, namespaced=False):
        held = self.objects.get((resource.plural, name))
        document = held
        if isinstance(held, list):
            document = held.pop(0) if len(held) > 1 else held[0]
        if isinstance(document, Exception):
            raise document
        return document

    async def listed(self, resource, **_):
        found = self.lists.get(resource.plural, [])
        if isinstance(found, Exception):
            raise found
        return found

    async def create(self, resource, document):
        return {"status": {"allowed": document["spec"]["resourceAttributes"]["resource"] not in self.denied}}

    async def telemetry_secrets(self, names):
        return {name: self.secrets[name] for name in names}

    async def probe(self, path, document, headers):
        self.probes.append((path, document["kind"], dict(headers)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def fetched(self, url):
        texts = self.texts[url]
        return texts.pop(0) if len(texts) > 1 else texts[0]

    text = fetched


@pytest.fixture
def cluster():
    return Cluster()


def state(found):
    return {each.check: each.state for each in found}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOW + dt.timedelta(seconds=1), {"api server": OK, "clock": OK}),
        (NOW + dt.timedelta(seconds=60), {"api server": OK, "clock": PROBLEM}),
        (NOW - dt.timedelta(seconds=60), {"api server": OK, "clock": PROBLEM}),
    ],
)
async def test_the_api_server_and_its_clock(cluster, now, expected) -> None:
    """Which of the two is ahead is said."""
    found = await installation.api_server(cluster, lambda: now)
    assert state(found) == expected
    if expected["clock"] is PROBLEM:
        assert f"60 s {'ahead of' if now > NOW else 'behind'} the API server's" in found[1].said


async def test_an_api_server_that_does_not_answer(cluster) -> None:
    """Nothing is said about its clock."""
    cluster.now = errors.Unreachable("refused")
    assert state(await installation.api_server(cluster, lambda: NOW)) == {"api server": PROBLEM}


def pod(name, *, ready):
    waiting = [] if ready else [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions, "containerStatuses": waiting}}


@pytest.mark.parametrize(
    ("pods", "expected", "said"),
    [
        ([pod("a", ready=True), pod("b", ready=True)], OK, "2 Pods are ready"),
        ([pod("a", ready=True), pod("b", ready=False)], PROBLEM, "b (ImagePullBackOff)"),
        ([], NOT_CHECKED, "there are no Pods"),
        (clusters.Unseen("403"), NOT_CHECKED, "cannot be listed: 403"),
    ],
)
async def test_pods(cluster, pods, expected, said) -> None:
    """No Pods are no problem: an operator may run elsewhere."""
    cluster.lists["pods"] = pods
    found, ready = await installation.pods(cluster)
    assert (found.state, said in found.said) == (expected, True)
    assert len(ready) == {OK: 2, PROBLEM: 1, NOT_CHECKED: 0}[expected]


def lease(moment):
    return {"spec": {"holderIdentity": "a", "renewTime": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}}


@pytest.mark.parametrize(
    ("leases", "expected"),
    [
        ([lease(NOW - dt.timedelta(seconds=2)), lease(NOW)], {"leader": OK, "operator clock": OK}),
        (
            [lease(NOW + dt.timedelta(seconds=98)), lease(NOW + dt.timedelta(seconds=100))],
            {"leader": OK, "operator clock": PROBLEM},
        ),
        ([lease(NOW)], {"leader": PROBLEM}),
        ([None], {"leader": PROBLEM}),
        ([clusters.Unseen("403")], {"leader": NOT_CHECKED}),
    ],
)
async def test_the_leader_and_its_clock(cluster, monkeypatch, leases, expected) -> None:
    """A Lease is fresh if it is renewed, whatever time stands in it. One that never is need not be waited for."""
    monkeypatch.setattr(installation, "RENEWED_WITHIN", 60.0 if len(leases) > 1 else 0.05)
    monkeypatch.setattr(installation, "_POLL", 0.001)
    cluster.objects["leases", "kymograph"] = leases
    assert state(await installation.leader(cluster)) == expected


async def test_roles(cluster) -> None:
    """What is missing is named."""
    assert (await installation.roles(cluster, "kymograph")).state is OK
    cluster.denied = {"leases"}
    found = await installation.roles(cluster, "kymograph")
    assert (found.state, "update leases" in found.said) == (PROBLEM, True)


def configuration(name, authority, rules=()):
    bundle = base64.b64encode(authority).decode()
    webhook = {"name": f"w.{name}", "clientConfig": {"caBundle": bundle}, "rules": list(rules)}
    return {"metadata": {"name": name}, "webhooks": [webhook]}


POLICIES, RESOURCES = ("kymograph-policy-validation", "kymograph-resource-validation")
READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}


@pytest.mark.parametrize(
    ("names", "policies", "expected"),
    [
        ((POLICIES,), [], OK),
        ((), [], PROBLEM),
        ((POLICIES,), [READY], PROBLEM),
        ((POLICIES,), [{**READY, "spec": {"admission": False}}], OK),
        ((POLICIES, RESOURCES), [READY], OK),
    ],
)
async def test_webhook_configurations(cluster, names, policies, expected) -> None:
    """One is always there, another where policies need it."""
    for name in names:
        cluster.objects["validatingwebhookconfigurations", name] = configuration(name, b"")
    cluster.lists["clusterpolicies"] = policies
    found, told = await webhooks.configurations(cluster)
    assert (found.state, set(told)) == (expected, set(names))


@pytest.fixture(scope="module")
def bundle():
    """An authority and a certificate of it that began at NOW."""
    authority = certificates.issue_ca(NOW)
    return authority, certificates.issue_serving(authority, ["kymograph.kymograph.svc"], [], NOW)


@pytest.mark.parametrize(
    ("days", "own", "expected"),
    [
        (1, True, {"webhook ca": OK, "certificate": OK}),
        (1, False, {"webhook ca": PROBLEM, "certificate": OK}),
        (330, True, {"webhook ca": OK, "certificate": PROBLEM}),
        (4000, True, {"webhook ca": OK, "certificate": PROBLEM}),
        (-3, True, {"webhook ca": OK, "certificate": PROBLEM}),
    ],
)
async def test_authority_and_certificate(cluster, bundle, days, own, expected) -> None:
    """By the API server's clock."""
    authority, serving = bundle
    cluster.objects["secrets", "kymograph-tls"] = {"data": {"tls.crt": base64.b64encode(serving.certificate).decode()}}
    trusted = authority.certificate if own else pki.Authority("other").pair.certificate
    told = {POLICIES: configuration(POLICIES, trusted)}
    found = await webhooks.trust(cluster, told, NOW + dt.timedelta(days=days))
    assert state(found) == expected


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (clusters.Unseen("403"), {"webhook ca": NOT_CHECKED, "certificate": NOT_CHECKED}),
        (None, {"certificate": PROBLEM}),
        ({"data": {"tls.crt": "rubbish"}}, {"certificate": PROBLEM}),
    ],
)
async def test_a_certificate_that_cannot_be_read(cluster, secret, expected) -> None:
    """By whom is the difference."""
    cluster.objects["secrets", "kymograph-tls"] = secret
    assert state(await webhooks.trust(cluster, {}, NOW)) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (clusters.Answer(201, "", "", 0.01), OK),
        (clusters.Answer(500, 'failed calling webhook "p": x509: unknown authority', "", 0.01), PROBLEM),
        (clusters.Answer(403, "clusterpolicies is forbidden", "", 0.01), NOT_CHECKED),
        (clusters.Unseen("reset"), NOT_CHECKED),
    ],
)
async def test_a_call_of_a_webhook(cluster, answer, expected) -> None:
    """A right that the caller lacks says nothing about the operator."""
    cluster.answer = answer
    assert (await webhooks.answers(cluster)).state is expected


def resource(accepted="True", exporting_="True", reason="Delivered", generation=1):
    conditions = [
        {"type": "Accepted", "status": accepted, "reason": "r", "message": "m", "observedGeneration": 1},
        {"type": "Exporting", "status": exporting_, "reason": reason, "message": "m", "observedGeneration": 1},
    ]
    replicas = [{"name": "one", "observedGeneration": 1, "conditions": conditions}]
    status = {"conditions": conditions, "replicas": replicas}
    return {"metadata": {"generation": generation}, "spec": {"traces": {}}, "status": status}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (resource(), {"tracing configuration": OK, "exporting": OK, "replicas": OK}),
        (resource(accepted="False"), {"tracing configuration": PROBLEM}),
        (resource(generation=2), {"tracing configuration": PROBLEM}),
        (
            resource(exporting_="False", reason="ExportFailed"),
            {"tracing configuration": OK, "exporting": PROBLEM, "replicas": PROBLEM},
        ),
        (
            resource(exporting_="False", reason="NotConfigured"),
            {"tracing configuration": OK, "exporting": NOT_CHECKED, "replicas": OK},
        ),
        (
            resource(exporting_="Unknown"),
            {"tracing configuration": OK, "exporting": NOT_CHECKED, "replicas": OK},
        ),
        (None, {"tracing configuration": PROBLEM}),
        (clusters.Unseen("403"), {"tracing configuration": NOT_CHECKED}),
    ],
)
async def test_the_tracing_configuration(cluster, document, expected) -> None:
    """Its conditions, if they are about what it says now."""
    cluster.objects["tracingconfigurations", "default"] = document
    found, _ = await exporting.configuration(cluster)
    assert state(found) == expected


@pytest.mark.parametrize(
    ("change", "expected", "said"),
    [
        ({}, OK, "one, two have it in force"),
        ({"observedGeneration": 0}, PROBLEM, "two has not noticed the last change"),
        (
            {"conditions": [{"type": "Accepted", "status": "False", "message": "port 8000: in use"}]},
            PROBLEM,
            "two: port 8000: in use",
        ),
        (None, PROBLEM, "no replica says that it is there"),
    ],
)
async def test_each_replica_says_for_itself(cluster, monkeypatch, change, expected, said) -> None:
    """What one of them cannot do is named, also where the others can."""
    monkeypatch.setattr(exporting, "NOTICED_WITHIN", 0.0)
    document = resource()
    told = document["status"]["replicas"]
    document["status"]["replicas"] = [] if change is None else [*told, {**told[0], "name": "two", **change}]
    cluster.objects["tracingconfigurations", "default"] = document
    (_, _, found), _ = await exporting.configuration(cluster)
    assert (found.check, found.state, bool(found.fix)) == ("replicas", expected, expected is PROBLEM)
    assert said in found.said


@pytest.mark.parametrize("reason", ["SecretMissing", "SecretNotAllowed"])
async def test_a_secret_is_mended_where_it_is(cluster, reason) -> None:
    """The resource that names it may be right."""
    document = resource(accepted="False")
    document["status"]["conditions"][0] |= {"reason": reason, "message": "Secret 'a': why"}
    cluster.objects["tracingconfigurations", "default"] = document
    (found,), _ = await exporting.configuration(cluster)
    assert found.state is PROBLEM
    assert "kubectl -n kymograph label secret NAME kymograph.dev/telemetry=true" in found.fix


async def test_replicas_have_time_to_notice_a_change(cluster, monkeypatch) -> None:
    """One that is about to say so is no problem."""
    monkeypatch.setattr(exporting, "NOTICED_WITHIN", 60.0)
    late, said = resource(), resource()
    late["status"]["replicas"][0] = {**late["status"]["replicas"][0], "observedGeneration": 0}
    cluster.objects["tracingconfigurations", "default"] = [late, late, said]
    (_, _, found), _ = await exporting.configuration(cluster)
    assert (found.check, found.state) == ("replicas", OK)


def scrape(sampled=0, unsampled=0, none=0):
    counts = {"sampled": sampled, "unsampled": unsampled, "none": none}
    return "".join(f'admission_trace_context_total{{context="{name}"}} {count}\n' for name, count in counts.items())


@pytest.mark.parametrize(
    ("scrapes", "expected"),
    [
        ([scrape(1), scrape(4)], {"api server tracing": OK}),
        (
            [scrape(), scrape(unsampled=3), scrape(unsampled=3), scrape(3, 3)],
            {"api server tracing": OK, "caller's trace": OK},
        ),
        (
            [scrape(), scrape(none=3), scrape(none=3), scrape(none=6)],
            {"api server tracing": PROBLEM, "caller's trace": NOT_CHECKED},
        ),
        ([scrape(), scrape(2, none=1)], {"api server tracing": PROBLEM}),
        ([scrape(5), scrape(5)], {"api server tracing": NOT_CHECKED}),
        (["", ""], {"api server tracing": NOT_CHECKED}),
    ],
)
async def test_the_context_of_the_api_server(cluster, scrapes, expected) -> None:
    """By what the operator counted while it was asked."""
    cluster.texts["u"] = list(scrapes)
    assert state(await context.arrives(cluster, ["u"], [], 8000)) == expected
    assert ["traceparent" in headers for *_, headers in cluster.probes][3:] == [True] * (len(cluster.probes) - 3)


async def test_pods_are_asked_through_the_api_server_and_added_up(cluster) -> None:
    """Either replica may be asked."""
    for name, last in (("a", 2), ("b", 1)):
        path = f"/api/v1/namespaces/kymograph/pods/{name}:9100/proxy/metrics"
        cluster.texts[path] = [scrape(), scrape(last)]
    assert state(await context.arrives(cluster, [], ["a", "b"], 9100)) == {"api server tracing": OK}
    assert state(await context.arrives(cluster, [], [], 9100)) == {"api server tracing": NOT_CHECKED}


async def test_pods_that_serve_metrics_over_tls_are_asked_over_tls(cluster) -> None:
    """The API server's proxy is told so by the name of the Pod, and does not look at the certificate."""
    cluster.texts["/api/v1/namespaces/kymograph/pods/https:a:8000/proxy/metrics"] = [scrape(), scrape(2)]
    assert state(await context.arrives(cluster, [], ["a"], 8000, tls=True)) == {"api server tracing": OK}


RULE = {"apiGroups": [""], "operations": ["CREATE"], "resources": ["pods"]}


@pytest.mark.parametrize(
    ("event", "expected", "said"),
    [
        ({"auditID": "id-1", "annotations": {f"w.{RESOURCES}/object": "x"}}, OK, f"w.{RESOURCES}/object"),
        ({"auditID": "id-1", "annotations": {"authorization.k8s.io/decision": "allow"}}, PROBLEM, "no annotations"),
        ({"auditID": "id-2"}, PROBLEM, "has no event of the request id-1"),
    ],
)
async def test_annotations_of_audit_events(cluster, monkeypatch, tmp_path, event, expected, said) -> None:
    """Of the very request that was made."""
    monkeypatch.setattr(context, "LOGGED_WITHIN", 0.01)
    log = tmp_path / "audit.log"
    log.write_text(json.dumps({**event, "stage": "ResponseComplete"}) + "\n")
    told = {RESOURCES: configuration(RESOURCES, b"", [RULE])}
    found = await context.audited(cluster, told, log)
    assert (found.state, said in found.said) == (expected, True)
    assert cluster.probes[0][:2] == ("/api/v1/namespaces/default/pods", "Pod")


@pytest.mark.parametrize("rules", [[], [{**RULE, "resources": ["nodes"]}], [{**RULE, "operations": ["DELETE"]}]])
async def test_annotations_that_cannot_be_looked_for(cluster, tmp_path, rules) -> None:
    """Without a log, without a policy that would be asked, without a file."""
    told = {RESOURCES: configuration(RESOURCES, b"", rules)}
    assert (await context.audited(cluster, told, None)).state is NOT_CHECKED
    assert (await context.audited(cluster, told, tmp_path / "none")).state is NOT_CHECKED
    told = {RESOURCES: configuration(RESOURCES, b"", [RULE])}
    assert (await context.audited(cluster, told, tmp_path / "none")).state is NOT_CHECKED


def test_findings_are_printed_for_people_and_for_programs() -> None:
    """A problem has its fix below."""
    ill = findings.problem("b", "broken", "mend it")
    found = [findings.ok("a", "well", {"latencySeconds": 0.5}), ill, findings.not_checked("c", "no right")]
    assert findings.text(found).splitlines() == [
        "ok           a: well",
        "problem      b: broken",
        "             fix: mend it",
        "not checked  c: no right",
    ]
    document = findings.document(found)
    assert document["healthy"] is False
    well = {"check": "a", "state": "ok", "message": "well", "details": {"latencySeconds": 0.5}}
    assert document["findings"][0] == well
    assert document["findings"][1] == {"check": "b", "state": "problem", "message": "broken", "fix": "mend it"}
    assert findings.healthy([found[0], found[2]])
