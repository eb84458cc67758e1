"""Kyverno's controllers as processes beside the local control plane: for figures of the same machine and run."""

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

from kymograph.localcluster import installation
from support import installed as support

NAMESPACE = "kyverno"
CONFIG_MAPS = ("kyverno", "kyverno-metrics")


def install(cluster: support.Installed, folder: pathlib.Path) -> None:
    """What Kyverno's controllers need to start: their definitions, in the place of ours, and their ConfigMaps."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--recursive", "-f", str(folder / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    documents = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}] + [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}}
        for name in CONFIG_MAPS
    ]
    for document in documents:
        cluster.kubectl("apply", "-f", "-", given=json.dumps(document))


@contextlib.contextmanager
def running(cluster: support.Installed, folder: pathlib.Path, name: str, *flags: str) -> Iterator[subprocess.Popen]:
    """One of its controllers, as administrator, with the settings of its chart."""
    environ = {
        "KYVERNO_NAMESPACE": NAMESPACE,
        "KYVERNO_SERVICEACCOUNT_NAME": NAMESPACE,
        "KYVERNO_DEPLOYMENT": name,
        "KYVERNO_POD_NAME": name,
        "POD_NAME": name,
        "INIT_CONFIG": CONFIG_MAPS[0],
        "METRICS_CONFIG": CONFIG_MAPS[1],
    }
    command = [
        str(folder / name),
        f"--kubeconfig={cluster.cluster.admin_kubeconfig}",
        f"--metricsPort={installation.free_port()}",
        *flags,
    ]
    with (cluster.cluster.directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **environ}
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
