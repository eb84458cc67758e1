"""The operator as users run it, and the policies and objects that tests give it."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import errors, installation
from kymograph.model import tracingconfiguration
from support import webhookorder

ROOT = pathlib.Path(__file__).parents[2]
TRACING = ("tracingconfiguration", tracingconfiguration.NAME)

_CONFIGURATIONS = f"/apis/{tracingconfiguration.GROUP}/{tracingconfiguration.VERSION}/{tracingconfiguration.PLURAL}"
_CONFIGURATION = f"{_CONFIGURATIONS}/{tracingconfiguration.NAME}"
_OF_POLICIES = {"kymograph-resource-validation", "kymograph-resource-mutation"}

ResultT = TypeVar("ResultT")


def eventually(attempt: Callable[[], ResultT], timeout: float = 60.0) -> ResultT:
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
        """Apply a policy and wait until the API server asks about what it matches, as it says now."""
        metadata = json.loads(self.kubectl("apply", "-o", "json", "-f", "-", given=document).stdout)["metadata"]
        within = f"namespaces/{metadata['namespace']}/policies" if "namespace" in metadata else "clusterpolicies"
        path = f"/apis/kyverno.io/v1/{within}/{metadata['name']}"
        eventually(lambda: self._observed(path, "Ready", "True") >= metadata["generation"])
        webhookorder.until_in_force(self.cluster.api)

    def _observed(self, path: str, condition: str, *statuses: str) -> int:
        """The generation of an object that a condition of it with one of these statuses is about; else -1."""
        try:
            stored = self.cluster.api.request("GET", path)
        except errors.RequestRefused as refused:
            if refused.status != 429:  # an API server that has just started has no time
                raise
            return -1
        told = stored.get("status", {}).get("conditions", [])
        found = next((each for each in told if each["type"] == condition and each["status"] in statuses), {})
        return int(found.get("observedGeneration", -1))

    def make_namespace(self, name: str, **labels: str) -> None:
        """Make a namespace and wait until Pods can be created in it: until then each is refused, whatever it is."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.wait_for_accounts(name)

    def wait_for_accounts(self, namespace: str) -> None:
        """Wait until a namespace has the ServiceAccount that Pods run as."""
        eventually(lambda: self.kubectl("get", "serviceaccount", "default", "-n", namespace, check=False).stdout)

    def forget_policies(self) -> None:
        """Delete all policies and wait until no webhook is left for them."""
        self.kubectl("delete", "clusterpolicies", "--all")
        self.kubectl("delete", "policies.kyverno.io", "--all", "--all-namespaces")
        kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
        eventually(lambda: not _OF_POLICIES & _names(self.kubectl("get", kinds, "-o", "name").stdout))

    def webhook_configurations(self) -> set[str]:
        """The names of the validating webhook configurations in the cluster."""
        return _names(self.kubectl("get", "validatingwebhookconfigurations", "-o", "name").stdout)

    def configure(self, spec: dict[str, Any]) -> int:
        """Replace the spec of the TracingConfiguration; metrics stay on their port unless the spec says otherwise.

        Returns:
            The generation that it has with this spec.
        """
        metrics = {"prometheus": {"enabled": True, "port": self.metrics_port}}
        document = {**tracingconfiguration.default(), "spec": {"metrics": metrics, **spec}}
        return int(eventually(lambda: self._write(document))["metadata"]["generation"])

    def put_in_force(self, spec: dict[str, Any]) -> None:
        """Replace that spec, and wait until it is in force or the operator has said why it cannot be."""
        generation = self.configure(spec)
        eventually(lambda: self._observed(_CONFIGURATION, "Accepted", "True", "False") >= generation)

    def _write(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Create or replace the TracingConfiguration; None where that is to be tried again.

        Its definition may be so new that nobody serves it yet, the operator may write between reading and writing, and
        an API server that has just started has no time.
        """
        api, strictly = self.cluster.api, "?fieldValidation=Strict"
        try:
            try:
                version = api.request("GET", _CONFIGURATION)["metadata"]["resourceVersion"]
            except errors.RequestRefused as refused:
                if refused.status != 404:
                    raise
                return api.request("POST", f"{_CONFIGURATIONS}{strictly}", document)
            metadata = {**document["metadata"], "resourceVersion": version}
            return api.request("PUT", f"{_CONFIGURATION}{strictly}", {**document, "metadata": metadata})
        except errors.RequestRefused as refused:
            if refused.status not in {404, 409, 429}:
                raise
            return None

    def conditions(self, *what: str) -> dict[str, dict[str, Any]]:
        """The status conditions of an object, by type."""
        return {each["type"]: each for each in self.get(*what).get("status", {}).get("conditions", [])}


def _names(listed: str) -> set[str]:
    """The names in what `kubectl get -o name` says."""
    return {line.partition("/")[2] for line in listed.splitlines()}


def install(cluster: localcluster.LocalCluster) -> None:
    """What the README tells a user to do; returns when the new kinds are served."""
    installation.run_kubectl(cluster, "apply", "-k", str(ROOT / "manifests"))
    established = ("--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=180s")
    installation.run_kubectl(cluster, "wait", *established)


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
