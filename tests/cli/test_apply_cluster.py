"""`kymograph apply --cluster` reads what policies match from a live API server, and what they ask of it."""

import json

import pytest

from kymograph.cli import main

pytestmark = pytest.mark.cluster

POLICY = """
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: colours}
spec:
  rules:
  - name: colour
    match: {any: [{resources: {kinds: [ConfigMap], names: ["paint-*"]}}]}
    context:
    - name: wanted
      configMap: {name: wanted, namespace: %(namespace)s}
    validate:
      message: "must be {{ wanted.data.colour }}"
      pattern: {data: {colour: "{{ wanted.data.colour }}"}}
"""


@pytest.fixture
def apply(capsys, tmp_path, kubeconfig, namespace):
    (tmp_path / "policy.yaml").write_text(POLICY % {"namespace": namespace})

    def call(*flags):
        status = main.main(
            ["apply", str(tmp_path / "policy.yaml"), "--cluster", "--kubeconfig", str(kubeconfig), *flags]
        )
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_objects_and_context_come_from_the_cluster(apply, kubectl, namespace):
    for name, colour in (("wanted", "red"), ("paint-a", "red"), ("paint-b", "blue")):
        metadata = {"name": name, "namespace": namespace}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"colour": colour}}
        kubectl("create", "-f", "-", input=json.dumps(document))
    status, out, err = apply("--namespace", namespace)
    assert (status, err) == (1, "")
    assert f"policy colours -> resource {namespace}/ConfigMap/paint-b failed:" in out
    assert "must be red" in out
    assert "pass: 1, fail: 1, warn: 0, error: 0, skip: 0 " in out
    assert "to 0 resource(s)" in apply("--cluster-wide-resources")[1]


def test_a_context_that_is_not_there_is_told(apply):
    status, _, err = apply("--context", "absent")
    assert status == 1
    assert "the context is 'absent'" in err
