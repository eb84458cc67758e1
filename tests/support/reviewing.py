"""Reviews sent past the API server, with its client certificate: what it would not send, and headers of one's own."""

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from typing import Any

from support import pods
from support.installed import Installed


def anybody() -> ssl.SSLContext:
    """A caller without a certificate, who takes any server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def api_server(installed: Installed) -> ssl.SSLContext:
    """A caller with the API server's certificate."""
    context = anybody()
    user = json.loads((installed.cluster.directory / "webhooks.kubeconfig").read_text())["users"][0]["user"]
    pair = [base64.b64decode(user[f"client-{part}-data"]).decode() for part in ("certificate", "key")]
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write("\n".join(pair))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def post(installed: Installed, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """Post to the webhook server as the API server; the status and the decoded answer."""
    request = urllib.request.Request(
        f"https://127.0.0.1:{installed.operator.webhook_port}{path}",
        data=body,
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, context=api_server(installed), timeout=30) as answer:  # noqa: S310 - ours
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def review(installed: Installed, pod: dict[str, Any], traceparent: str = "") -> dict[str, Any]:
    """The AdmissionResponse about a Pod that nobody creates."""
    metadata = pod["metadata"]
    document = pods.create(metadata["name"], metadata["namespace"])
    document["request"]["object"] = pod
    headers = {"traceparent": traceparent} if traceparent else {}
    status, answer = post(installed, "/validate/fail", pods.encode(document), **headers)
    assert status == 200, answer
    return answer["response"]
