"""Cleanup policies in the operator as installed: admitted where it may delete, run by their schedules, told of."""

import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from support.installed import eventually

ACCOUNT = "system:serviceaccount:kymograph:kymograph"
POLICY = "clustercleanuppolicies.kyverno.io"
CONDITIONS = {"all": [{"key": "{{ target.data.kind || '' }}", "operator": "Equals", "value": "scratch"}]}


def policy(
    name: str, kind: str, *, schedule: str = "@every 2s", namespace: str = "", names: str = "scratch-*", **spec
) -> dict:
    """A policy for what one names so: each test differently, since a run may end after its policy is deleted."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    match = {"any": [{"resources": {"kinds": [kind], "names": [names]}}]}
    return {
        "apiVersion": "kyverno.io/v2",
        "kind": "CleanupPolicy" if namespace else "ClusterCleanupPolicy",
        "metadata": metadata,
        "spec": {"schedule": schedule, "match": match, **spec},
    }


def config_map(name: str, kind: str, namespace: str = "default") -> dict:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"kind": kind}}


def exists(installed, *what: str) -> bool:
    return installed.kubectl("get", "-o", "name", *what, check=False).returncode == 0


def gone(installed, *what: str) -> bool:
    """Whether the API server says that there is no such object; that it says nothing now is no such answer."""
    return "(NotFound)" in installed.kubectl("get", "-o", "name", *what, check=False).stderr


def admitted(installed, document: dict) -> str:
    """Apply a policy that the operator may not follow yet; the ClusterRole that its refusal prints is applied too."""
    not_granted(installed, document)
    refused = installed.create(document)
    assert refused.returncode != 0
    role = yaml.safe_load(refused.stderr.partition("apply:\n")[2])
    installed.apply(role)
    eventually(lambda: installed.kubectl("apply", "-f", "-", given=document, check=False).returncode == 0)
    return role["metadata"]["name"]


def not_granted(installed, document: dict) -> None:
    """Wait until nothing is left of what other tests granted for what a policy is about."""
    ((kind,),) = (each["resources"]["kinds"] for each in document["spec"]["match"]["any"])
    asked = ("auth", "can-i", "delete", f"{kind.lower()}s", f"--as={ACCOUNT}")
    eventually(lambda: installed.kubectl(*asked, check=False).stdout.strip() == "no")


@pytest.fixture(scope="module")
def granted(installed) -> Iterator[None]:
    """ConfigMaps may be listed and deleted."""
    document = policy("grant", "ConfigMap", schedule="@yearly")
    name = admitted(installed, document)
    installed.kubectl("delete", POLICY, "grant")
    yield
    installed.kubectl("delete", "clusterrole", name)
    not_granted(installed, document)


def count(installed, metric: str, name: str) -> float:
    """The sum of a metric's series for a policy."""
    with urllib.request.urlopen(f"http://127.0.0.1:{installed.metrics_port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    series = [line for line in lines if line.startswith(f"{metric}{{") and f'policy_name="{name}"' in line]
    return sum(float(line.rpartition("} ")[2].split()[0]) for line in series)


def test_what_is_not_granted_is_refused_with_the_missing_rule(installed) -> None:
    """In Kyverno's words; with what was printed applied, it is admitted."""
    document = policy("of-services", "Service", schedule="@yearly")
    not_granted(installed, document)
    refused = installed.create(document)
    assert "cleanup controller has no permission to delete kind Service" in refused.stderr
    name = admitted(installed, document)
    installed.kubectl("delete", POLICY, "of-services")
    installed.kubectl("delete", "clusterrole", name)


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_a_wrong_schedule_is_refused(installed, granted, version) -> None:
    """With the field, in whichever version it is written."""
    wrong = policy("wrong", "ConfigMap", schedule="invalid-schedule")
    refused = installed.create({**wrong, "apiVersion": f"kyverno.io/{version}"})
    assert "schedule spec in the cleanupPolicy is not in proper cron format" in refused.stderr
    assert "spec.schedule" in refused.stderr


def test_objects_are_deleted_by_the_schedule(installed, granted, otlp) -> None:
    """What is matched and meets the conditions; the status, a metric and a trace say so."""
    for name, kind in (("scratch-1", "scratch"), ("scratch-2", "kept"), ("other", "scratch")):
        installed.apply(config_map(name, kind))
    installed.apply(policy("tidy", "ConfigMap", conditions=CONDITIONS))
    eventually(lambda: gone(installed, "configmap", "scratch-1"))
    installed.apply(config_map("scratch-3", "scratch"))
    eventually(lambda: gone(installed, "configmap", "scratch-3"))
    assert exists(installed, "configmap", "scratch-2", "other")

    def told() -> bool:
        status = installed.get(POLICY, "tidy").get("status", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
        return bool(status.get("lastExecutionTime")) and conditions == {"Ready": "True", "Ran": "True"}

    eventually(told)
    eventually(lambda: count(installed, "cleanup_controller_deletedobjects_total", "tidy") == 2)
    root = otlp.wait_for(
        lambda span: (
            span.name == "CLEANUP policy"
            and span.attributes["kyverno.policy.name"] == "tidy"
            and span.attributes.get("kymograph.cleanup.objects_deleted") == 1
        ),
        60,
    )
    wanted = {"CLEANUP object", "KUBE list configmaps"}
    spans = otlp.wait_for_trace(
        root.trace_id, lambda trace: wanted <= {each.name for each in trace if each.parent_id == root.span_id}, 60
    )
    (deletion,) = (span for span in spans if (span.name, span.parent_id) == ("CLEANUP object", root.span_id))
    assert deletion.attributes["kymograph.object.name"] in ("scratch-1", "scratch-3")
    installed.kubectl("delete", POLICY, "tidy")
    installed.kubectl("delete", "configmap", "scratch-2", "other")


def test_context_is_looked_up_in_the_cluster(installed, granted) -> None:
    """A call of the API server, by a policy of a namespace, which deletes there only."""
    installed.kubectl("create", "namespace", "attic")
    for namespace in ("attic", "default"):
        installed.apply(config_map("attic-a", "scratch", namespace))
    installed.apply(config_map("settings", "scratch", "attic"))
    context = [
        {
            "name": "wanted",
            "apiCall": {"urlPath": "/api/v1/namespaces/attic/configmaps/settings", "jmesPath": "data.kind"},
        }
    ]
    demanded = {"all": [{"key": "{{ wanted }}", "operator": "Equals", "value": "{{ target.data.kind }}"}]}
    followed = policy("attic", "ConfigMap", namespace="attic", names="attic-*", context=context, conditions=demanded)
    installed.apply(followed)
    eventually(lambda: gone(installed, "configmap", "attic-a", "-n", "attic"))
    assert exists(installed, "configmap", "attic-a")
    installed.kubectl("delete", "namespace", "attic", "--wait=false")
    installed.kubectl("delete", "configmap", "attic-a")
