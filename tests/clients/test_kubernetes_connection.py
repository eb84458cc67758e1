"""Kubeconfigs and service accounts: whatever they hold that we take works, whatever we do not take is refused."""

import base64
import json
import ssl
import stat
import sys

import pytest
import yaml

from kymograph.clients.kubernetes import connection, errors, resources
from support import waiting


@pytest.fixture
def write(tmp_path):
    """Write a kubeconfig of one cluster and one user, changed as a test needs it."""

    def make(cluster=None, user=None, context=None, **top):
        document = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": context or {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster or {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": user or {}}],
            **top,
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    return make


@pytest.fixture
def admin(kubeconfig):
    """Cluster and user of the administrator's kubeconfig, with everything inline."""
    document = yaml.safe_load(kubeconfig.read_text())
    return document["clusters"][0]["cluster"], document["users"][0]["user"]


async def works(connect, connected) -> bool:
    """Whether the API server takes us for somebody who may read namespaces."""
    document = await connect(connected).get(resources.NAMESPACES, "default")
    return document["metadata"]["name"] == "default"


async def test_inline_certificates_log_in(connect, write, admin) -> None:
    """certificate-authority-data, client-certificate-data, client-key-data; also folded over lines, as YAML may."""
    cluster, user = admin
    folded = {key: "\n".join([value[:64], value[64:]]) for key, value in user.items()}
    assert await works(connect, connection.from_kubeconfig(write(cluster, user)))
    assert await works(connect, connection.from_kubeconfig(write(cluster, folded)))


async def test_files_are_found_beside_the_kubeconfig(connect, write, admin, tmp_path) -> None:
    """Relative paths begin at the kubeconfig's folder."""
    cluster, user = admin
    for name, content in {
        "ca.pem": cluster["certificate-authority-data"],
        "me.pem": user["client-certificate-data"],
        "me.key": user["client-key-data"],
    }.items():
        (tmp_path / name).write_bytes(base64.b64decode(content))
    path = write(
        {"server": cluster["server"] + "/", "certificate-authority": "ca.pem"},
        {"client-certificate": "me.pem", "client-key": "me.key"},
    )
    assert await works(connect, connection.from_kubeconfig(path))


@pytest.fixture
def reader(cluster, kubectl, namespace):
    """The token of a service account of the test's own that may read namespaces; other tests' may not for that."""
    account, binding = f"system:serviceaccount:{namespace}:reader", f"reader-of-{namespace}"
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    kubectl("create", "clusterrolebinding", binding, "--clusterrole=view", f"--user={account}")
    may = ("auth", "can-i", "get", "namespaces/default", f"--as={account}")
    waiting.until("the binding is in force", lambda: kubectl(*may, check=False).returncode == 0)
    yield cluster.create_token(namespace, "reader")
    kubectl("delete", "clusterrolebinding", binding)


async def test_tokens_log_in_inline_and_from_a_file(connect, reader, write, admin, tmp_path) -> None:
    """A service account's token."""
    (tmp_path / "token").write_text(f"{reader}\n")
    assert await works(connect, connection.from_kubeconfig(write(admin[0], {"token": reader})))
    assert await works(connect, connection.from_kubeconfig(write(admin[0], {"tokenFile": "token"})))
    assert await works(connect, connection.from_kubeconfig(write(admin[0], exec_plugin(tmp_path, reader))))


def exec_plugin(directory, token) -> dict:
    """The user of a kubeconfig that runs a program to log in, as those of cloud providers do."""
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    }
    program = directory / "login"
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(credential)!r})\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(program),
            "interactiveMode": "Never",
        }
    }


def test_an_exec_plugin_that_fails_is_named(write, admin, tmp_path) -> None:
    """The official library runs it; what it raises is ours to tell."""
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(tmp_path / "missing")}}
    with pytest.raises(errors.ConnectionInvalid, match="kubeconfig"):
        connection.from_kubeconfig(write(admin[0], user))


async def test_certificates_may_be_left_unverified(connect, write, admin) -> None:
    """insecure-skip-tls-verify is the user's decision; without it a server of another CA is not talked to."""
    cluster, user = admin
    server = {"server": cluster["server"]}
    careless = connection.from_kubeconfig(write({**server, "insecure-skip-tls-verify": True}, user))
    assert await works(connect, careless)
    with pytest.raises(errors.Unreachable, match="ertificate"):
        await works(connect, connection.from_kubeconfig(write(server, user)))


def test_plain_http_has_no_tls_and_a_namespace_is_the_contexts(write) -> None:
    """`default` where the context names none; digits for a token are text all the same."""
    plain = connection.from_kubeconfig(write(user={"token": 1234}))
    assert (plain.tls, plain.token(), plain.namespace, plain.server) == (None, "1234", "default", "http://127.0.0.1:1")
    named = connection.from_kubeconfig(write(context={"cluster": "c", "namespace": "ours"}))
    assert (named.namespace, named.token()) == ("ours", None)


