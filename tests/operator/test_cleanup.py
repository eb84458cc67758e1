"""Objects with a TTL label are deleted by the operator as installed: where an administrator granted it, only there."""

import datetime as dt
import json
import re
import urllib.request
import uuid
from collections.abc import Iterator

import pytest
import yaml

from kymograph.localcluster import errors
from support import kinds
from support.installed import ROOT, eventually

LABEL = "cleanup.kyverno.io/ttl"
ACCOUNT = "system:serviceaccount:kymograph:kymograph"
LONG_AGO = "2023-07-19T120000Z"
TEMPLATES = "cleanup-of-templates"
"""A grant for a kind of which only one test has objects, to count what is deleted of it."""


def example() -> dict:
    """The grant that docs/cleanup.md shows."""
    text = (ROOT / "docs" / "cleanup.md").read_text()
    shown = [yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    (grant_,) = (each for each in shown if each["kind"] == "ClusterRole")
    return grant_


def grant(name: str, group: str, plural: str) -> dict:
    """A grant in the form of the example."""
    made = example()
    made["metadata"]["name"] = name
    made["rules"] = [{"apiGroups": [group], "resources": [plural], "verbs": ["list", "watch", "delete"]}]
    return made


def definition(generation: str) -> dict:
    """The kind of Parcels; another description is another generation."""
    return kinds.definition("cleanup.test", "parcels", "Parcel", scope="Cluster", description=generation)


def labelled(
    name: str, ttl: str | None, *, kind: str = "ConfigMap", api: str = "v1", namespace: str = "default", **more
):
    labels = {} if ttl is None else {LABEL: ttl}
    metadata = {"name": name, "labels": labels, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": {**metadata, **more.pop("metadata", {})}, **more}


def deployment(name: str, ttl: str, propagation: str) -> dict:
    annotations = {"cleanup.kyverno.io/propagation-policy": propagation}
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": "registry.example/app"}]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return labelled(
        name,
        ttl,
        kind="Deployment",
        api="apps/v1",
        metadata={"labels": {LABEL: ttl}, "annotations": annotations},
        spec=spec,
    )


def template(name: str, ttl: str | None, namespace: str) -> dict:
    """A PodTemplate, which nobody else does anything about."""
    containers = [{"name": "app", "image": "registry.example/app"}]
    return labelled(name, ttl, kind="PodTemplate", namespace=namespace, template={"spec": {"containers": containers}})


def exists(installed, *what: str) -> bool:
    return installed.kubectl("get", "-o", "name", *what, check=False).returncode == 0


def gone(installed, *what: str) -> bool:
    """Whether the API server says that there is no such object; that it says nothing now is no such answer."""
    return "(NotFound)" in installed.kubectl("get", "-o", "name", *what, check=False).stderr


def may_delete(installed, resource: str) -> bool:
    asked = installed.kubectl("auth", "can-i", "delete", resource, f"--as={ACCOUNT}", check=False)
    return asked.stdout.strip() == "yes"


def count(installed, metric: str, resource: str) -> float:
    """The sum of a metric's series for a resource."""
    with urllib.request.urlopen(f"http://127.0.0.1:{installed.metrics_port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    series = [line for line in lines if line.startswith(f"{metric}{{") and f'resource_resource="{resource}"' in line]
    return sum(float(line.rpartition("} ")[2].split()[0]) for line in series)


def stopped_watching(installed, resource: str) -> bool:
    told = [
        line for line in installed.operator.log.read_text().splitlines() if line.rstrip().endswith(f"of {resource}")
    ]
    return bool(told) and "No longer watching" in told[-1]


def lists(installed, since: str) -> set[str]:
    """The resources whose labelled objects the operator has asked for, as the audit log says so far.

    The API server begins another file every 100 MB, and adds the time to the name of the one before.
    """
    files = installed.cluster.audit_log.parent.glob("audit*.log")
    lines = [line for file in files for line in file.read_text().splitlines(keepends=True)]
    asked = (line for line in lines if "labelSelector=cleanup.kyverno.io" in line and line.endswith("\n"))
    return {
        event["objectRef"]["resource"]
        for event in map(json.loads, asked)
        if event["user"].get("username") == ACCOUNT
        and "labelSelector=cleanup.kyverno.io" in event["requestURI"]
        and event["requestReceivedTimestamp"] > since
    }


@pytest.fixture(scope="module")
def begun() -> str:
    """When this module began, as audit events say it: others before it may have granted more."""
    return dt.datetime.now(dt.UTC).isoformat()


@pytest.fixture(scope="module")
def granted(begun, installed) -> Iterator[None]:
    """The grant of the documentation, found out by the operator because a kind is installed at the same time."""
    installed.apply(example())
    installed.apply(grant(TEMPLATES, "", "podtemplates"))
    eventually(lambda: all(may_delete(installed, each) for each in ("configmaps", "deployments.apps", "podtemplates")))
    installed.apply(definition("granted"))
    installed.kubectl("wait", "--for=condition=Established", "crd/parcels.cleanup.test", "--timeout=60s")
    yield
    installed.kubectl("delete", "clusterrole", example()["metadata"]["name"], TEMPLATES)
    eventually(lambda: not may_delete(installed, "configmaps"))
    installed.kubectl("delete", "crd", "parcels.cleanup.test")
    eventually(lambda: stopped_watching(installed, "configmaps"))


def test_a_due_object_goes_and_its_trace_says_why(installed, granted, namespace, otlp) -> None:
    """Our root, our call, and the API server's trace linked to it; counted once; what is not due or labelled stays."""
    for name, ttl in (("in-an-hour", "1h"), ("for-ever", None)):
        installed.apply(template(name, ttl, namespace))
    made = installed.create(template("in-two-seconds", "2s", namespace), "-o", "json")
    created = dt.datetime.fromisoformat(json.loads(made.stdout)["metadata"]["creationTimestamp"])
    eventually(lambda: gone(installed, "podtemplate", "in-two-seconds", "-n", namespace))
    assert exists(installed, "podtemplate", "in-an-hour", "for-ever", "-n", namespace)

    root = otlp.wait_for(
        lambda span: (
            span.name == "CLEANUP ttl"
            and span.attributes["kymograph.object.namespace"] == namespace
            and span.attributes["kymograph.cleanup.result"] == "deleted"  # an attempt before it may have failed
        ),
        60,
    )
    assert root.attributes["kymograph.object.name"] == "in-two-seconds"
    assert root.start >= (created.timestamp() + 2) * 1e9
    assert root.parent_id == ""
    assert root.attributes["kymograph.cleanup.ttl"] == "2s"
    spans = otlp.wait_for_trace(root.trace_id, lambda trace: any(each.parent_id == root.span_id for each in trace), 60)
    (call,) = (span for span in spans if span.parent_id == root.span_id)
    assert call.name == "KUBE delete podtemplates"
    continued = otlp.wait_for(lambda span: call.span_id in {span.parent_id, *(link.span_id for link in span.links)}, 60)
    assert continued.service == "apiserver"
    eventually(lambda: count(installed, "ttl_controller_deletedobjects_total", "podtemplates") == 1)


def test_the_label_may_be_set_and_changed(installed, granted) -> None:
    """Live: a label on an object that was there, another value."""
    installed.apply(labelled("set", None))
    installed.apply(labelled("changed", "1h"))
    installed.kubectl("label", "configmap", "set", f"{LABEL}={LONG_AGO}")
    today = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")
    installed.kubectl("label", "--overwrite", "configmap", "changed", f"{LABEL}={today}")
    eventually(lambda: gone(installed, "configmap", "set"))
    eventually(lambda: gone(installed, "configmap", "changed"))


def test_the_label_may_be_removed(installed, granted) -> None:
    """In time: the object outlives one that was made after it and may live longer."""
    name, seconds = saved(installed)
    installed.apply(labelled("not-saved", f"{seconds + 2}s"))
    eventually(lambda: gone(installed, "configmap", "not-saved"), 60.0 + seconds)
    assert exists(installed, "configmap", name)
    installed.kubectl("delete", "configmap", name)


def saved(installed) -> tuple[str, int]:
    """A ConfigMap that lost its label before its time was up, and how many seconds that was.

    A machine that stands still for longer between the two requests is given more time, for another ConfigMap.
    """
    maps, unlabelled = "/api/v1/namespaces/default/configmaps", {"metadata": {"labels": {LABEL: None}}}
    for seconds in (4, 8, 16, 32):
        name = f"saved-{seconds}"
        installed.cluster.api.request("POST", maps, labelled(name, f"{seconds}s"))
        try:
            installed.cluster.api.request("PATCH", f"{maps}/{name}", unlabelled)
        except errors.RequestRefused as refused:
            if refused.status != 404:
                raise
        else:
            return name, seconds
    raise AssertionError("a label was never taken away in time")


def wait_for_the_garbage_collector(installed) -> None:
    """Wait until it knows all ReplicaSets that there are: it has removed one that was made after them.

    It orphans those dependents that it knows of, and takes others for the rest of an owner that is gone.
    """
    name = f"ownerless-{uuid.uuid4().hex[:8]}"
    made = deployment(name, "1h", "Background")
    del made["metadata"]["labels"], made["metadata"]["annotations"]
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": str(uuid.uuid4())}
    made |= {"kind": "ReplicaSet", "metadata": {**made["metadata"], "ownerReferences": [owner]}}
    made["spec"]["replicas"] = 0
    installed.apply(made)
    eventually(lambda: gone(installed, "replicaset", name))


@pytest.mark.parametrize(("propagation", "survives"), [("Orphan", True), ("Foreground", False), ("Background", False)])
def test_the_propagation_policy_is_honoured(installed, granted, propagation: str, survives: bool) -> None:
    """Orphaned ReplicaSets lose their owner and stay; others go with it."""
    name = f"cleanup-{propagation.lower()}"
    installed.apply(deployment(name, "1h", propagation))

    def replica_sets():
        return installed.get("replicasets", "-l", f"app={name}")["items"]

    eventually(replica_sets)
    wait_for_the_garbage_collector(installed)
    installed.kubectl("label", "--overwrite", "deployment", name, f"{LABEL}={LONG_AGO}")
    eventually(lambda: gone(installed, "deployment", name))
    if survives:
        (left,) = replica_sets()
        assert not left["metadata"].get("ownerReferences")
        installed.kubectl("delete", "replicaset", left["metadata"]["name"])
    else:
        eventually(lambda: not replica_sets())


def test_kinds_not_granted_are_neither_deleted_nor_listed(begun, installed, granted) -> None:
    """A Secret whose time is long up, beside a ConfigMap with the same label that goes."""
    installed.apply(labelled("kept", LONG_AGO, kind="Secret"))
    installed.apply(labelled("gone", LONG_AGO))
    eventually(lambda: gone(installed, "configmap", "gone"))
    assert exists(installed, "secret", "kept")
    eventually(lambda: {"configmaps", "deployments"} <= lists(installed, begun))
    assert not lists(installed, begun) & {"secrets", "pods", "services"}
    installed.kubectl("delete", "secret", "kept")


def test_what_cannot_be_followed_is_kept_and_told(installed, granted) -> None:
    """A wrong value, an unknown policy, an object of the operator's own: told by log, counter and Event."""
    before = count(installed, "ttl_controller_invalidlabels_total", "configmaps")
    misspelt = {"labels": {LABEL: LONG_AGO}, "annotations": {"cleanup.kyverno.io/propagation-policy": "orphan"}}
    warning = f"Warning: {LABEL} label value cannot be parsed as any recognizable format ('1.5d' is neither"
    wrong = labelled("wrong-value", "1.5d")
    eventually(lambda: warning in installed.create(wrong, "--dry-run=server").stderr)  # no write waits long for that
    assert installed.create(wrong).returncode == 0
    installed.apply(labelled("wrong-policy", LONG_AGO, metadata=misspelt))
    installed.apply(labelled("our-own", LONG_AGO, namespace="kymograph"))
    eventually(lambda: count(installed, "ttl_controller_invalidlabels_total", "configmaps") == before + 3)
    log = installed.operator.log.read_text()
    for name in ("wrong-value in default", "wrong-policy in default", "our-own in kymograph"):
        assert log.count(f"of ConfigMap {name} is not followed") == 1
    (event,) = eventually(
        lambda: installed.get("events", "-n", "default", "--field-selector", "involvedObject.name=wrong-value")["items"]
    )
    assert (event["reason"], event["type"]) == ("PolicyError", "Warning")
    assert "'1.5d' is neither a duration" in event["message"]
    assert exists(installed, "configmap", "wrong-value", "wrong-policy")
    assert exists(installed, "configmap", "our-own", "-n", "kymograph")
    installed.kubectl("delete", "configmap", "wrong-value", "wrong-policy")
    installed.kubectl("delete", "configmap", "our-own", "-n", "kymograph")


def test_kinds_may_be_granted_installed_and_withdrawn_while_it_runs(installed, granted) -> None:
    """A custom kind of the cluster, by a second grant; without the grant its objects stay."""
    name = "cleanup-of-parcels"
    installed.apply(grant(name, "cleanup.test", "parcels"))
    eventually(lambda: may_delete(installed, "parcels.cleanup.test"))
    installed.apply(definition("granted, second"))
    lost = labelled("lost", LONG_AGO, kind="Parcel", api="cleanup.test/v1", namespace="")
    eventually(lambda: installed.create(lost).returncode == 0)
    eventually(lambda: gone(installed, "parcels.cleanup.test", "lost"))
    installed.kubectl("delete", "clusterrole", name)
    eventually(lambda: not may_delete(installed, "parcels.cleanup.test"))
    installed.apply(definition("withdrawn"))
    eventually(lambda: stopped_watching(installed, "parcels.cleanup.test"))
    installed.apply(labelled("safe", LONG_AGO, kind="Parcel", api="cleanup.test/v1", namespace=""))
    installed.apply(labelled("marker", LONG_AGO))
    eventually(lambda: gone(installed, "configmap", "marker"))
    assert exists(installed, "parcels.cleanup.test", "safe")
