"""How to reach the API server and who to be there: a service account in the cluster, or a kubeconfig.

Tokens, client certificates and CAs are read here. Exec plugins and auth providers are left to the official client
library, which is imported only then: it costs a second and 20 MiB. What would send us elsewhere or make us somebody
else (a proxy, another server name, impersonation, a password) is refused by name, never silently left out. Token files
are read again while the process runs, certificates are not.
"""

import base64
import dataclasses
import logging
import pathlib
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from kymograph.clients.kubernetes import errors
from kymograph.keypairs import presenting

logger = logging.getLogger(__name__)

SERVICE_ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet projects the service account of a Pod."""

TOKEN_MAX_AGE = 60.0
"""Seconds after which a projected token is read again; the kubelet replaces it well before it expires."""

_REFUSED_OF_CLUSTERS = ("proxy-url", "tls-server-name")
_REFUSED_OF_USERS = ("as", "as-uid", "as-groups", "as-user-extra", "username")


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """An API server and an identity there.

    Attributes:
        server: The base URL, `http` or `https`, perhaps with a path, without a trailing slash.
        tls: The context to connect with; None for plain HTTP.
        token: Gives the bearer token of the moment, or None where certificates say who we are; raises OSError where it
            cannot be had.
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
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise errors.ConnectionInvalid(f"the service account in {directory} cannot be used: {error}") from error
    return Connection(server=f"https://{bracketed}:{port}", tls=tls, token=token, namespace=namespace)


def from_kubeconfig(path: pathlib.Path, context: str = "") -> Connection:
    """The connection of a context of a kubeconfig.

    Args:
        path: The file.
        context: The name of the context; empty for the current one.

    Raises:
        ConnectionInvalid: The file is missing, malformed, names something it does not hold or that cannot be read, or
            asks for what is refused here.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.ConnectionInvalid(f"kubeconfig {path}: {error.strerror}") from error
    try:
        return _of_context(content, path, context)
    except (OSError, ValueError, yaml.YAMLError) as error:  # SSLError is an OSError
        raise errors.ConnectionInvalid(f"kubeconfig {path}: {error}") from error


def _of_context(content: bytes, path: pathlib.Path, chosen: str) -> Connection:
    document = yaml.safe_load(content)
    if not isinstance(document, dict):
        raise ValueError("it is no YAML object")  # noqa: TRY004  # malformed like everything else here
    current = chosen or document.get("current-context")
    context = _named(document, "contexts", "context", current, "the context" if chosen else "current-context")
    cluster = _named(document, "clusters", "cluster", context.get("cluster"), "the context's cluster")
    user = _named(document, "users", "user", context["user"], "the context's user") if context.get("user") else {}
    _refuse(cluster, _REFUSED_OF_CLUSTERS, "cluster")
    _refuse(user, _REFUSED_OF_USERS, "user")
    server = str(cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise ValueError(f"the cluster's server must be an http or https URL, not {server!r}")
    namespace = str(context.get("namespace") or "default")
    if "exec" in user or "auth-provider" in user:
        return _from_library(path, chosen or None, namespace)
    tls = _tls(cluster, user, path.parent) if server.startswith("https://") else None
    token = _user_token(user, path.parent)
    token()
    return Connection(server=server, tls=tls, token=token, namespace=namespace)


def _named(document: dict[str, Any], listing: str, field: str, name: Any, what: str) -> dict[str, Any]:
    if not name:
        raise ValueError(f"{what} is not set")
    entries = document.get(listing)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(field)
            return found if isinstance(found, dict) else {}
    raise ValueError(f"{what} is {name!r}, which {listing} does not hold")


def _refuse(section: dict[str, Any], fields: Iterable[str], what: str) -> None:
    for field in fields:
        if section.get(field):
            raise ValueError(f"{field} of the {what} is not supported")


def _tls(cluster: dict[str, Any], user: dict[str, Any], base: pathlib.Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", base)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _content(user, "client-certificate", base)
    key = _content(user, "client-key", base)
    if bool(certificate) != bool(key):
        raise ValueError("client-certificate and client-key of the user must be given together")
    if certificate and key:
        presenting.present(context, certificate, key)
    return context


def _content(section: dict[str, Any], field: str, base: pathlib.Path) -> bytes | None:
    inline = section.get(f"{field}-data")
    if inline:
        return base64.b64decode("".join(str(inline).split()), validate=True)
    named = section.get(field)
    return (base / str(named)).read_bytes() if named else None


def _user_token(user: dict[str, Any], base: pathlib.Path) -> Callable[[], str | None]:
    if user.get("tokenFile"):
        return _token_file(base / str(user["tokenFile"]))
    token = str(user.get("token") or "") or None
    return lambda: token


def _token_file(path: pathlib.Path) -> Callable[[], str | None]:
    held: tuple[str, float] | None = None

    def token() -> str:
        nonlocal held
        now = time.monotonic()
        if held is None or now - held[1] > TOKEN_MAX_AGE:
            try:
                held = (path.read_text().strip(), now)
            except OSError:
                if held is None:
                    raise
                logger.warning("The token cannot be read again, the one held is used: %s", path)
        return held[0]

    return token


def _from_library(path: pathlib.Path, chosen: str | None, namespace: str) -> Connection:
    """What the library makes of a kubeconfig. It runs an exec plugin again, and waits for it, when a token expires."""
    from kubernetes.config import kube_config  # noqa: PLC0415  # see the module's docstring

    try:
        client = kube_config.new_client_from_config(config_file=str(path), context=chosen)  # type: ignore[no-untyped-call]  # ships no types
        configuration = client.configuration
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if not configuration.verify_ssl:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)
    except Exception as error:  # the library raises whatever its plugins raise
        raise errors.ConnectionInvalid(f"kubeconfig {path}: {error}") from error

    def token() -> str | None:
        try:
            value = configuration.get_api_key_with_prefix("BearerToken")
        except Exception as error:  # as above; callers of a token know what to do about files and processes
            raise OSError(f"the kubeconfig's plugin gives no token: {error}") from error
        return value.removeprefix("Bearer ") if value else None

    if not configuration.cert_file and not token():  # the library logs what went wrong, and goes on as nobody
        raise ValueError("the plugin of the user gives neither a token nor a certificate")
    return Connection(server=configuration.host.rstrip("/"), tls=tls, token=token, namespace=namespace)