HTTPS = {"server": "https://127.0.0.1:1"}
BASE64 = base64.b64encode(b"no certificate").decode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"current-context": None}, "current-context is not set"),
        ({"current-context": "there"}, "current-context is 'there', which contexts does not hold"),
        ({"contexts": "here"}, "contexts does not hold"),
        ({"contexts": ["here"]}, "contexts does not hold"),
        ({"context": {"user": "u"}}, "the context's cluster is not set"),
        ({"context": {"cluster": "c", "user": "other"}}, "the context's user is 'other'"),
        ({"cluster": {"server": "127.0.0.1:8080"}}, "must be an http or https URL"),
        ({"cluster": {**HTTPS, "certificate-authority-data": "%%"}}, "kubeconfig"),
        ({"cluster": {**HTTPS, "certificate-authority-data": BASE64}}, "kubeconfig"),
        ({"cluster": {**HTTPS, "certificate-authority-data": base64.b64encode(b"\xff").decode()}}, "kubeconfig"),
        ({"cluster": {**HTTPS, "certificate-authority": "missing.pem"}}, "missing.pem"),
        ({"cluster": HTTPS, "user": {"client-certificate-data": BASE64}}, "must be given together"),
        ({"cluster": HTTPS, "user": {"client-certificate-data": BASE64, "client-key-data": BASE64}}, "kubeconfig"),
        ({"user": {"tokenFile": "missing"}}, "missing"),
        ({"cluster": {**HTTPS, "proxy-url": "http://proxy:3128"}}, "proxy-url of the cluster is not supported"),
        ({"cluster": {**HTTPS, "tls-server-name": "other"}}, "tls-server-name of the cluster is not supported"),
        ({"user": {"as": "root"}}, "as of the user is not supported"),
        ({"user": {"username": "jane", "password": "x"}}, "username of the user is not supported"),
    ],
)
def test_a_kubeconfig_that_cannot_be_followed_is_refused_with_the_reason(write, changes, reason) -> None:
    """Never somebody else, never somewhere else, never a stack trace."""
    with pytest.raises(errors.ConnectionInvalid) as refused:
        connection.from_kubeconfig(write(**changes))
    assert reason in str(refused.value)
    assert "kubeconfig" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"text", b"{", b"\x00", b"\xff\xfe\xff"])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path, content) -> None:
    """Empty, a list, no YAML, no text."""
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    with pytest.raises(errors.ConnectionInvalid):
        connection.from_kubeconfig(path)


def test_a_file_that_is_missing_is_named(tmp_path) -> None:
    """The path is what the user has to look at."""
    with pytest.raises(errors.ConnectionInvalid, match="none"):
        connection.from_kubeconfig(tmp_path / "none")


@pytest.fixture
def service_account(cluster, tmp_path):
    """The folder that the kubelet projects into a Pod."""
    (tmp_path / "ca.crt").write_bytes(cluster.ca_pem)
    (tmp_path / "token").write_text(cluster.create_token("default", "default"))
    (tmp_path / "namespace").write_text("default\n")
    return tmp_path


async def test_a_service_account_logs_in(connect, cluster, service_account) -> None:
    """It is known to the API server, if without rights."""
    host, _, port = cluster.url.removeprefix("https://").partition(":")
    connected = connection.in_cluster(host, port, service_account)
    assert (connected.server, connected.namespace) == (cluster.url, "default")
    with pytest.raises(errors.Forbidden, match="system:serviceaccount:default:default"):
        await works(connect, connected)


def test_an_address_of_version_6_is_bracketed(service_account) -> None:
    """As URLs want it."""
    assert connection.in_cluster("fd00::1", "443", service_account).server == "https://[fd00::1]:443"


@pytest.mark.parametrize("name", ["ca.crt", "token", "namespace"])
def test_a_service_account_without_one_of_its_files_is_refused(service_account, name) -> None:
    """At the start, not at the first call."""
    (service_account / name).unlink()
    with pytest.raises(errors.ConnectionInvalid, match="service account"):
        connection.in_cluster("127.0.0.1", "1", service_account)


def test_a_projected_token_is_read_again(service_account, monkeypatch) -> None:
    """The kubelet replaces it; while it cannot be read, the one held is as good as any."""
    token = connection.in_cluster("127.0.0.1", "1", service_account).token
    file = service_account / "token"
    first = token()
    file.write_text("second\n")
    assert token() == first
    monkeypatch.setattr(connection, "TOKEN_MAX_AGE", -1.0)
    assert token() == "second"
    file.unlink()
    assert token() == "second"
    file.write_text("third")
    assert token() == "third"


def test_tls_of_a_service_account_verifies_the_server(service_account) -> None:
    """By the cluster's own CA, and by name."""
    tls = connection.in_cluster("127.0.0.1", "1", service_account).tls
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
