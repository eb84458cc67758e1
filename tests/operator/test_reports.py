"""What policies found is to be read beside the object, as long as both exist."""

import pathlib
import re

import pytest
import yaml

from support.installed import NO_PRIVILEGES, ROOT, eventually, pod, policy

PATIENCE = 90
DISABLED = "reports.kyverno.io/disabled"
AUDIT = policy(
    "audited",
    {"failureAction": "Audit", "message": "a team, please", "pattern": {"metadata": {"labels": {"team": "?*"}}}},
)


def report(installed, kind: str, name: str, namespace: str = "default") -> dict | None:
    """The report on an object, found by its uid."""
    where = ["-n", namespace] if namespace else []
    uid = installed.get(kind, name, *where)["metadata"]["uid"]
    return report_named(installed, uid, namespace)


def report_named(installed, uid: str, namespace: str = "default") -> dict | None:
    """The report with that name."""
    listed = installed.get("policyreports", "-n", namespace) if namespace else installed.get("clusterpolicyreports")
    return next((each for each in listed["items"] if each["metadata"]["name"] == uid), None)


def found(report: dict | None) -> dict[str, str]:
    """The results of a report by rule."""
    return {each["rule"]: each["result"] for each in (report or {}).get("results", [])}


def make(installed, document: dict) -> None:
    """Create an object, which must be taken."""
    created = installed.create(document)
    assert created.returncode == 0, created.stderr


def outcome_of_an_update(otlp, name: str) -> str:
    """What the report's write came to that is linked to the review of an allowed update of a Pod.

    That is the marker of its having been worked off; counters of outcomes count what happens to other objects as well.
    """
    review = otlp.wait_for(
        lambda span: (
            span.name == "admission validate UPDATE Pod"
            and span.attributes["admission.request.name"] == name
            and span.attributes["admission.response.allowed"]
        ),
        PATIENCE,
    )
    write = otlp.wait_for(
        lambda span: (
            span.name == "REPORTS write"
            and "kymograph.report.outcome" in span.attributes
            and (review.trace_id, review.span_id) in {(link.trace_id, link.span_id) for link in span.links}
        ),
        PATIENCE,
    )
    return write.attributes["kymograph.report.outcome"]


@pytest.fixture(autouse=True)
def _clean(installed):
    yield
    made = ["--field-selector", "metadata.name!=kube-root-ca.crt"]
    installed.kubectl("delete", "pods,configmaps", *made, "--force", "--grace-period=0", "--ignore-not-found")


def test_the_documented_example_is_true(installed, enforce) -> None:
    """docs/reports.md: the policy, the object, what kubectl prints, the report, and what follows."""
    text = pathlib.Path(ROOT, "docs", "reports.md").read_text()
    a_policy, an_object, expected = (
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[:3]
    )
    console = re.search(r"```console\n\$ (.*?)\n(.*?)```", text, re.DOTALL)
    enforce(a_policy)
    make(installed, an_object)
    stored = eventually(lambda: report(installed, "configmap", "prices"))

    printed = [line.split() for line in installed.kubectl(*console[1].split()[1:]).stdout.splitlines()]
    shown = next(line for line in printed if line[2] == "prices")
    assert [line.split() for line in console[2].splitlines()] == [printed[0][1:-1], shown[1:-1]]

    owner = stored["metadata"]["ownerReferences"][0]
    assert owner["uid"] == stored["metadata"]["name"] == stored["scope"].pop("uid")
    assert stored["results"][0].pop("timestamp")["seconds"] > 1_700_000_000
    assert {**stored, "metadata": {"labels": stored["metadata"]["labels"]}} == expected

    installed.kubectl("label", "configmap", "prices", "owner=shop")
    eventually(lambda: found(report(installed, "configmap", "prices")) == {"owner-label": "pass"})
    uid = stored["metadata"]["name"]
    installed.kubectl("delete", "clusterpolicy", "require-owner")
    eventually(lambda: report_named(installed, uid) is None)


