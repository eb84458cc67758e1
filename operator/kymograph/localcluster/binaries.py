"""Where the servers come from: `KUBEBUILDER_ASSETS` where it is set, or else the binary that `build` makes."""

import os
import pathlib
from collections.abc import Mapping
from typing import TextIO

from kymograph.localcluster import build, errors, servers

ASSETS = "KUBEBUILDER_ASSETS"


def find(environ: Mapping[str, str] = os.environ, out: TextIO | None = None) -> servers.Binaries:
    """Finds the servers, building them if need be.

    A directory of assets must hold `etcd` and `kube-apiserver`. What it holds of `kube-controller-manager`,
    `kube-scheduler` and `kwok` is used too; the usual one holds none of them, and then no Pod is ever scheduled.

    Args:
        environ: Names the directory of assets, or the cache and the PATH that `go` is searched on.
        out: Where the build shows its progress; None is standard error.

    Raises:
        AssetsInvalid: The directory of assets lacks a server that no cluster can be without.
        BuildError: The servers could not be built.
    """
    if directory := environ.get(ASSETS):
        return _in_directory(pathlib.Path(directory))
    binary = str(build.binary(environ, out=out))
    return servers.Binaries(
        etcd=(binary, "etcd"),
        kube_apiserver=(binary, "kube-apiserver"),
        kube_controller_manager=(binary, "kube-controller-manager"),
        kube_scheduler=(binary, "kube-scheduler"),
        kwok=(binary, "kwok"),
    )


def _in_directory(directory: pathlib.Path) -> servers.Binaries:
    found = {path.name: (str(path),) for path in directory.glob("*") if os.access(path, os.X_OK)}
    try:
        return servers.Binaries(
            etcd=found["etcd"],
            kube_apiserver=found["kube-apiserver"],
            kube_controller_manager=found.get("kube-controller-manager"),
            kube_scheduler=found.get("kube-scheduler"),
            kwok=found.get("kwok"),
        )
    except KeyError as missing:
        raise errors.AssetsInvalid(f"{ASSETS} is {directory}, which has no executable {missing}") from missing
