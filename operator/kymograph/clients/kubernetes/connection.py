"""How to reach the API server and who to be there: a service account in the cluster, or a kubeconfig.

Tokens, client certificates and CAs are read here. Everything else a kubeconfig may ask for (exec plugins, auth
providers) is left to the official client library, which is imported only then: it costs a second and 20 MiB.
"""

import base64
import binascii
import dataclasses
import pathlib
import ssl
import tempfile
import time
from collections.abc import Callable
from typing import Any

import yaml

from kymograph.clients.kubernetes import errors

SERVICE_ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet projects the service account of a Pod."""

TOKEN_MAX_AGE = 60.0
"""Seconds after which a projected token is read again; the kubelet replaces it well before it expires."""


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """An API server and an identity there.

    Attributes:
        server: The base URL, without a trailing slash.
        tls: The context to connect with; None for plain HTTP.
        token: Gives the bearer token of the moment, or None where certificates say who we are.
        namespace: The namespace of the identity: the operator's own.
    """

    server: str
    tls: ssl.SSLContext | None
    token: Callable[[], str | None]
    namespace: str


def in_cluster(host: str, port: str, directory: pathlib.Path = SERVICE_ACCOUNT) -> Connection:
    """The connection of a Pod's service account.

    Args:
        host: `KUBERNETES_SERVICE_HOST`.
        port: `KUBERNETES_SERVICE_PORT`.
        directory: Where token, CA and namespace are projected.

    Raises:
        ConnectionInvalid: A file of the service account is missing or unreadable.
    """
    bracketed = f"[{host}]" if ":" in host else host
    try:
        tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        namespace = (directory / "namespace").read_text().strip()
        token = _token_file(directory / "token")
        token()
    except (OSError, ssl.SSLError) as error:
        raise errors.ConnectionInvalid(f"the service account in {directory} cannot be used: {error}") from error
    return Connection(server=f"https://{bracketed}:{port}", tls=tls, token=token, namespace=namespace)


def from_kubeconfig(path: pathlib.Path) -> Connection:
    """The connection of a kubeconfig's current context.

    Raises:
        ConnectionInvalid: The file is missing, malformed, or names something it does not hold.
    """
    try:
        document = yaml.safe_load(path.read_text())
        context = _named(document, "contexts", "context", document["current-context"])
        cluster = _named(document, "clusters", "cluster", context["cluster"])
        user = _named(document, "users", "user", context["user"]) if context.get("user") else {}
        server = str(cluster["server"]).rstrip("/")
    except OSError as error:
        raise errors.ConnectionInvalid(f"kubeconfig {path}: {error.strerror}") from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise errors.ConnectionInvalid(f"kubeconfig {path}: {error}") from error
    namespace = str(context.get("namespace") or "default")
    if "exec" in user or "auth-provider" in user:
        return _from_library(path, namespace)
    try:
        tls = _tls(cluster, user, path.parent) if server.startswith("https://") else None
        token = _user_token(user, path.parent)
    except (OSError, ssl.SSLError, binascii.Error) as error:
        raise errors.ConnectionInvalid(f"kubeconfig {path}: {error}") from error
    return Connection(server=server, tls=tls, token=token, namespace=namespace)


def _named(document: dict[str, Any], listing: str, field: str, name: str) -> dict[str, Any]:
    for entry in document.get(listing) or []:
        if entry.get("name") == name:
            found = entry.get(field)
            return found if isinstance(found, dict) else {}
    raise KeyError(f"{listing} has no entry named {name!r}")


def _tls(cluster: dict[str, Any], user: dict[str, Any], base: pathlib.Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", base)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _content(user, "client-certificate", base)
    key = _content(user, "client-key", base)
    if certificate and key:
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _content(section: dict[str, Any], field: str, base: pathlib.Path) -> bytes | None:
    inline = section.get(f"{field}-data")
    if inline:
        return base64.b64decode(inline)
    named = section.get(field)
    return (base / named).read_bytes() if named else None


def _user_token(user: dict[str, Any], base: pathlib.Path) -> Callable[[], str | None]:
    if user.get("tokenFile"):
        return _token_file(base / user["tokenFile"])
    token = user.get("token")
    return lambda: token


def _token_file(path: pathlib.Path) -> Callable[[], str | None]:
    held: tuple[str, float] | None = None

    def token() -> str:
        nonlocal held
        now = time.monotonic()
        if held is None or now - held[1] > TOKEN_MAX_AGE:
            held = (path.read_text().strip(), now)
        return held[0]

    return token


def _from_library(path: pathlib.Path, namespace: str) -> Connection:
    from kubernetes.config import kube_config  # noqa: PLC0415  # see the module's docstring

    try:
        configuration = kube_config.new_client_from_config(config_file=str(path)).configuration  # type: ignore[no-untyped-call]  # ships no types
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if not configuration.verify_ssl:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)
    except Exception as error:  # the library raises whatever its plugins raise
        raise errors.ConnectionInvalid(f"kubeconfig {path}: {error}") from error

    def token() -> str | None:
        value = configuration.get_api_key_with_prefix("authorization")
        return value.removeprefix("Bearer ") if value else None

    return Connection(server=configuration.host.rstrip("/"), tls=tls, token=token, namespace=namespace)