def test_an_object_and_its_report_end_together(installed, enforce) -> None:
    """The garbage collector of the cluster removes the report of an object that is deleted.

    It looks for new kinds of objects every half minute, so that in a new cluster it may not know of reports yet.
    """
    enforce(AUDIT)
    make(installed, pod("short-lived"))
    uid = eventually(lambda: report(installed, "pod", "short-lived"))["metadata"]["name"]
    installed.kubectl("delete", "pod", "short-lived", "--force", "--grace-period=0")
    eventually(lambda: report_named(installed, uid) is None, 180)


def test_cluster_scoped_objects_have_cluster_reports(installed, enforce) -> None:
    """A Namespace is reported on by a ClusterPolicyReport, although its requests carry a namespace."""
    match = {"any": [{"resources": {"kinds": ["Namespace"], "names": ["reported"]}}]}
    enforce({**policy("named", {"failureAction": "Audit", "message": "no", "deny": {}}, match=match)})
    make(installed, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "reported"}})
    try:
        stored = eventually(lambda: report(installed, "namespace", "reported", ""))
        assert stored["scope"]["kind"] == "Namespace"
        assert "namespace" not in stored["scope"]
        assert stored["summary"] == {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0}
    finally:
        installed.kubectl("delete", "namespace", "reported", "--wait=false")


def test_what_leaves_no_object_leaves_no_report(installed, enforce) -> None:
    """Denied and dry-run requests; refused updates leave the report of what is stored."""
    enforce(NO_PRIVILEGES)
    enforce(AUDIT)
    assert installed.create(pod("denied", privileged=True)).returncode == 1
    assert installed.create(pod("dry"), "--dry-run=server").returncode == 0
    make(installed, pod("stored"))
    results = {"audited-rule": "fail", "no-privileges-rule": "pass"}
    eventually(lambda: found(report(installed, "pod", "stored")) == results)
    scopes = {each["scope"]["name"] for each in installed.get("policyreports", "-n", "default")["items"]}
    assert not scopes & {"denied", "dry"}


def test_an_update_that_somebody_else_refuses_is_not_reported(installed, enforce, otlp) -> None:
    """Allowed by us, refused after us: the report goes on saying what is stored.

    There is nothing to write because nothing was stored. Where the Pod has another status by then, or a scan has looked
    at it, too, the policy is asked about what is stored, or was: then the report says so already.
    """
    enforce(AUDIT)
    make(installed, pod("update-refused", labels={"team": "shop"}))
    before = eventually(lambda: report(installed, "pod", "update-refused"))
    enforce(
        {
            **policy(
                "no-gold",
                {"message": "no", "pattern": {"metadata": {"labels": {"=(tier)": "!gold"}}}},
                failurePolicy="Ignore",
                background=False,
            )
        }
    )
    assert installed.kubectl("label", "pod", "update-refused", "team-", "tier=gold", check=False).returncode == 1
    assert outcome_of_an_update(otlp, "update-refused") in {"not_stored", "unchanged"}
    after = report(installed, "pod", "update-refused")
    assert found(after) == {"audited-rule": "pass"}
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_change_that_changes_no_result_writes_nothing(installed, enforce, otlp) -> None:
    """Reports are compared with what is stored, timestamps aside."""
    enforce(AUDIT)
    make(installed, pod("steady"))
    before = eventually(lambda: report(installed, "pod", "steady"))
    installed.kubectl("annotate", "pod", "steady", "touched=yes")
    assert outcome_of_an_update(otlp, "steady") == "unchanged"
    assert report(installed, "pod", "steady") == before
    installed.kubectl("label", "pod", "steady", "team=shop")
    eventually(lambda: found(report(installed, "pod", "steady")) == {"audited-rule": "pass"})


