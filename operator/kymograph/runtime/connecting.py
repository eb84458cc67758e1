"""Which cluster is meant where nobody said it: the one this Pod runs in, else that of the user's kubeconfig."""

import os
import pathlib
from collections.abc import Mapping

from kymograph.clients.kubernetes import connection
from kymograph.runtime import errors


def connect(kubeconfig: pathlib.Path | None, environ: Mapping[str, str]) -> connection.Connection:
    """The connection to the cluster.

    Args:
        kubeconfig: The kubeconfig that was asked for; None for the default.
        environ: Environment variables: those of a Pod, `KUBECONFIG`, `HOME`.

    Raises:
        ConnectionInvalid: The kubeconfig, or the Pod's service account, cannot be used.
        SettingsInvalid: `KUBECONFIG` leaves open which one is meant.
    """
    if kubeconfig is not None:
        return connection.from_kubeconfig(kubeconfig)
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if host and port:
        return connection.in_cluster(host, port)
    configured = environ.get("KUBECONFIG")
    if configured and os.pathsep in configured:
        raise errors.SettingsInvalid("KUBECONFIG names several files: choose one with --kubeconfig")
    default = pathlib.Path(environ.get("HOME", "/"), ".kube", "config")
    return connection.from_kubeconfig(pathlib.Path(configured) if configured else default)
