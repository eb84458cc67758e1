"""A Kubernetes control plane on loopback: real servers, one simulated node, gone without a trace when it is stopped.

    with cluster.LocalCluster(options.Options(...)) as local:
        subprocess.run(["kubectl", "--kubeconfig", local.admin_kubeconfig, "get", "nodes"])

It refuses to be anything but throw-away: one member, no data kept over a stop, nothing listens beyond 127.0.0.1.
"""

import contextlib
import pathlib
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import orjson

from kymograph.localcluster import (
    binaries,
    configuration,
    credentials,
    errors,
    kubeconfig,
    ports,
    rest,
    servers,
    supervision,
)
from kymograph.localcluster import options as settings

_POLL = 0.02
"""Seconds between two looks at something a server is about to do: short beside what there is to wait for."""


class LocalCluster:
    """One control plane. Several may run at once, also in one process.

    Args:
        options: What it is to be like; None is the default of every option.
        found: The servers to run; None finds or builds them (`binaries.find`).
        timeout: Seconds until `start` gives up, the build of the servers not counted.

    Attributes:
        directory: Holds everything: certificates, kubeconfigs, data, logs (`<server>.log`). Removed by `stop`.
        url: `https://127.0.0.1:<port>`.
        ca_pem: The authority of the API server's certificate.
        webhook_client_ca_pem: The authority of the client certificate that the API server shows to admission and
            audit webhooks; a webhook that demands it answers nobody else.
        admin_kubeconfig: A kubeconfig in the group `system:masters`.
        audit_log: The API server's audit log: one JSON event a line.
        etcd_socket: Where etcd listens: `etcdctl --endpoints unix://<etcd_socket>`.
        api: A connection to the API server as the administrator, for a few requests.
        pids: The process of each server by name, and of their `supervisor`.

    All but `pids` exist from `start` on.
    """

    directory: pathlib.Path
    url: str
    ca_pem: bytes
    webhook_client_ca_pem: bytes
    admin_kubeconfig: pathlib.Path
    audit_log: pathlib.Path
    etcd_socket: pathlib.Path
    api: rest.Client
    _supervisor: supervision.Supervisor
    _port: ports.Reservation
    _api_server: servers.Server

    def __init__(
        self,
        options: settings.Options | None = None,
        found: servers.Binaries | None = None,
        timeout: float = 180.0,
    ) -> None:
        self._options = options or settings.Options()
        self._found = found
        self._timeout = timeout
        self._cleanup = contextlib.ExitStack()
        self._tokens = 0
        self.pids: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the servers and returns when a Pod can be created and will run.

        Raises:
            BuildError: The servers had to be built, and could not be.
            AssetsInvalid: `KUBEBUILDER_ASSETS` does not hold the servers.
            ServerFailed: A server ended while the cluster was starting.
            StartTimeout: The servers run, but the cluster is not ready in time.
        """
        found = self._found or binaries.find()
        try:
            self._start(found)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops the servers and removes the directory; harmless when the cluster does not run."""
        self._cleanup.close()
        self.pids = {}

    def stop_api_server(self) -> None:
        """Stops the API server alone, as an upgrade of it does; the other servers wait for it, its port stays ours."""
        self._port = ports.Reservation(self._port.port)
        self._cleanup.callback(self._port.release)
        self._supervisor.stop("kube-apiserver")

    def start_api_server(self) -> None:
        """Starts the API server again and returns when it is ready.

        Raises:
            ServerFailed: It ended.
            StartTimeout: It runs, but is not ready in time.
        """
        self._start_api_server(time.monotonic() + self._timeout)

    def create_token(self, namespace: str, service_account: str) -> str:
        """A token of an existing service account, good for a day: nothing renews it.

        Raises:
            RequestRefused: There is no such service account.
        """
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        spec = {"expirationSeconds": 24 * 3600}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        token: str = self.api.request("POST", path, body)["status"]["token"]
        return token

    def kubeconfig_for_token(self, token: str) -> pathlib.Path:
        """Writes a kubeconfig that logs in with the token into the directory and returns its path."""
        self._tokens += 1
        path = self.directory / f"token-{self._tokens}.kubeconfig"
        return kubeconfig.write(path, kubeconfig.for_token(self.url, self.ca_pem, "token", token))

    def _start(self, found: servers.Binaries) -> None:
        deadline = time.monotonic() + self._timeout
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="kymograph-cluster-"))
        self._supervisor = supervisor = supervision.Supervisor(self.directory)
        self._cleanup.callback(supervisor.close)
        supervisor.start(servers.etcd(found))
        self._port = ports.Reservation()
        self._cleanup.callback(self._port.release)
        self._write_files(self._port.port)
        self._wait("etcd listens", self.etcd_socket.exists, deadline)
        self._api_server = servers.kube_apiserver(found, self.directory, self._port.port, self._options)
        self.api = rest.Client(self._port.port, self.directory)
        self._cleanup.callback(self.api.close)
        self._start_api_server(deadline)
        # Started earlier, the others would take the processors from the API server and be ready no sooner.
        for server in servers.others(found, self.directory):
            supervisor.start(server)
        self.pids = supervisor.pids
        if found.kwok is not None:
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": servers.NODE}}
            self.api.request("POST", "/api/v1/nodes", node)
        # The API server makes it when it finds itself ready, which is a moment after others do.
        self._wait("the default namespace exists", lambda: self._answers("/api/v1/namespaces/default"), deadline)
        if found.kube_controller_manager is not None:
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._wait("the default service account exists", lambda: self._answers(account), deadline)
            if found.kwok is not None:
                self._wait("the node is ready", self._node_is_ready, deadline)

    def _start_api_server(self, deadline: float) -> None:
        self._supervisor.start(self._api_server)
        self._wait("the API server is ready", lambda: self._answers("/readyz"), deadline)
        self._port.release()
        self.pids = self._supervisor.pids

    def _wait(self, what: str, holds: Callable[[], bool], deadline: float) -> None:
        while not holds():
            self._supervisor.check()
            if time.monotonic() > deadline:
                log = errors.tail(self._supervisor.log("kube-apiserver"))
                raise errors.StartTimeout(f"not true after {self._timeout:g} s: {what}; kube-apiserver says:\n{log}")
            time.sleep(_POLL)

    def _write_files(self, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}"
        made = credentials.create(self.directory, self.url, self._options.audit_webhook)
        self.ca_pem, self.webhook_client_ca_pem = made.ca_pem, made.webhook_client_ca_pem
        self.admin_kubeconfig = self.directory / "admin.kubeconfig"
        self.audit_log = self._options.audit_log or self.directory / "audit.log"
        self.etcd_socket = self.directory / "etcd.sock"
        files = {
            "admission.json": configuration.admission(self.directory / "webhooks.kubeconfig"),
            "audit-policy.json": configuration.audit_policy(self._options.audit_level),
        }
        if self._options.tracing is not None:
            files["tracing.json"] = configuration.tracing(self._options.tracing)
        for name, content in files.items():
            (self.directory / name).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))

    def _answers(self, path: str) -> bool:
        try:
            self.api.request("GET", path)
        except (errors.RequestRefused, OSError):
            return False
        return True

    def _node_is_ready(self) -> bool:
        """Whether the node reports ready and the controller manager has lifted the taint it began with."""
        node = self.api.request("GET", f"/api/v1/nodes/{servers.NODE}")
        conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", ())}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")
