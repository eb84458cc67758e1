"""The API server shows a certificate of its own to whatever it calls: admission and audit webhooks."""

import base64
import http.server
import json
import ssl
import threading
import uuid

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import options, pki
from support import waiting


class Handler(http.server.BaseHTTPRequestHandler):
    """Allows every review, takes every audit event, and remembers who brought it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        self.server.requests.append((subject["commonName"], dict(self.headers), body))
        answer = {"apiVersion": body["apiVersion"], "kind": body["kind"]}
        if "request" in body:
            answer["response"] = {"uid": body["request"]["uid"], "allowed": True}
        encoded = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Serves only clients with a certificate of an authority that is named after it began to listen."""

    daemon_threads = True

    def __init__(self, authority, directory):
        super().__init__(("127.0.0.1", 0), Handler)
        certificate, key = pki.write(authority.server("webhook", ["127.0.0.1"]), directory, "webhook")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.socket = self.context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server_port}/"
        self.ca_pem = authority.pair.certificate
        self.requests = []

    def handle_error(self, *_):
        """A client that is not trusted yet: the audit webhook calls while the cluster starts."""


@pytest.fixture(scope="module")
def called(cluster, tmp_path_factory):
    """A cluster beside the session's, with an audit webhook, and the server it calls."""
    directory = tmp_path_factory.mktemp("webhook")
    with Server(pki.Authority("test"), directory) as server:
        asked = options.Options(
            audit_level="Metadata",
            audit_log=directory / "audit.log",
            audit_webhook=options.AuditWebhook(url=server.url, ca_pem=server.ca_pem),
        )
        with localcluster.LocalCluster(asked) as other:
            assert other.url != cluster.url
            server.context.load_verify_locations(cadata=other.webhook_client_ca_pem.decode())
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield other, server
        server.shutdown()
        thread.join()


def test_admission_webhooks_see_it(called):
    cluster, server = called
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE"]}
    webhook = {
        "name": "test.kymograph.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": server.url, "caBundle": base64.b64encode(server.ca_pem).decode()},
        "rules": [rule],
    }
    configuration = {"metadata": {"name": "test"}, "webhooks": [webhook]}
    cluster.api.request("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", configuration)

    def reviewed():
        secret = {"metadata": {"name": f"secret-{uuid.uuid4().hex}"}}
        cluster.api.request("POST", "/api/v1/namespaces/default/secrets", secret)
        return {user for user, _, body in list(server.requests) if body["kind"] == "AdmissionReview"}

    assert waiting.until("the webhook is called", reviewed) == {"kube-apiserver"}


def test_the_audit_webhook_sees_it(called):
    cluster, server = called
    cluster.api.request("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "audited"}})

    def sent():
        return {
            user
            for user, _, body in list(server.requests)
            if body["kind"] == "EventList"
            and any(event.get("objectRef", {}).get("name") == "audited" for event in body["items"])
        }

    assert waiting.until("the event is sent", sent) == {"kube-apiserver"}


def test_at_metadata_level_no_body_is_audited(called):
    """And the log lies where the options say, outside of the cluster's directory."""
    cluster, _ = called
    cluster.api.request("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "plain"}})
    assert cluster.directory not in cluster.audit_log.parents

    def written():
        whole = cluster.audit_log.read_text().rpartition("\n")[0]
        events = map(json.loads, whole.splitlines())
        return [event for event in events if event.get("objectRef", {}).get("name") == "plain"]

    (event,) = waiting.until("the event is written", written)
    assert event["level"] == "Metadata"
    assert not {"requestObject", "responseObject"} & event.keys()
