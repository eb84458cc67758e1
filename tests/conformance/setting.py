"""The control plane that cases run against, with the operator installed and started as users do."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

from conformance import api, running
from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation, options

ROOT = pathlib.Path(__file__).parents[2]
_GRANTS = pathlib.Path(__file__).with_name("grants.yaml")
_FLAGS = ("--exception-namespace=*", "--webhook-names=kyverno", "--config-map=kyverno/kyverno", "--omit-events=")


@contextlib.contextmanager
def operated(
    cluster: localcluster.LocalCluster, *, limit: float = 30.0, flags: Sequence[str] = ()
) -> Iterator[running.Runner]:
    """Install the operator into a cluster and start it; gives what runs cases there.

    Args:
        cluster: The control plane.
        limit: Seconds that no assertion waits longer than.
        flags: Further flags of `kymograph run`.
    """
    installation.run_kubectl(cluster, "apply", "-k", str(ROOT / "manifests"))
    for grants in (_GRANTS, ROOT / "manifests" / "kyverno-names.yaml"):
        installation.run_kubectl(cluster, "apply", "-f", str(grants))
    with tempfile.TemporaryDirectory(prefix="conformance-kubectl-") as cache:
        environ = {
            "PATH": f"{pathlib.Path(installation.kubectl()).parent}:{os.environ['PATH']}",
            "HOME": cache,
            "KUBECONFIG": str(cluster.admin_kubeconfig),
            "KUBECACHEDIR": cache,
        }
        with installation.Operator(cluster, flags=(*_FLAGS, *flags)):
            yield running.Runner(api.Objects(cluster.api), environ, limit)


@contextlib.contextmanager
def started(*, limit: float, log: pathlib.Path | None) -> Iterator[running.Runner]:
    """A control plane of its own with the operator on it; its audit is kept short, since nobody reads it."""
    with localcluster.LocalCluster(options.Options(audit_level="Metadata")) as cluster:
        try:
            with operated(cluster, limit=limit) as runner:
                yield runner
        finally:
            written = cluster.directory / "operator.log"
            if log is not None and written.exists():
                log.write_bytes(written.read_bytes())
