"""What is wrong is refused where its author sees it, counted, and never taken for a yes."""

import datetime as dt
import ssl
import urllib.error
import urllib.request

import pytest
from prometheus_client import parser

from kymograph.runtime import certificates
from support import reviewing
from support.installed import NO_PRIVILEGES, eventually, pod, policy

LIMIT = 8 * 1024 * 1024


def refused(installed, reason: str) -> float:
    """How many requests were refused for a reason, as scraped."""
    with urllib.request.urlopen(f"http://127.0.0.1:{installed.metrics_port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == "admission_refused_total" and s.labels["reason"] == reason)


@pytest.mark.parametrize("path", ["/validate/fail", "/validate/ignore", "/validate/policies"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"kind":"AdmissionReview"}', b'{"kind":"Pod"}', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "broken", "list", "no-request", "pod", "not-utf8", "deep"],
)
def test_a_malformed_review_is_400_with_the_reason(installed, path: str, body: bytes) -> None:
    """A webhook answer that is no verdict leaves the decision to the failure policy."""
    status, answer = reviewing.post(installed, path, body)
    assert status == 400
    assert answer["error"].startswith("malformed_review: ")


def test_wrong_paths_types_and_sizes_are_4xx(installed) -> None:
    """Refused by what is wrong with them, never allowed."""
    assert reviewing.post(installed, "/validate/unknown", b"{}")[0] == 404
    assert reviewing.post(installed, "/", b"{}")[0] == 404
    assert reviewing.post(installed, "/validate/fail", b"{}", **{"Content-Type": "text/plain"})[0] == 415
    assert reviewing.post(installed, "/validate/fail", b" ", **{"Content-Length": f"{LIMIT + 1}"})[0] == 413


def test_the_api_servers_certificate_is_demanded(installed) -> None:
    """With --webhook-client-ca nobody else gets as far as a request."""
    context = reviewing.anybody()
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        urllib.request.urlopen(
            f"https://127.0.0.1:{installed.operator.webhook_port}/validate/fail", context=context, timeout=30
        )


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"mutate": {"patchesJson6902": "- {op: swap, path: /a}"}}, "spec.rules[0].mutate.patchesJson6902"),
        (
            {"verifyImages": [{"imageReferences": ["*"], "mutateDigest": False, "attestors": [{"entries": [{}]}]}]},
            "spec.rules[0].verifyImages[0].attestors",
        ),
        ({"validate": {"cel": {"expressions": []}}}, "spec.rules[0].validate.cel"),
        ({"validate": {"foreach": []}}, "spec.rules[0].validate.foreach"),
        ({"context": [{"name": "a"}], "validate": {"deny": {}}}, "spec.rules[0].context"),
        ({"validate": {"patern": {}}}, "spec.rules[0].validate.patern"),
        ({"validate": {"message": "{{ request. }}", "deny": {}}}, "spec.rules[0].validate.message"),
        ({"validate": {"deny": {"conditions": [{"key": 1, "operator": "Is", "value": 1}]}}}, "operator"),
    ],
)
def test_a_policy_that_cannot_be_enforced_is_refused_by_field(installed, rule: dict, field: str) -> None:
    """Never silently accepted: the author reads the field and the reason."""
    match = {"any": [{"resources": {"kinds": ["Pod"]}}]}
    document = {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "wrong"},
        "spec": {"rules": [{"name": "r", "match": match, **rule}]},
    }
    refused = installed.create(document)
    assert refused.returncode == 1
    assert 'admission webhook "policies.validate.kymograph.dev" denied the request' in refused.stderr
    assert field in refused.stderr


def test_all_problems_of_a_policy_are_said_at_once(installed) -> None:
    """One round of mending is enough."""
    document = policy("wrong", {"patern": {}}, unknwon=True)
    refused = installed.create(document).stderr
    assert "spec.unknwon" in refused
    assert "spec.rules[0].validate.patern" in refused


def test_a_stored_policy_that_does_not_compile_says_so_and_the_others_go_on(installed, enforce) -> None:
    """It came past us while we were away: its Ready condition names the field, nothing else stops."""
    webhook = "kymograph-policy-validation"
    enforce(NO_PRIVILEGES)
    installed.operator.stop()
    installed.kubectl("delete", "validatingwebhookconfiguration", webhook)
    eventually(lambda: installed.create(policy("stored", {"cel": {"expressions": []}})).returncode == 0)
    installed.operator.start()
    ready = eventually(lambda: installed.conditions("clusterpolicy", "stored").get("Ready"))
    assert ready["status"] == "False"
    assert "spec.rules[0].validate.cel" in ready["message"]
    assert installed.create(pod("bad", privileged=True), "--dry-run=server").returncode == 1
    eventually(lambda: webhook in installed.webhook_configurations())


@pytest.mark.parametrize(
    ("reason", "path", "body"), [("malformed_review", "/validate/fail", b"{}"), ("unknown_path", "/nowhere", b"{}")]
)
def test_refusals_are_counted(installed, reason: str, path: str, body: bytes) -> None:
    """What is refused shows in the metrics, by reason."""
    before = refused(installed, reason)
    reviewing.post(installed, path, body)
    eventually(lambda: refused(installed, reason) == before + 1)


def test_the_secret_is_the_operators_own(installed) -> None:
    """CA and serving certificate are in one Secret of the operator's namespace, valid for its Service."""
    data = installed.get("secret", "kymograph-tls", "-n", "kymograph")["data"]
    bundle = certificates.from_secret(data)
    names = certificates.Names(("kymograph.kymograph.svc",), ("127.0.0.1",))
    assert certificates.inspect(bundle, names, dt.datetime.now(dt.UTC)).ok
