"""A review is a question that anybody may have asked: forged ones are answered and leave nothing behind."""

import json
import ssl
import urllib.error
import urllib.request
import uuid
from typing import NamedTuple

import pytest

from support import pods, reviewing
from support.installed import eventually, pod, policy

AUDIT = policy(
    "audited-for-trust",
    {"failureAction": "Audit", "message": "a team, please", "pattern": {"metadata": {"labels": {"team": "?*"}}}},
)
USER_IS_KNOWN = {"key": "{{ request.userInfo.username }}", "operator": "NotEquals", "value": ""}
KINDS = "policyreports,clusterpolicyreports,configmaps,secrets,serviceaccounts,pods"
"""What a forged review could leave something in."""

OURS = "validatingwebhookconfigurations,mutatingwebhookconfigurations,clusterpolicies,tracingconfigurations"


def forged(name: str, uid: str, **request) -> bytes:
    """A review of a Pod's creation that no API server asked about."""
    document = pods.create(name, "default")
    subject = pod(name, uid=uid, resourceVersion="1")
    document["request"].update(object=subject, name=name, namespace="default", **request)
    return pods.encode(document)


class Genuine(NamedTuple):
    """A Pod that exists."""

    name: str
    uid: str


def state(installed, genuine: Genuine) -> dict[str, str]:
    """Every object that a forged review might leave or change, with its version.

    Not those of other namespaces, reports on other objects, what counts traces and how far scans are: what is still
    done about something that came or went before. Nor what is going, and Pods of others, who make and remove them. Nor
    Events: those of earlier requests may still come.
    """
    listed = installed.get(KINDS, "--all-namespaces")["items"] + installed.get(OURS)["items"]
    found = {}
    for each in listed:
        metadata = each["metadata"]
        if (each["kind"], metadata["name"]) == ("ConfigMap", "kymograph-scans"):
            continue
        if "deletionTimestamp" in metadata or (each["kind"] == "Pod" and "ownerReferences" in metadata):
            continue
        if metadata.get("namespace", "default") not in {"default", "kymograph"}:
            continue
        if "scope" in each and not each["scope"].get("name", "").startswith(("nobody", "forged", genuine.name)):
            continue
        version = metadata.get("generation") or metadata["resourceVersion"]  # status writes are no news
        found[f"{each['kind']} {metadata.get('namespace', '')}/{metadata['name']}"] = f"{metadata['uid']} {version}"
    return found


def sentinel(installed) -> None:
    """A real Pod, made and reported on after everything before: whatever was to be written has been by then."""
    name = f"sentinel-{uuid.uuid4().hex[:8]}"
    assert installed.create(pod(name)).returncode == 0
    uid = installed.get("pod", name, "-n", "default")["metadata"]["uid"]
    report = ("policyreport", uid, "-n", "default")
    eventually(lambda: installed.kubectl("get", *report, check=False).returncode == 0)
    installed.kubectl("delete", "pod", name, "-n", "default", "--force", "--grace-period=0")
    installed.kubectl("delete", *report, "--ignore-not-found")


def results(installed, uid: str) -> dict[str, str]:
    """What the report on a Pod says, by policy; nothing while there is none."""
    report = installed.kubectl("get", "policyreport", uid, "-n", "default", "-o", "json", check=False)
    told = json.loads(report.stdout)["results"] if report.returncode == 0 else ()
    return {each["policy"]: each["result"] for each in told}


@pytest.fixture
def audited(installed, enforce):
    """A policy in force whose findings are reported, and a Pod that it has something to say about."""
    enforce(AUDIT)
    name = f"genuine-{uuid.uuid4().hex[:8]}"
    assert installed.create(pod(name)).returncode == 0
    uid = installed.get("pod", name, "-n", "default")["metadata"]["uid"]
    eventually(lambda: results(installed, uid).get("audited-for-trust") == "fail")
    eventually(lambda: installed.get("pod", name, "-n", "default")["status"].get("phase") == "Running")
    yield Genuine(name, uid)
    installed.kubectl("delete", "pod", name, "-n", "default", "--force", "--grace-period=0")


