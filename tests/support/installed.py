"""The operator as users run it, and the policies and objects that tests give it."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from kymograph.model import tracingconfiguration

ROOT = pathlib.Path(__file__).parents[2]

ResultT = TypeVar("ResultT")


def eventually(attempt: Callable[[], ResultT], timeout: float = 30.0) -> ResultT:
    """What `attempt` returns once that is true; fails with its last result after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = attempt()
        if result:
            return result
        assert time.monotonic() < deadline, f"not true within {timeout} s: {result!r}"
        time.sleep(0.05)


class Installed:
    """A cluster with the operator in it, and the ways to talk to both."""

    def __init__(self, cluster: localcluster.LocalCluster, operator: installation.Operator) -> None:
        self.cluster = cluster
        self.operator = operator
        self.metrics_port = installation.free_port()

    def kubectl(self, *arguments: str, given: Any = None, check: bool = True):
        """Run kubectl as the administrator; what is given and no text is sent as JSON."""
        text = given if given is None or isinstance(given, str) else json.dumps(given)
        return installation.run_kubectl(self.cluster, *arguments, given=text, check=check)

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get -o json`."""
        return json.loads(self.kubectl("get", "-o", "json", *arguments).stdout)

    def apply(self, document: Any) -> None:
        """Apply a document, which must be taken."""
        self.kubectl("apply", "-f", "-", given=document)

    def create(self, document: Any, *arguments: str):
        """Try to create an object."""
        return self.kubectl("create", *arguments, "-f", "-", given=document, check=False)

    def enforce(self, document: dict[str, Any]) -> None:
        """Apply a policy and wait until the API server asks about what it matches."""
        metadata = document["metadata"]
        namespace = ["-n", metadata["namespace"]] if "namespace" in metadata else []
        kind = "clusterpolicy" if document["kind"] == "ClusterPolicy" else "policies.kyverno.io"
        self.apply(document)
        self.kubectl("wait", "--for=condition=Ready", kind, metadata["name"], *namespace, "--timeout=15s")

    def forget_policies(self) -> None:
        """Delete all policies and wait until no webhook is left for them."""
        self.kubectl("delete", "clusterpolicies", "--all")
        self.kubectl("delete", "policies.kyverno.io", "--all", "--all-namespaces")
        eventually(lambda: "kymograph-resource-validation" not in self.webhook_configurations())

    def webhook_configurations(self) -> set[str]:
        """The names of the validating webhook configurations in the cluster."""
        listed = self.kubectl("get", "validatingwebhookconfigurations", "-o", "name").stdout
        return {line.partition("/")[2] for line in listed.splitlines()}

    def configure(self, spec: dict[str, Any]) -> None:
        """Replace the spec of the TracingConfiguration; metrics stay on their port unless the spec says otherwise."""
        metrics = {"prometheus": {"enabled": True, "port": self.metrics_port}}
        document = {**tracingconfiguration.default(), "spec": {"metrics": metrics, **spec}}
        if self.kubectl("create", "-f", "-", given=document, check=False).returncode != 0:
            # The operator may write the status between kubectl's reading and writing.
            eventually(lambda: self.kubectl("replace", "-f", "-", given=document, check=False).returncode == 0)

    def conditions(self, *what: str) -> dict[str, dict[str, Any]]:
        """The status conditions of an object, by type."""
        return {each["type"]: each for each in self.get(*what).get("status", {}).get("conditions", [])}


def install(cluster: localcluster.LocalCluster) -> None:
    """What the README tells a user to do."""
    installation.run_kubectl(cluster, "apply", "-k", str(ROOT / "manifests"))


def policy(name: str, validate: dict[str, Any], *, kind: str = "ClusterPolicy", namespace: str = "", **spec: Any):
    """A policy with one rule for Pods; `match` and other fields of the rule are taken out of `spec`."""
    match = spec.pop("match", {"any": [{"resources": {"kinds": ["Pod"]}}]})
    rule = {"name": f"{name}-rule", "match": match, "validate": {"failureAction": "Enforce", **validate}}
    if "exclude" in spec:
        rule["exclude"] = spec.pop("exclude")
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "kyverno.io/v1", "kind": kind, "metadata": metadata, "spec": {**spec, "rules": [rule]}}


NO_PRIVILEGES = policy(
    "no-privileges",
    {
        "message": "Privileged containers are not allowed.",
        "pattern": {"spec": {"containers": [{"=(securityContext)": {"=(privileged)": "false"}}]}},
    },
)


def pod(name: str, *, namespace: str = "default", privileged: bool = False, **metadata: Any) -> dict[str, Any]:
    """A Pod with one container."""
    container: dict[str, Any] = {"name": "app", "image": "registry.example/app:1"}
    if privileged:
        container["securityContext"] = {"privileged": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"containers": [container]},
    }
