"""The local control plane does what a real one does."""

import json

import pytest

from kymograph.localcluster import errors
from support import processes, waiting

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]},
}


def audit_events(log):
    """All but a last line that is half written."""
    return [json.loads(line) for line in log.read_text().rpartition("\n")[0].splitlines()]


def test_is_the_kubernetes_that_the_module_names(kubectl):
    version = json.loads(kubectl("version", "-o", "json").stdout)["serverVersion"]
    assert version["gitVersion"] == "v1.36.3"
    assert (version["major"], version["minor"]) == ("1", "36")


def test_listens_on_one_port_of_loopback_and_keeps_its_files_to_itself(cluster):
    port = int(cluster.url.removeprefix("https://127.0.0.1:"))
    assert processes.listening_addresses(list(cluster.pids.values())) == [f"0100007F:{port:04X}"]
    assert cluster.directory.stat().st_mode & 0o077 == 0
    assert cluster.etcd_socket.is_socket()


def test_a_pod_runs_and_goes(kubectl, namespace):
    """In a namespace that has its service account: until the controller manager has made it, Pods are refused."""
    account = ("serviceaccount", "default", "-n", namespace)
    waiting.until("the account exists", lambda: kubectl("get", *account, check=False).returncode == 0)
    kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(POD))
    kubectl("wait", "-n", namespace, "pod/web", "--for=jsonpath={.status.phase}=Running", "--timeout=120s")
    kubectl("delete", "-n", namespace, "pod/web", "--timeout=120s")
    assert kubectl("get", "-n", namespace, "pods", "-o", "name").stdout == ""


def test_controllers_work_and_owners_take_their_children_along(kubectl, namespace):
    kubectl("create", "-n", namespace, "deployment", "web", "--image=registry.example/web:1", "--replicas=2")
    kubectl("rollout", "-n", namespace, "status", "deployment/web", "--timeout=120s")
    kubectl("create", "-n", namespace, "job", "once", "--image=registry.example/once:1")
    kubectl("wait", "-n", namespace, "job/once", "--for=condition=Complete", "--timeout=120s")
    kubectl("delete", "-n", namespace, "deployment/web", "job/once", "--timeout=120s")
    waiting.until("no Pod is left", lambda: kubectl("get", "-n", namespace, "pods", "-o", "name").stdout == "")


def test_rbac_decides(cluster, kubectl, namespace):
    """A service account without rights is refused, and may read once it is bound to a role that may."""
    kubectl("create", "-n", namespace, "serviceaccount", "nobody")
    login = cluster.kubeconfig_for_token(cluster.create_token(namespace, "nobody"))
    refused = kubectl("get", "-n", namespace, "pods", kubeconfig=login, check=False)
    assert refused.returncode != 0
    assert f'(Forbidden): pods is forbidden: User "system:serviceaccount:{namespace}:nobody"' in refused.stderr
    subject = f"--serviceaccount={namespace}:nobody"
    kubectl("create", "-n", namespace, "rolebinding", "reader", "--clusterrole=view", subject)
    waiting.until(
        "the role binding is seen",
        lambda: kubectl("get", "-n", namespace, "pods", kubeconfig=login, check=False).returncode == 0,
    )


def test_a_token_of_an_unknown_service_account_is_refused(cluster):
    with pytest.raises(errors.RequestRefused) as refused:
        cluster.create_token("default", "unknown")
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")


def test_audit_log_has_the_bodies_of_writes(cluster, kubectl, namespace):
    kubectl("create", "-n", namespace, "configmap", "settings", "--from-literal=colour=green")

    def told():
        """An event is written when its request has been answered, or a moment later."""
        return [
            event
            for event in audit_events(cluster.audit_log)
            if (event["verb"], event.get("objectRef", {}).get("name")) == ("create", "settings")
            and event["objectRef"]["namespace"] == namespace
        ]

    (event,) = waiting.until("the event is written", told)
    assert event["stage"] == "ResponseComplete"
    assert event["requestObject"]["data"] == {"colour": "green"}
    assert event["responseObject"]["metadata"]["uid"]


def test_audit_log_leaves_out_leases_and_health_checks(cluster, kubectl):
    """Both were asked for before what the log is waited for to tell."""
    kubectl("get", "--raw", "/readyz")
    kubectl("get", "leases", "-n", "kube-node-lease")
    kubectl("get", "priorityclass", "after-the-others", check=False)

    def told():
        found = audit_events(cluster.audit_log)
        return any(each.get("objectRef", {}).get("name") == "after-the-others" for each in found) and found

    events = waiting.until("the last event is written", told)
    assert not any(event.get("objectRef", {}).get("resource") == "leases" for event in events)
    assert not any(event["requestURI"].startswith(("/readyz", "/livez", "/healthz")) for event in events)


def test_api_server_sends_its_spans(cluster, otlp, kubectl, namespace):
    """The top span of a request carries the audit id, by which the audit event finds its trace."""
    kubectl("create", "-n", namespace, "secret", "generic", "traced", "--from-literal=a=b")
    top = otlp.wait_for(
        lambda span: (
            span.attributes.get("http.request.method") == "POST"
            and span.attributes.get("url.path") == f"/api/v1/namespaces/{namespace}/secrets"
        )
    )
    assert top.service == "apiserver"
    assert top.kind == "server"
    audit_id = top.attributes["audit-id"]
    (event,) = waiting.until(
        "the event is written",
        lambda: [event for event in audit_events(cluster.audit_log) if event["auditID"] == audit_id],
    )
    assert event["objectRef"]["name"] == "traced"
    trace = otlp.wait_for_trace(top.trace_id, lambda spans: any("Txn" in span.name for span in spans))
    assert {span.trace_id for span in trace} == {top.trace_id}