def test_forged_reviews_leave_nothing_behind(installed, audited) -> None:
    """Of objects that do not exist, and of one that does under another uid: no report, no change at all."""
    sentinel(installed)
    before = state(installed, audited)
    for number in range(20):
        for name, uid in ((f"nobody-{number}", str(uuid.uuid4())), (audited.name, str(uuid.uuid4()))):
            for path in ("/validate/fail", "/validate/ignore"):
                status, answer = reviewing.post(installed, path, forged(name, uid))
                assert (status, answer["response"]["allowed"]) == (200, True)
    sentinel(installed)
    assert state(installed, audited) == before


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_a_forged_review_of_an_object_that_exists_changes_no_report(installed, audited, operation: str) -> None:
    """Its name and its uid, but another content: the report goes on saying what is stored."""
    sentinel(installed)
    before = installed.get("policyreport", audited.uid, "-n", "default")
    document = pods.create(audited.name, "default")
    subject = pod(audited.name, uid=audited.uid, resourceVersion="1", labels={"team": "forged"})
    old = {"oldObject": pod(audited.name, uid=audited.uid, resourceVersion="1")} if operation == "UPDATE" else {}
    document["request"].update(object=subject, name=audited.name, namespace="default", operation=operation, **old)
    for path in ("/validate/fail", "/validate/ignore"):
        status, answer = reviewing.post(installed, path, pods.encode(document))
        assert (status, answer["response"]["allowed"]) == (200, True)
    sentinel(installed)
    assert installed.get("policyreport", audited.uid, "-n", "default") == before
    assert results(installed, audited.uid)["audited-for-trust"] == "fail"


def test_what_a_genuine_review_showed_is_what_is_stored(installed, enforce) -> None:
    """A policy that looks at the user cannot be asked again: its result shows that the Pod was recognized."""
    rule = {"failureAction": "Audit", "message": "no", "deny": {"conditions": {"any": [USER_IS_KNOWN]}}}
    enforce(policy("audited-user", rule, background=False))
    name = f"recognized-{uuid.uuid4().hex[:8]}"
    assert installed.create(pod(name)).returncode == 0
    uid = installed.get("pod", name, "-n", "default")["metadata"]["uid"]
    assert eventually(lambda: results(installed, uid).get("audited-user")) == "fail"
    installed.kubectl("delete", "pod", name, "-n", "default", "--force", "--grace-period=0")


def test_a_forged_policy_review_makes_no_policy(installed, audited) -> None:
    """Nor does one about a policy: what is enforced is what the API server stores."""
    document = pods.create("forged", "default")
    kind = {"group": "kyverno.io", "version": "v1", "kind": "ClusterPolicy"}
    resource = {"group": "kyverno.io", "version": "v1", "resource": "clusterpolicies"}
    subject = policy("forged", {"message": "nobody gets in", "deny": {}})
    document["request"].update(
        kind=kind, requestKind=kind, resource=resource, requestResource=resource, object=subject, name="forged"
    )
    del document["request"]["namespace"]
    sentinel(installed)
    before = state(installed, audited)
    status, answer = reviewing.post(installed, "/validate/policies", pods.encode(document))
    assert (status, answer["response"]["allowed"]) == (200, True)
    assert installed.create(pod("fine"), "--dry-run=server").returncode == 0
    sentinel(installed)
    assert state(installed, audited) == before


def test_an_answer_to_a_forged_review_tells_no_secret(installed, audited) -> None:
    """What comes back is about the question alone, and is never kept."""
    _, answer = reviewing.post(installed, "/validate/fail", forged("nobody", str(uuid.uuid4())))
    assert set(answer["response"]) <= {"uid", "allowed", "status", "auditAnnotations", "warnings"}


def test_whoever_shows_no_certificate_of_the_api_server_is_not_answered(installed) -> None:
    """With `--webhook-client-ca` a review is not even a question: the handshake fails."""
    request = urllib.request.Request(
        f"https://127.0.0.1:{installed.operator.webhook_port}/validate/fail", data=forged("nobody", "u")
    )
    with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
        urllib.request.urlopen(request, context=reviewing.anybody(), timeout=60)  # noqa: S310 - https
