"""The control plane that cases run against, with the operator installed and started as users do.

Scripts of cases find three commands: kubectl, its plugin `kubectl evict`, and our command line under the name of
Kyverno's.
"""

import contextlib
import os
import pathlib
import shlex
import sys
import tempfile
from collections.abc import Iterator

from conformance import api, folders, running
from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation, options

ROOT = pathlib.Path(__file__).parents[2]
_GRANTS = pathlib.Path(__file__).with_name("grants.yaml")

_COMMANDS = {
    "kyverno": f'exec {shlex.join([sys.executable, "-m", "kymograph.cli.main"])} "$@"\n',
    "kubectl-evict": """\
[ "$2" = -n ] || { echo 'usage: kubectl evict POD -n NAMESPACE' >&2; exit 2; }
kubectl create --raw "/api/v1/namespaces/$3/pods/$1/eviction" -f - <<END
{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "$1", "namespace": "$3"}}
END
""",
}


@contextlib.contextmanager
def operated(
    cluster: localcluster.LocalCluster, *, limit: float = 30.0, folder: folders.Folder | None = None
) -> Iterator[running.Runner]:
    """Install the operator into a cluster and start it; gives what runs cases there.

    Args:
        cluster: The control plane.
        limit: Seconds that no assertion waits longer than.
        folder: What the cases' folder asks for beside the standard.
    """
    asked = folder or folders.Folder()
    installation.run_kubectl(cluster, "apply", "-k", str(ROOT / "manifests"))
    for manifest in (_GRANTS, ROOT / "manifests" / "kyverno-names.yaml", *asked.definitions):
        installation.run_kubectl(cluster, "apply", "-f", str(manifest))
    with tempfile.TemporaryDirectory(prefix="conformance-home-") as home:
        environ = {
            "PATH": f"{_commands(pathlib.Path(home))}:{os.environ['PATH']}",
            "HOME": home,
            "KUBECONFIG": str(cluster.admin_kubeconfig),
            "KUBECACHEDIR": home,
        }
        with installation.Operator(cluster, flags=(*folders.STANDARD, *asked.flags)):
            yield running.Runner(api.Objects(cluster.api), environ, limit)


@contextlib.contextmanager
def started(
    *, limit: float, log: pathlib.Path | None, folder: folders.Folder | None = None
) -> Iterator[running.Runner]:
    """A control plane of its own with the operator on it; its audit is kept short, since nobody reads it."""
    with localcluster.LocalCluster(options.Options(audit_level="Metadata")) as cluster:
        try:
            with operated(cluster, limit=limit, folder=folder) as runner:
                yield runner
        finally:
            written = cluster.directory / "operator.log"
            if log is not None and written.exists():
                with log.open("ab") as kept:
                    kept.write(written.read_bytes())


def _commands(home: pathlib.Path) -> pathlib.Path:
    """Write the commands that scripts find; returns the directory."""
    directory = home / "commands"
    directory.mkdir()
    for name, text in {**_COMMANDS, "kubectl": f'exec {shlex.quote(installation.kubectl())} "$@"\n'}.items():
        command = directory / name
        command.write_text(f"#!/bin/sh\n{text}")
        command.chmod(0o755)
    return directory
