"""Reports of `openreports.io` in the place of those of `wgpolicyk8s.io`."""

import json
import pathlib
import re

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from support import installed as support
from support.installed import Installed, eventually, pod, policy

HERE = pathlib.Path(__file__).parent
DOCUMENTATION = HERE.parents[1] / "docs" / "reports.md"


def role() -> str:
    """The ClusterRole that the documentation has users apply."""
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    return next(block for block in blocks if "name: kymograph:reports:openreports" in block)


def left_over(uid: str) -> dict:
    """A report as it was written before."""
    scope = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid}
    return {
        "apiVersion": "wgpolicyk8s.io/v1alpha2",
        "kind": "PolicyReport",
        "metadata": {
            "name": uid,
            "namespace": "default",
            "labels": {"app.kubernetes.io/managed-by": "kyverno"},
            "ownerReferences": [scope],
        },
        "scope": {**scope, "namespace": "default"},
        "results": [{"source": "kyverno", "policy": "audited", "rule": "audited-rule", "result": "fail"}],
        "summary": {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0},
    }


@pytest.fixture(scope="module")
def opened():
    """A control plane of its own with the definitions, the right, and one Pod that has a report of the other kind."""
    with localcluster.LocalCluster() as cluster:
        support.install(cluster)
        made = Installed(cluster, installation.Operator(cluster, flags=["--openreportsEnabled=true"]))
        made.kubectl("apply", "-f", str(HERE / "definitions" / "openreports.yaml"))
        made.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=180s")
        made.kubectl("apply", "-f", "-", given=role())
        assert made.create(pod("web")).returncode == 0
        uid = made.get("pod", "web", "-n", "default")["metadata"]["uid"]
        eventually(lambda: made.create(left_over(uid)).returncode == 0)
        made.operator.start()
        try:
            yield made
        finally:
            made.operator.stop()


def found(installed, *which) -> dict | None:
    """A report; None where there is none."""
    shown = installed.kubectl("get", *which, "-o", "json", check=False)
    return json.loads(shown.stdout) if shown.returncode == 0 else None


def report(installed, policy_name: str) -> dict | None:
    """The report on the Pod, once it has what this policy says of it."""
    uid = installed.get("pod", "web", "-n", "default")["metadata"]["uid"]
    one = found(installed, "reports.openreports.io", uid, "-n", "default")
    return one if one and policy_name in {row["policy"] for row in one["results"]} else None


@pytest.fixture
def audit(opened):
    """Have a policy with one rule on Pods and Namespaces judge what there is, for the length of the test."""

    def enforce(name: str) -> None:
        match = {"any": [{"resources": {"kinds": ["Pod", "Namespace"]}}]}
        wanted = {"metadata": {"labels": {"team": "?*"}}}
        opened.enforce(policy(name, {"failureAction": "Audit", "message": "a team", "pattern": wanted}, match=match))

    yield enforce
    opened.forget_policies()


def test_reports_are_open_reports(opened, audit) -> None:
    """One for an object, owned by it, with every field; those on objects outside of namespaces likewise."""
    audit("audited")
    web = opened.get("pod", "web", "-n", "default")["metadata"]
    stored = eventually(lambda: report(opened, "audited"))
    (row,) = stored["results"]
    assert (row["source"], row["policy"], row["result"], row["scored"]) == ("kyverno", "audited", "fail", True)
    assert row["message"].startswith("validation error: a team.")
    assert row["properties"] == {"process": "background scan"}
    assert stored["summary"] == {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0}
    assert stored["metadata"]["ownerReferences"][0]["uid"] == stored["scope"]["uid"] == web["uid"]
    uid = opened.get("namespace", "default")["metadata"]["uid"]
    eventually(lambda: (one := found(opened, "clusterreports.openreports.io", uid)) and one["summary"]["fail"] == 1)
    eventually(lambda: opened.get("policyreports", "-A")["items"] == [])


def test_open_reports_go_with_their_policies(opened, audit) -> None:
    """As the others do."""
    audit("passing")
    eventually(lambda: report(opened, "passing"))
    opened.forget_policies()
    eventually(lambda: opened.get("reports.openreports.io", "-A")["items"] == [])