def test_a_report_is_applied_only_to_the_version_that_was_read(installed, enforce) -> None:
    """Replicas write the same report: an apply that names an older version is a conflict, even when it forces."""
    enforce(AUDIT)
    make(installed, pod("contended"))
    stored = eventually(lambda: report(installed, "pod", "contended"))
    metadata = {key: stored["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
    document = {"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": metadata, "results": []}
    installed.kubectl("annotate", "policyreport", metadata["name"], "seen=yes")
    flags = ("--server-side", "--force-conflicts", "--field-manager=kymograph")
    applied = installed.kubectl("apply", *flags, "-f", "-", given=document, check=False)
    assert "the object has been modified" in applied.stderr
    assert found(report(installed, "pod", "contended")) == {"audited-rule": "fail"}


def test_a_label_takes_an_object_out_of_reports(installed, enforce) -> None:
    """A report that exists goes; the object is enforced like any other."""
    enforce(AUDIT)
    make(installed, pod("private"))
    eventually(lambda: report(installed, "pod", "private"))
    installed.kubectl("label", "pod", "private", f"{DISABLED}=yes")
    eventually(lambda: report(installed, "pod", "private") is None)


def test_results_of_deleted_policies_go(installed, enforce) -> None:
    """The other results stay; with the last one the report goes."""
    enforce(AUDIT)
    enforce({**policy("second", {"failureAction": "Audit", "message": "no", "deny": {}})})
    make(installed, pod("judged"))
    eventually(lambda: set(found(report(installed, "pod", "judged"))) == {"audited-rule", "second-rule"})
    installed.kubectl("delete", "clusterpolicy", "second")
    stored = eventually(lambda: (r := report(installed, "pod", "judged")) and len(r["results"]) == 1 and r)
    assert stored["summary"]["fail"] == 1
    installed.kubectl("delete", "clusterpolicy", "audited")
    eventually(lambda: report(installed, "pod", "judged") is None)


def test_a_report_is_a_trace_linked_to_its_request(installed, enforce, otlp) -> None:
    """The write is a root span with the object, its outcome and a link to the review's server span.

    No other policy is about ResourceQuotas, and this one not for scans: else one of those may have been first.
    """
    match = {"any": [{"resources": {"kinds": ["ResourceQuota"], "names": ["linked"]}}]}
    enforce(policy("linking", {"failureAction": "Audit", "message": "no", "deny": {}}, match=match, background=False))
    make(installed, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "linked"}, "spec": {}})
    try:
        write = otlp.wait_for(
            lambda span: (
                span.name == "REPORTS write"
                and span.attributes["kymograph.object.kind"] == "ResourceQuota"
                and span.attributes["kymograph.object.name"] == "linked"
                and span.attributes.get("kymograph.report.outcome") == "written"
            ),
            60,
        )
    finally:
        installed.kubectl("delete", "resourcequota", "linked")
    assert write.parent_id == ""
    ((trace_id, span_id),) = [(link.trace_id, link.span_id) for link in write.links]
    review = otlp.wait_for(lambda span: (span.trace_id, span.span_id) == (trace_id, span_id), 60)
    assert (review.kind, review.name) == ("server", "admission validate CREATE ResourceQuota")
    assert review.attributes["admission.request.name"] == "linked"


def test_a_missing_right_is_named_ready_to_be_granted(installed, enforce) -> None:
    """The log says once what to apply; applied, the next change of such an object is reported."""
    match = {"any": [{"resources": {"kinds": ["coordination.k8s.io/v1/Lease"], "namespaces": ["default"]}}]}
    enforce({**policy("leases", {"failureAction": "Audit", "message": "no", "deny": {}}, match=match)})
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "held", "namespace": "default"},
        "spec": {},
    }
    make(installed, lease)
    text = pathlib.Path(ROOT, "docs", "reports.md").read_text()
    told = re.search(r"```text\n(Objects of kind Lease.*?\n)(.*?)```", text, re.DOTALL)
    eventually(lambda: told[2] in installed.operator.log.read_text())
    assert told[1].strip() in installed.operator.log.read_text()
    installed.apply(told[2])
    try:
        subject = "--as=system:serviceaccount:kymograph:kymograph"
        eventually(lambda: installed.kubectl("auth", "can-i", "get", "leases", subject, check=False).returncode == 0)
    finally:
        installed.kubectl("delete", "lease", "held")
        installed.kubectl("delete", "-f", "-", given=told[2])
