"""A start that cannot succeed ends at once with one sentence that says what to change."""

import asyncio
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.runtime import assemble, connecting, errors, identity, settings

COMMAND = [sys.executable, "-W", "error", "-m", "kymograph.cli.main", "run"]


def run(*flags, port, **environ):
    """Run the operator in a process of its own until it ends."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "OTEL_"))}
    return subprocess.run(
        [*COMMAND, f"--health-port={port}", *flags],
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def told(ended):
    """The last line of what a process said; it may have said no more of a failure than that."""
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "never awaited" not in ended.stderr, ended.stderr
    assert ended.returncode == 1
    return ended.stderr.splitlines()[-1]


def test_without_a_cluster(tmp_path, unused_tcp_port) -> None:
    """No Pod, no kubeconfig."""
    line = told(run(port=unused_tcp_port, HOME=str(tmp_path)))
    assert line.startswith("kymograph: kubeconfig")
    assert str(tmp_path / ".kube" / "config") in line


def test_with_several_kubeconfigs(unused_tcp_port) -> None:
    """kubectl merges them; we do not guess."""
    assert "KUBECONFIG names several files" in told(run(port=unused_tcp_port, KUBECONFIG=f"a{os.pathsep}b"))


def written_for(url):
    """A kubeconfig for an API server."""
    return yaml.safe_dump(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
        }
    )


def test_with_an_api_server_that_does_not_answer(tmp_path, unused_tcp_port_factory) -> None:
    """It is named, with the reason."""
    url = f"http://127.0.0.1:{unused_tcp_port_factory()}"
    path = tmp_path / "kubeconfig"
    path.write_text(written_for(url))
    line = told(run(f"--kubeconfig={path}", "--namespace=kymograph", port=unused_tcp_port_factory()))
    assert line.startswith(f"kymograph: the API server at {url}: ")


def test_with_a_health_port_that_is_taken(kubeconfig, cluster) -> None:
    """The API server's own port is surely taken."""
    port = int(cluster.url.rpartition(":")[2])
    assert f"port {port}" in told(run(f"--kubeconfig={kubeconfig}", port=port))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_with_a_client_ca_that_cannot_be_used(kubeconfig, namespace, tmp_path, unused_tcp_port, content) -> None:
    """Missing, or no PEM: never a server that admits everybody instead."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    flags = (f"--kubeconfig={kubeconfig}", f"--namespace={namespace}", f"--webhook-client-ca={path}")
    line = told(run(*flags, port=unused_tcp_port))
    assert "--webhook-client-ca" in line


def test_with_a_namespace_that_does_not_exist(kubeconfig, unused_tcp_port) -> None:
    """Its own, where its certificate is kept."""
    line = told(run(f"--kubeconfig={kubeconfig}", "--namespace=no-such-namespace", port=unused_tcp_port))
    assert "no-such-namespace" in line


def connect(monkeypatch, environ, kubeconfig=None):
    """Which way the process would log in."""
    chosen = []
    monkeypatch.setattr(connecting.connection, "in_cluster", lambda host, port: chosen.append((host, port)))
    monkeypatch.setattr(connecting.connection, "from_kubeconfig", lambda path: chosen.append(str(path)))
    connecting.connect(kubeconfig, environ)
    return chosen[0]


POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.mark.parametrize(
    ("environ", "flag", "expected"),
    [
        ({}, None, "/.kube/config"),
        ({"HOME": "/home/jane"}, None, "/home/jane/.kube/config"),
        ({"HOME": "/home/jane", "KUBECONFIG": "/k"}, None, "/k"),
        ({**POD, "KUBECONFIG": "/k"}, None, ("10.0.0.1", "443")),
        (POD, pathlib.Path("/flag"), "/flag"),
    ],
)
def test_who_we_are_is_the_flags_then_the_pods_then_the_users_business(monkeypatch, environ, flag, expected) -> None:
    """In this order."""
    assert connect(monkeypatch, environ, flag) == expected


@pytest.mark.usefixtures("logging_put_back")
def test_a_connection_that_cannot_be_used_is_a_setting(tmp_path) -> None:
    """Errors of the client's room do not leave ours."""
    missing = settings.Settings(kubeconfig=tmp_path / "missing")
    with pytest.raises(errors.SettingsInvalid) as refused:
        asyncio.run(assemble.run(missing, {}))
    assert isinstance(refused.value.__cause__, kubernetes_errors.ConnectionInvalid)


@pytest.mark.parametrize(("authority", "known"), [(pathlib.Path("/ca.pem"), True), (None, False)])
@pytest.mark.usefixtures("logging_put_back")
def test_callers_are_known_where_they_must_show_a_certificate(monkeypatch, tmp_path, authority, known) -> None:
    """To telemetry, which keeps no more traces of others than it is told to."""

    class Stop(Exception):
        pass

    def telemetry(*_, callers_known, **__):
        raise Stop(callers_known)

    monkeypatch.setattr(assemble, "Telemetry", telemetry)
    reachable = tmp_path / "kubeconfig"
    reachable.write_text(written_for("http://127.0.0.1:1"))
    with pytest.raises(Stop) as stopped:
        asyncio.run(assemble.run(settings.Settings(kubeconfig=reachable, webhook_client_ca=authority), {}))
    assert stopped.value.args == (known,)


def test_what_the_process_knows_of_itself_is_on_all_it_emits() -> None:
    """As OpenTelemetry names it; nothing that is not known."""
    known = {"POD_NAME": "web-1", "POD_UID": "u", "NODE_NAME": "n", "DEPLOYMENT_NAME": "d", "CLUSTER_NAME": "c"}
    facts = identity.facts("ours", known)
    assert facts == {
        "service.version": facts["service.version"],
        "service.namespace": "ours",
        "service.instance.id": "u",
        "k8s.namespace.name": "ours",
        "k8s.pod.name": "web-1",
        "k8s.pod.uid": "u",
        "k8s.node.name": "n",
        "k8s.deployment.name": "d",
        "k8s.cluster.name": "c",
    }
    assert "k8s.pod.name" not in identity.facts("ours", {})


def test_kopf_is_imported_without_the_client_library_which_can_be_imported_later() -> None:
    """It costs a second and 20 MiB, and few need it."""
    program = (
        "import sys\n"
        "from kymograph.runtime import kopfimport\n"
        "kopfimport.import_kopf()\n"
        "kopfimport.import_kopf()\n"
        "assert 'kopf' in sys.modules and 'kubernetes' not in sys.modules\n"
        "import kubernetes.config\n"
        "kopfimport.import_kopf()\n"
        "assert sys.modules['kubernetes'] is kubernetes\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)
