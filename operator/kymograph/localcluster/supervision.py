"""Our side of the supervisor: starts it, asks it to start servers, ends it. See `supervisor` for what it promises."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from typing import Any

import orjson

from kymograph.localcluster import errors, servers, supervisor

_PATIENCE = 90.0
"""Seconds until a supervisor that should end is killed: several times its servers' polite seconds together."""


class Supervisor:
    """Owns the servers of one cluster through a process of its own; safe to use from several threads.

    Args:
        directory: The servers' working directory, where their logs go. The supervisor removes it at its end.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pids: dict[str, int] = {"supervisor": self._process.pid}

    def start(self, server: servers.Server) -> None:
        """Starts a server; its log is `<name>.log` in the directory.

        Of our environment it gets `PATH` alone: proxies, `OTEL_*` variables and files in a home directory are meant
        for other programs.

        Raises:
            ServerFailed: It could not be started, or the supervisor is gone.
        """
        log = self.log(server.name)
        home = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._directory),
            "TMPDIR": str(self._directory),
        }
        environ = home | dict(server.environ)
        answer = self._ask({"start": server.name, "argv": server.argv, "environ": environ, "log": str(log)})
        if "error" in answer:
            raise errors.ServerFailed(server.name, 127, answer["error"])
        self.pids[server.name] = answer["pid"]

    def stop(self, name: str) -> None:
        """Stops one server, which may be started again.

        Raises:
            ServerFailed: The supervisor is gone.
        """
        self._ask({"stop": name})
        del self.pids[name]

    def check(self) -> None:
        """Looks whether all servers still run.

        Raises:
            ServerFailed: One of them ended by itself.
        """
        for name, status in self._ask({"ended": True})["ended"].items():
            raise errors.ServerFailed(name, status, errors.tail(self.log(name)))

    def log(self, name: str) -> pathlib.Path:
        """Where a server's log is."""
        return self._directory / f"{name}.log"

    def close(self) -> None:
        """Stops all servers in the reverse order of their start and removes the directory; harmless when done twice."""
        with self._turn:
            assert self._process.stdin is not None  # noqa: S101 - both are pipes, by the constructor
            assert self._process.stdout is not None  # noqa: S101 - as above
            with contextlib.suppress(OSError):  # it may be gone, with a command unread
                self._process.stdin.close()
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        with self._turn:
            assert self._process.stdin is not None  # noqa: S101 - both are pipes, by the constructor
            assert self._process.stdout is not None  # noqa: S101 - as above
            try:
                self._process.stdin.write(orjson.dumps(command) + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except (OSError, ValueError):
                line = b""
        if not line:
            raise errors.ServerFailed("supervisor", self._process.poll() or 0, "(it writes no log)")
        answer: dict[str, Any] = orjson.loads(line)
        return answer
