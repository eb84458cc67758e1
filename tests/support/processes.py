"""Looks at processes from the outside, through /proc: who runs, and where."""

import os
import pathlib


def running(pid: int) -> bool:
    """Whether a process exists and is more than an entry that its parent has not read yet."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def working_in(directory: pathlib.Path) -> list[int]:
    """The processes whose working directory this is or, removed, was."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            where = str((entry / "cwd").readlink())
        except OSError:  # it is gone by now, or not ours
            continue
        if where.removesuffix(" (deleted)") == str(directory):
            found.append(int(entry.name))
    return found


def resident_mebibytes(pid: int) -> int:
    """The memory that a process has resident."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def listening_addresses(pids: list[int]) -> list[str]:
    """The TCP addresses that processes listen on, as /proc/net/tcp writes them (`0100007F:1F90`)."""
    sockets = set()
    for pid in pids:
        for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
            except FileNotFoundError:
                continue
    tables = [pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in sockets]
