"""Writes kubeconfig files: one cluster, one user, everything embedded, so that a file can be copied and still works.

It only writes. Reading a user's own kubeconfig, with every way to log in that it may name, is the business of
`clients`.
"""

import base64
import pathlib
from typing import Any

import orjson

from kymograph.keypairs.issuing import KeyPair
from kymograph.localcluster import pki


def for_certificate(url: str, ca_pem: bytes, user: str, pair: KeyPair) -> dict[str, Any]:
    """A kubeconfig for a client certificate."""
    return _kubeconfig(
        url,
        ca_pem,
        user,
        {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)},
    )


def for_token(url: str, ca_pem: bytes, user: str, token: str) -> dict[str, Any]:
    """A kubeconfig for a bearer token."""
    return _kubeconfig(url, ca_pem, user, {"token": token})


def for_webhooks(pair: KeyPair) -> dict[str, Any]:
    """The kubeconfig by which the API server presents a client certificate to every admission webhook.

    The API server looks users up by the webhook's host name; the user named `*` stands for all of them.
    """
    user = {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)}
    return {"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]}


def write(path: pathlib.Path, kubeconfig: dict[str, Any]) -> pathlib.Path:
    """Writes the kubeconfig, readable by its owner only (JSON, which is YAML), and returns its path."""
    pki.write_private(path, orjson.dumps(kubeconfig, option=orjson.OPT_INDENT_2))
    return path


def _kubeconfig(url: str, ca_pem: bytes, user: str, credentials: dict[str, Any]) -> dict[str, Any]:
    name = "localcluster"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": _base64(ca_pem)}}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
