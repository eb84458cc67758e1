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
PATIENCE = 60


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
        made.kubectl("apply", "-f", "-", given=role())
        assert made.create(pod("web")).returncode == 0
        uid = made.get("pod", "web", "-n", "default")["metadata"]["uid"]
        assert made.create(left_over(uid)).returncode == 0
        made.operator.start(120)
        try:
            yield made
        finally:
            made.operator.stop()


def found(installed, *which) -> dict | None:
    """A report; None where there is none."""
    shown = installed.kubectl("get", *which, "-o", "json", check=False)
    return json.loads(shown.stdout) if shown.returncode == 0 else None


def test_reports_are_open_reports(opened) -> None:
    """One for an object, owned by it, with every field; those on objects outside of namespaces likewise."""
    match = {"any": [{"resources": {"kinds": ["Pod", "Namespace"]}}]}
    validate = {"failureAction": "Audit", "message": "a team", "pattern": {"metadata": {"labels": {"team": "?*"}}}}
    opened.enforce(policy("audited", validate, match=match))
    web = opened.get("pod", "web", "-n", "default")["metadata"]
    stored = eventually(lambda: found(opened, "reports.openreports.io", web["uid"], "-n", "default"), PATIENCE)
    (row,) = stored["results"]
    assert (row["source"], row["policy"], row["result"], row["scored"]) == ("kyverno", "audited", "fail", True)
    assert row["message"].startswith("validation error: a team.")
    assert row["properties"] == {"process": "background scan"}
    assert stored["summary"] == {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0}
    assert stored["metadata"]["ownerReferences"][0]["uid"] == stored["scope"]["uid"] == web["uid"]
    uid = opened.get("namespace", "default")["metadata"]["uid"]
    assert eventually(lambda: found(opened, "clusterreports.openreports.io", uid), PATIENCE)["summary"]["fail"] == 1
    eventually(lambda: opened.get("policyreports", "-A")["items"] == [], PATIENCE)


def test_open_reports_go_with_their_policies(opened) -> None:
    """As the others do."""
    web = opened.get("pod", "web", "-n", "default")["metadata"]
    eventually(lambda: found(opened, "reports.openreports.io", web["uid"], "-n", "default"), PATIENCE)
    opened.forget_policies()
    eventually(lambda: opened.get("reports.openreports.io", "-A")["items"] == [], PATIENCE)
