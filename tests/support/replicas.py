"""Replicas of the operator behind one Service, two as a rule, and a load that notices every wrong answer."""

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Self

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import errors, installation, rest
from support import reviewing
from support.installed import NO_PRIVILEGES, Installed, eventually, pod
from support.service import Service

LEASE = "/apis/coordination.k8s.io/v1/namespaces/kymograph/leases/kymograph"
PODS = "/api/v1/namespaces/default/pods?dryRun=All"


class Pair(Installed):
    """A cluster with two replicas, or as many as are wanted.

    Attributes:
        replicas: All of them.
    """

    def __init__(self, cluster: localcluster.LocalCluster, service: Service, replicas: int = 2) -> None:
        self.replicas = [
            installation.Operator(
                cluster,
                webhook_url=f"https://127.0.0.1:{service.port}",
                flags=["--shutdown-delay=1"],
                log=cluster.directory / f"operator-{number}.log",
            )
            for number in range(replicas)
        ]
        service.backends = self.replicas
        super().__init__(cluster, self.replicas[0])
        self.configure({"metrics": {"prometheus": {"enabled": False}}})  # processes of one host share its ports

    def protect(self) -> None:
        """Have `NO_PRIVILEGES` enforced by every replica: the leader says that it is, others may hear of it later."""
        self.enforce(NO_PRIVILEGES)
        for replica in self.replicas:
            eventually(lambda replica=replica: not self.allows(replica, pod("bad", privileged=True)))

    def allows(self, replica: installation.Operator, asked: dict) -> bool:
        """What a replica says of a Pod, asked directly."""
        return bool(reviewing.review(Installed(self.cluster, replica), asked)["allowed"])

    @contextlib.contextmanager
    def running(self) -> Iterator["Pair"]:
        """Run all while the body runs, whichever of them it stops."""
        with contextlib.ExitStack() as stack:
            for replica in self.replicas:
                replica.launch()
                stack.callback(replica.stop)
            for replica in self.replicas:
                replica.wait_ready()
            yield self

    def lease(self) -> dict:
        """The spec of the Lease."""
        return self.cluster.api.request("GET", LEASE)["spec"]

    def is_leader(self, replica: installation.Operator) -> bool:
        """Whether a replica holds the Lease."""
        return self.lease().get("holderIdentity", "").endswith(f"_{replica.health_port}")

    def leader(self) -> installation.Operator:
        """The replica that leads, or led last."""
        return eventually(lambda: next(filter(self.is_leader, self.replicas), None))

    def follower(self) -> installation.Operator:
        """The other one, or one of the others."""
        leader = self.leader()
        return next(replica for replica in self.replicas if replica is not leader)


class Load:
    """Creates Pods without pause (as dry runs), good and bad ones in turn, and judges every answer.

    Attributes:
        right: How many answers were right.
        wrong: The others, as text.
    """

    def __init__(self, cluster: localcluster.LocalCluster, threads: int = 4) -> None:
        self.right = 0
        self.wrong: list[str] = []
        self._stop = threading.Event()
        port = int(cluster.url.rpartition(":")[2])
        self._clients = [rest.Client(port, cluster.directory) for _ in range(threads)]
        self._threads = [threading.Thread(target=self._ask, args=(client,)) for client in self._clients]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        try:
            eventually(lambda: self.right >= 20 or self.wrong)
        except BaseException:
            self.__exit__()  # or the threads would keep the process from ending
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()

    def goes_on(self, answers: int = 50) -> None:
        """Wait until so many more requests were answered rightly."""
        goal = self.right + answers
        eventually(lambda: self.right >= goal or self.wrong, timeout=60)

    def _ask(self, client: rest.Client) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            bad = bool(number % 2)
            try:
                client.request("POST", PODS, pod(f"asked-{number}", privileged=bad))
                verdict = "allowed"
            except errors.RequestRefused as refused:
                verdict = str(refused)
            except OSError as error:
                verdict = json.dumps(str(error))
            if ("Privileged containers" in verdict) if bad else (verdict == "allowed"):
                self.right += 1
            else:
                self.wrong.append(verdict)
