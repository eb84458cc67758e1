"""The command lines of the servers: what each is told by flags, and why where it differs from a real cluster.

Only the API server listens on a port. etcd listens on sockets in the cluster's directory, which nobody else may open;
the controller manager, the scheduler and kwok listen nowhere.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from kymograph.localcluster import credentials, options

NODE = "kwok-node-0"
"""The node that every cluster with kwok has."""

STAGES = pathlib.Path(__file__).with_name("stages.yaml")


@dataclasses.dataclass(frozen=True, slots=True)
class Binaries:
    """How each server is run: the beginning of its command line; None for one that is not there to run.

    A cluster can do without the last three: then nothing is scheduled, no Pod runs, no owner's children are
    collected, and Pods need no service account.
    """

    etcd: tuple[str, ...]
    kube_apiserver: tuple[str, ...]
    kube_controller_manager: tuple[str, ...] | None
    kube_scheduler: tuple[str, ...] | None
    kwok: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server to start.

    Attributes:
        name: Its log is called after it.
        argv: Its command line.
        environ: Variables it is given beside `PATH`; it inherits no others (see `supervision.Supervisor.start`).
    """

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)


def etcd(binaries: Binaries) -> Server:
    """A single member whose data need not survive the machine.

    It checks that peer and advertised URLs have a port, takes host and port of a `unix:` URL for a file name in its
    working directory, and is happy.
    """
    peer = "unix://etcd-peer.sock:0"
    return Server(
        "etcd",
        (
            *binaries.etcd,
            "--name=localcluster",
            "--data-dir=etcd",
            "--listen-client-urls=unix://etcd.sock",
            "--advertise-client-urls=unix://etcd.sock:0",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=localcluster={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
    )


def kube_apiserver(binaries: Binaries, directory: pathlib.Path, port: int, wanted: options.Options) -> Server:
    """The API server: TLS, node and RBAC authorisers, audit, and tracing where asked for."""
    flags = [
        "--etcd-servers=unix://etcd.sock",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--permit-port-sharing",  # `ports` holds the port until this server has it
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # Endpoints refuse loopback addresses
        f"--tls-cert-file={directory}/kube-apiserver.crt",
        f"--tls-private-key-file={directory}/kube-apiserver.key",
        f"--client-ca-file={directory}/ca.crt",
        f"--service-account-key-file={directory}/service-account.key",
        f"--service-account-signing-key-file={directory}/service-account.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={credentials.SERVICE_NETWORK}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        f"--admission-control-config-file={directory}/admission.json",
        f"--audit-policy-file={directory}/audit-policy.json",
        f"--audit-log-path={wanted.audit_log or directory / 'audit.log'}",
    ]
    if binaries.kube_controller_manager is None:
        flags.append("--disable-admission-plugins=ServiceAccount")  # nobody would make the accounts it asks for
    if wanted.tracing is not None:
        flags.append(f"--tracing-config-file={directory}/tracing.json")
    if wanted.audit_webhook is not None:
        flags += [
            f"--audit-webhook-config-file={directory}/audit-webhook.kubeconfig",
            "--audit-webhook-batch-max-wait=200ms",  # 30 s by default: too long to look at
            "--audit-webhook-batch-throttle-enable=false",  # 10 batches/s by default: too slow for load
            "--audit-webhook-initial-backoff=500ms",
        ]
    # The OpenTelemetry SDK holds spans back for 5 s by default, which is long for whoever looks at them.
    environ = {"OTEL_BSP_SCHEDULE_DELAY": "200"}
    return Server("kube-apiserver", (*binaries.kube_apiserver, *flags, *wanted.apiserver_flags), environ)


def others(binaries: Binaries, directory: pathlib.Path) -> Sequence[Server]:
    """The servers that are clients of the API server, as far as there are binaries for them."""
    unthrottled = ("--kube-api-qps=1000", "--kube-api-burst=2000")  # 20/s by default: a minute for a large workload
    quiet = ("--secure-port=0", "--leader-elect=false")
    found = []
    if binaries.kube_controller_manager is not None:
        argv = (
            *binaries.kube_controller_manager,
            f"--kubeconfig={directory}/kube-controller-manager.kubeconfig",
            f"--root-ca-file={directory}/ca.crt",
            f"--service-account-private-key-file={directory}/service-account.key",
            f"--cluster-signing-cert-file={directory}/ca.crt",
            f"--cluster-signing-key-file={directory}/ca.key",
            "--use-service-account-credentials",  # so that each controller has its own name in the audit log
            *quiet,
            *unthrottled,
        )
        found.append(Server("kube-controller-manager", argv))
    if binaries.kube_scheduler is not None:
        identity = f"--kubeconfig={directory}/kube-scheduler.kubeconfig"
        found.append(Server("kube-scheduler", (*binaries.kube_scheduler, identity, *quiet, *unthrottled)))
    if binaries.kwok is not None:
        argv = (
            *binaries.kwok,
            f"--kubeconfig={directory}/kwok.kubeconfig",
            f"--config={STAGES}",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=40",
            "--cidr=10.244.0.0/16",
            "--node-ip=10.0.0.1",
        )
        found.append(Server("kwok", argv))
    return found
