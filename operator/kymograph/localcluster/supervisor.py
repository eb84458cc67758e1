"""The process that owns the servers of one cluster, so that none of them outlives whoever asked for them.

It runs as a script of the standard library alone (`python -I -S supervisor.py DIRECTORY`), in a session of its own,
where a Ctrl-C meant for the user's program does not reach it. It starts servers as it is told on standard input and
ends when that pipe closes, which the kernel sees to even when the other side is killed: then it stops the servers in
the reverse order of their start and removes the directory. On Linux each server is also tied to this process, so that
killing the supervisor itself leaves nothing running either.

One JSON object a line in, one out, in turn:
    {"start": NAME, "argv": [...], "environ": {...}, "log": PATH}  -> {"pid": N} or {"error": TEXT}
    {"stop": NAME}                                                    -> {"status": STATUS}
    {"ended": true}                                                   -> {"ended": {NAME: STATUS}}

It restarts no server by itself: one that ends without being told is a finding, which the caller reports.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

POLITE_SECONDS = 5.0
"""How long a server may take to end after SIGTERM before it gets SIGKILL."""

_PR_SET_PDEATHSIG = 1


def main(directory: pathlib.Path) -> None:
    """Serves commands until standard input closes or the parent is gone, then stops all and removes the directory."""
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _serve(directory, servers)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _stop(list(servers.values()))
        shutil.rmtree(directory, ignore_errors=True)


def _serve(directory: pathlib.Path, servers: dict[str, subprocess.Popen[bytes]]) -> None:
    parent = os.getppid()
    while True:
        # A fork of the parent may hold the pipe open after the parent's end: hence the look at the parent as well.
        ready, _, _ = select.select([sys.stdin.buffer], [], [], 0.5)
        if os.getppid() != parent:
            return
        if not ready:
            continue
        line = sys.stdin.buffer.readline()
        if not line:
            return
        answer = _obey(json.loads(line), directory, servers)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _obey(
    command: dict[str, Any], directory: pathlib.Path, servers: dict[str, subprocess.Popen[bytes]]
) -> dict[str, Any]:
    if "stop" in command:
        server = servers.pop(command["stop"])
        _stop([server])
        return {"status": server.returncode}
    if "start" not in command:
        return {"ended": {name: server.returncode for name, server in servers.items() if server.poll() is not None}}
    try:
        with pathlib.Path(command["log"]).open("ab") as log:
            server = subprocess.Popen(
                command["argv"],
                cwd=directory,
                env=command["environ"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # so that a wrapper script's server ends with it
                preexec_fn=_tie_to_parent,  # noqa: PLW1509 - this process has one thread
            )
    except OSError as error:
        return {"error": str(error)}
    servers[command["start"]] = server
    return {"pid": server.pid}


def _tie_to_parent() -> None:
    """Asks the kernel (Linux only) to kill this new process when the thread that made it, our only one, is gone."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _stop(servers: list[subprocess.Popen[bytes]]) -> None:
    """SIGTERM to each in the reverse order of start, waiting for it; SIGKILL to what does not end in time."""
    for server in reversed(servers):
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            _wait(server, POLITE_SECONDS)
            with contextlib.suppress(ProcessLookupError):  # usually nothing of the group is left
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(server: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
