"""Metrics over TLS for whoever the API server lets in: a real Prometheus with its token, and who is refused."""

import datetime as dt
import json
import pathlib
import ssl
import urllib.error
import urllib.request

import pytest

from kymograph.runtime import certificates
from support.installed import ROOT, TRACING, eventually

SECRET = "metrics-tls"
BINDING = "prometheus-reads-kymograph"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> tuple[certificates.KeyPair, pathlib.Path]:
    """Who issues the certificates of the metrics, and where Prometheus finds its certificate."""
    made = certificates.issue_ca(dt.datetime.now(dt.UTC))
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_bytes(made.certificate)
    return made, path


@pytest.fixture
def guarded(installed, otlp, authority):
    """The operator with metrics over TLS, which only those may read who may get /metrics."""
    serving = certificates.issue_serving(authority[0], ["localhost"], ["127.0.0.1"], dt.datetime.now(dt.UTC))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": "kymograph", "labels": {"kymograph.dev/telemetry": "true"}},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": serving.certificate.decode(), "tls.key": serving.key.decode()},
    }
    installed.apply(secret)
    manifest = str(ROOT / "manifests" / "metrics-authorization.yaml")
    installed.kubectl("apply", "-f", manifest)
    traces = {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}
    served = {
        "enabled": True,
        "port": installed.metrics_port,
        "tls": {"certificateSecretRef": {"name": SECRET}},
        "authorization": "kubernetes",
    }
    installed.put_in_force({"traces": traces, "metrics": {"prometheus": served}})
    assert installed.conditions(*TRACING)["Accepted"]["status"] == "True"
    yield installed
    installed.put_in_force({"traces": traces})
    installed.kubectl("delete", "clusterrolebinding", BINDING, "--ignore-not-found")
    installed.kubectl("delete", "-f", manifest)
    installed.kubectl("delete", "secret", SECRET, "-n", "kymograph")


def token(installed, namespace: str, name: str) -> str:
    """A token of a ServiceAccount, which is made."""
    installed.kubectl("create", "serviceaccount", name, "-n", namespace)
    return installed.kubectl("create", "token", name, "-n", namespace).stdout.strip()


def status(installed, trusted: pathlib.Path, shown: str = "") -> int:
    """What /metrics answers to who shows a token."""
    asked = urllib.request.Request(
        f"https://127.0.0.1:{installed.metrics_port}/metrics",
        headers={"Authorization": f"Bearer {shown}"} if shown else {},
    )
    tls = ssl.create_default_context(cafile=trusted)
    try:
        with urllib.request.urlopen(asked, timeout=30, context=tls) as answer:  # noqa: S310 - our own server
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def test_prometheus_scrapes_with_its_token_and_nobody_else_does(guarded, authority, namespace, prometheus) -> None:
    """Known by the API server and permitted: 200; known: 403; not known, or no token: 401."""
    shown, other = token(guarded, namespace, "prometheus"), token(guarded, namespace, "other")
    guarded.kubectl(
        "create",
        "clusterrolebinding",
        BINDING,
        "--clusterrole=kymograph:metrics-reader",
        f"--serviceaccount={namespace}:prometheus",
    )
    trusted = authority[1]
    assert status(guarded, trusted) == 401
    # Rights that were just given, the operator's own to ask and the scraper's to read, may have to wait.
    eventually(lambda: status(guarded, trusted, "made-up") == 401)
    assert eventually(lambda: (said := status(guarded, trusted, other)) in {200, 403} and said) == 403
    eventually(lambda: status(guarded, trusted, shown) == 200)
    server = prometheus(
        [f"127.0.0.1:{guarded.metrics_port}"],
        scheme="https",
        tls_config={"ca_file": str(trusted)},
        authorization={"type": "Bearer", "credentials": shown},
    )
    server.query("up == 1")
    server.query('count(kubernetes_client_requests_total{resource_kind="Namespace"}) > 0')
    server.query("certificate_expiration_timestamp_seconds > time()")


def test_a_token_in_plaintext_is_refused_by_the_api_server(installed) -> None:
    """Authorization needs TLS."""
    served = {"metrics": {"prometheus": {"authorization": "kubernetes"}}}
    patch = json.dumps([{"op": "add", "path": "/spec", "value": served}])
    refused = installed.kubectl("patch", *TRACING, "--dry-run=server", "--type=json", "-p", patch, check=False)
    assert refused.returncode == 1
    assert "a token must not be shown in plaintext" in refused.stderr
