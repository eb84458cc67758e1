"""`kymograph cleanup preview`: what would be deleted and when; nothing is."""

import json

import pytest

from kymograph.cli import main

POLICY = """apiVersion: kyverno.io/v2
kind: ClusterCleanupPolicy
metadata: {name: %s}
spec:
  schedule: "%s"
  match: {any: [{resources: {kinds: [ConfigMap], namespaces: ["%s"]}}]}
  exclude: {any: [{resources: {names: [kube-root-ca.crt]}}]}
  conditions:
    all:
    - {key: "{{ target.data.kind }}", operator: Equals, value: scratch, message: it is scratch}
"""
OBJECTS = """apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: shop}
data: {kind: scratch}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two, namespace: shop}
data: {kind: kept}
"""


@pytest.fixture
def preview(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = main.main(["cleanup", "preview", *arguments])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err

    return call


@pytest.fixture
def written(tmp_path):
    def write(name="tidy", schedule="@every 1h", namespace="*", objects=OBJECTS):
        (tmp_path / "policy.yaml").write_text(POLICY % (name, schedule, namespace))
        (tmp_path / "objects.yaml").write_text(objects)

    return write


def test_objects_of_files(preview, written) -> None:
    """What would go, why, and when."""
    written()
    status, lines, err = preview("policy.yaml", "--resource", "objects.yaml")
    assert (status, err) == (0, "")
    assert lines[0] == "ClusterCleanupPolicy tidy (schedule @every 1h)"
    assert lines[1].startswith("  runs next: 2")
    assert lines[1].endswith(("in 1h0m0s", "in 59m59s"))
    assert lines[2] == "  would delete 1 of 2 objects now"
    assert [line.split(maxsplit=3) for line in lines[3:]] == [
        ["KIND", "NAMESPACE", "NAME", "REASON"],
        ["ConfigMap", "shop", "one", "it is scratch"],
    ]


def test_what_cannot_be_decided_is_told(preview, written) -> None:
    """On standard error, with a status of its own."""
    written(objects="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd, namespace: shop}\n")
    status, lines, err = preview("policy.yaml", "-r", "objects.yaml")
    assert status == 1
    assert lines[2] == "  would delete 0 of 1 objects now"
    assert err.startswith("Error: ConfigMap/shop/odd: failed to substitute variables in condition key")


def test_a_schedule_that_never_comes(preview, written) -> None:
    """Is said so."""
    written(schedule="0 0 30 2 *")
    _, lines, _ = preview("policy.yaml", "-r", "objects.yaml")
    assert lines[1] == "  runs next: never"


def test_a_policy_that_is_refused(preview, written) -> None:
    """With the file, the line and the field."""
    written(schedule="soon")
    status, lines, err = preview("policy.yaml", "-r", "objects.yaml")
    assert (status, lines) == (1, [])
    assert "policy.yaml:5: spec.schedule: Invalid value" in err


def test_a_file_without_cleanup_policies(preview, written) -> None:
    """Is a mistake."""
    written()
    status, _, err = preview("objects.yaml", "-r", "objects.yaml")
    assert status == 1
    assert "holds no CleanupPolicy or ClusterCleanupPolicy" in err


@pytest.mark.cluster
def test_objects_of_a_cluster(preview, written, kubectl, kubeconfig, namespace) -> None:
    """Looked at with the caller's rights, and left there."""
    for name, kind in (("one", "scratch"), ("two", "kept")):
        metadata = {"name": name, "namespace": namespace}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"kind": kind}}
        kubectl("create", "-f", "-", input=json.dumps(document))
    written(namespace=namespace)
    status, lines, err = preview("policy.yaml", "--kubeconfig", str(kubeconfig))
    assert (status, err) == (0, "")
    assert lines[2].startswith("  would delete 1 of ")
    assert lines[4].split() == ["ConfigMap", namespace, "one", "it", "is", "scratch"]
    kubectl("create", "configmap", namespace, f"--from-literal=resourceFilters=[ConfigMap,{namespace},one]")
    filtering = ("--operator-namespace", "default", "--config-map", namespace)
    status, lines, err = preview("policy.yaml", "--kubeconfig", str(kubeconfig), *filtering)
    kubectl("delete", "configmap", namespace)
    assert (status, err) == (0, "")
    assert lines[2].startswith("  would delete 0 of ")
    status, _, err = preview("no-such-policy", "--kubeconfig", str(kubeconfig))
    assert status == 1
    assert "neither a file nor a ClusterCleanupPolicy of the cluster" in err


def test_metadata_of_another_type_are_an_error_with_their_place(preview, tmp_path):
    (tmp_path / "odd.yaml").write_text((POLICY % ("a", "* * * * *", "shop")).replace("{name: a}", "[a]"))
    (tmp_path / "objects.yaml").write_text(OBJECTS)
    status, _, err = preview("odd.yaml", "-r", "objects.yaml")
    assert status == 1
    assert err.startswith("Error: odd.yaml:3: metadata: must be an object")
