"""`kymograph uninstall` on real servers: a cluster that a dead operator has locked takes writes again."""

import contextlib
import pathlib
import re
import time

import pytest

from kymograph.cli import main, uninstall
from kymograph.controllers.admission import webhooknames
from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from support import installed as support
from support.installed import NO_PRIVILEGES, Installed, eventually, pod

OPERATIONS = (pathlib.Path(__file__).parents[2] / "docs" / "operations.md").read_text()
OURS = {"kymograph-policy-validation", "kymograph-resource-validation"}


@pytest.fixture(scope="module")
def alone():
    """A control plane of its own, with an operator that enforces a policy."""
    with localcluster.LocalCluster() as cluster:
        support.install(cluster)
        made = Installed(cluster, installation.Operator(cluster))
        with made.operator:
            made.enforce(NO_PRIVILEGES)
            yield made


@pytest.fixture
def remove(alone, capsys):
    """Run the command; gives the exit status, standard output and standard error."""

    def run(*flags, kubeconfig=None):
        capsys.readouterr()
        status = main.main(["uninstall", f"--kubeconfig={kubeconfig or alone.cluster.admin_kubeconfig}", *flags])
        return status, *capsys.readouterr()

    return run


def deployment(namespace):
    """What makes Pods, as the operator's own does."""
    labels = {"app": "good"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod("a")["spec"]}}
    metadata = {"name": "good", "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def left(alone):
    return {
        line
        for kind in ("leases.coordination.k8s.io", "secrets", "configmaps", "deployments.apps")
        for line in alone.kubectl("get", kind, "-n", "kymograph", "-o", "name").stdout.split()
        if "kube-root-ca" not in line
    }


def test_a_living_operator_is_told_of(alone, remove) -> None:
    """It would write its webhooks again; nothing is touched where it cannot be stopped by its Deployment."""
    alone.kubectl("delete", "deployment", "kymograph", "-n", "kymograph")
    status, _, said = remove()
    assert status == 1
    assert "an operator is running" in said
    assert alone.webhook_configurations() >= OURS
    support.install(alone.cluster)


def test_it_may_take_a_while_to_stop(alone, remove, monkeypatch) -> None:
    """Its Deployment is deleted first; what outlives that is named."""
    monkeypatch.setattr(uninstall, "PATIENCE", 1.0)
    status, out, said = remove()
    assert status == 1
    assert "deleted Deployment kymograph/kymograph\n" in out
    assert "it writes the webhook configurations again" in said
    support.install(alone.cluster)
    eventually(lambda: alone.webhook_configurations() >= OURS)


def test_a_dead_operator_locks_nobody_out(alone, remove, capsys) -> None:
    """Killed, with webhooks that fail closed: one command, without an operator, ends that; again it finds nothing."""
    eventually(lambda: "Privileged" in alone.create(pod("bad", privileged=True), "--dry-run=server").stderr)
    alone.operator.kill()
    assert "failed calling webhook" in alone.create(pod("good"), "--dry-run=server").stderr
    own = alone.create(deployment("kymograph"), "--dry-run=server")
    assert own.returncode == 0, own.stderr
    assert "failed calling webhook" in alone.create(deployment("default"), "--dry-run=server").stderr
    token = alone.cluster.create_token(installation.NAMESPACE, installation.SERVICE_ACCOUNT)
    status, out, said = remove(kubeconfig=alone.cluster.kubeconfig_for_token(token))
    assert (status, out) == (1, "")
    assert "kymograph: nothing was changed, because you may not\n  delete Deployment kymograph/kymograph\n" in said
    before = left(alone)
    status, out, _ = remove("--dry-run")
    assert status == 0
    assert "would delete ValidatingWebhookConfiguration kymograph-resource-validation\n" in out
    assert (left(alone), alone.webhook_configurations() >= OURS) == (before, True)
    began = time.monotonic()
    status, out, said = remove()
    assert (status, said) == (0, "")
    assert out.index("deleted ValidatingWebhookConfiguration") < out.index("deleted Lease") < out.index("delete -k")
    with capsys.disabled():
        print(f"\nuninstalled after {time.monotonic() - began:.1f} s, the Lease of a killed leader among it")  # noqa: T201 - a figure
    eventually(lambda: alone.create(pod("good"), "--dry-run=server").returncode == 0)
    assert (left(alone), alone.webhook_configurations() & OURS) == (set(), set())
    status, out, _ = remove()
    assert (status, out) == (0, "Nothing of the operator is in the cluster or its namespace kymograph.\n")
    assert alone.kubectl("get", "clusterpolicy", "no-privileges").returncode == 0
    status, out, _ = remove("--crds")
    assert status == 0
    assert "deleted CustomResourceDefinition clusterpolicies.kyverno.io\n" in out
    eventually(lambda: alone.kubectl("get", "clusterpolicies", check=False).returncode != 0)


def test_kubectl_alone_ends_it_too(alone) -> None:
    """By the documented command; an operator that lives would put its own back."""
    (command,) = re.findall(r"^ *kubectl (delete validatingwebhookconfigurations,.*)$", OPERATIONS, re.MULTILINE)
    document = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "of-a-dead-operator", "labels": dict(webhooknames.KYMOGRAPH.labels)},
        "webhooks": [
            {
                "name": "fail.validate.kymograph.dev",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:1/validate/fail"},
                "failurePolicy": "Fail",
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "sideEffects": "None",
            }
        ],
    }
    alone.apply(document)
    eventually(lambda: "failed calling webhook" in alone.create(pod("good"), "--dry-run=server").stderr)
    alone.kubectl(*command.split())
    eventually(lambda: alone.create(pod("good"), "--dry-run=server").returncode == 0)
    assert "of-a-dead-operator" not in alone.webhook_configurations()


def test_an_api_server_that_does_not_answer_is_told_of(tmp_path, capsys) -> None:
    """In one line."""
    with contextlib.suppress(SystemExit):
        assert main.main(["uninstall", f"--kubeconfig={tmp_path / 'none'}"]) == 1
    assert capsys.readouterr().err.startswith("kymograph: ")
