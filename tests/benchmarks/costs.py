"""What the work of one process for a cluster costs: the process itself, and the servers that it asks.

meter = Meter(cluster, ("pods", "policyreports"))
operator.launch()
...
print(meter.costs(operator.process.pid).line(1_000))
"""

import collections
import dataclasses
import pathlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import load
from kymograph.localcluster import cluster as localcluster

WRITES = ("POST", "PATCH", "APPLY", "PUT", "DELETE", "DELETECOLLECTION")

_SERVERS = ("kube-apiserver", "etcd", "kube-controller-manager")


@dataclasses.dataclass(frozen=True, slots=True)
class Costs:
    """What was used.

    Attributes:
        seconds: By the clock on the wall.
        cpu: Seconds of CPU time of the process, since its start.
        peak: Bytes of resident memory of the process, at most.
        servers: Seconds of CPU time of the servers, by name.
        requests: Requests that the API server has answered, whoever asked, by verb and resource.
    """

    seconds: float
    cpu: float
    peak: int
    servers: Mapping[str, float]
    requests: collections.Counter[tuple[str, str]]

    @property
    def writes(self) -> dict[tuple[str, str], int]:
        """Those of the requests that changed anything."""
        return {key: number for key, number in self.requests.items() if key[0] in WRITES and number}

    def lines(self, count: int, idle: float = 0.0) -> tuple[str, str]:
        """The figures; `idle` is the CPU time that the process took, or takes, for none of the objects."""
        each = (self.cpu - idle) / count * 1e3
        servers = ", ".join(f"{name} {cpu:.1f} s" for name, cpu in self.servers.items())
        told = ", ".join(f"{number} {verb} {resource}" for (verb, resource), number in sorted(self.requests.items()))
        most = self.peak / 2**20
        return (
            f"{self.seconds:6.1f} s   {self.cpu:6.2f} s CPU, {each:5.2f} ms an object   peak {most:4.0f} MiB",
            f"  CPU of {servers}; requests: {told or 'none'}",
        )


class Meter:
    """Measures from now on.

    Args:
        cluster: Whose servers.
        about: Requests for which resources are counted.
    """

    def __init__(self, cluster: localcluster.LocalCluster, about: Sequence[str]) -> None:
        self._cluster = cluster
        self._about = frozenset(about)
        self._asked: collections.Counter[tuple[str, str]] = collections.Counter()
        self._before = self._answered()
        self._servers = {name: load.Process(cluster.pids[name]) for name in _SERVERS if name in cluster.pids}
        for server in self._servers.values():
            server.begin()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def count(self, path: str) -> int:
        """How many objects a collection has, without reading them; such a request is not counted."""
        page = self._list(path, 1)
        return len(page["items"]) + page["metadata"].get("remainingItemCount", 0)

    def read(self, path: str) -> list[dict[str, Any]]:
        """All objects of a collection; these requests are not counted either."""
        items, token = [], ""
        while True:
            page = self._list(path, 500, token)
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items

    def costs(self, pid: int) -> Costs:
        """What has been used."""
        seconds, cpu = self.seconds, load.Process(pid).used().cpu
        servers = {name: server.used().cpu for name, server in self._servers.items()}
        return Costs(seconds, cpu, peak(pid), servers, self.requests())

    def requests(self) -> collections.Counter[tuple[str, str]]:
        """Requests that were answered, but for our own."""
        return self._answered() - self._before - self._asked

    def _list(self, path: str, limit: int, token: str = "") -> dict[str, Any]:
        self._asked["LIST", path.rpartition("/")[2]] += 1
        return self._cluster.api.request("GET", f"{path}?limit={limit}" + (f"&continue={token}" if token else ""))

    def _answered(self) -> collections.Counter[tuple[str, str]]:
        counted: collections.Counter[tuple[str, str]] = collections.Counter()
        text = self._cluster.api.request("GET", "/metrics")
        for labels, number in re.findall(r"^apiserver_request_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if told["resource"] in self._about:
                counted[told["verb"], told["resource"]] += int(float(number))
        return counted


def peak(pid: int) -> int:
    """Bytes of resident memory of a process, at most."""
    status = pathlib.Path("/proc", str(pid), "status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024
