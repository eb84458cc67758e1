"""What a chaos test needs: users who do not give up, somebody who counts outcomes, and a kubelet.

They talk to the API server on connections of their own and know nothing of the operator's insides.
"""

import collections
import dataclasses
import http.client
import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from kymograph.controllers import updaterequests
from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import errors, installation, rest

REQUESTS = "/apis/kyverno.io/v2/namespaces/kymograph/updaterequests"
WATCH = 3
"""Seconds of one watch; the next goes on where it ended."""


@dataclasses.dataclass(slots=True)
class Followed:
    """One UpdateRequest, as the watch tells of it.

    Attributes:
        about: Its policy, its rule and the uid of its trigger.
        state: Its state now.
        version: Its resourceVersion.
        since: When it was first seen, monotonic seconds.
        took: Seconds from then to its outcome; None before.
        outcomes: Versions of it that were in a final state: one each, unless something is wrong.
        removed: It is gone.
    """

    about: tuple[str, str, str]
    state: str
    version: str
    since: float
    took: float | None = None
    outcomes: int = 0
    removed: bool = False


class Outcomes:
    """Watches the UpdateRequests from its start on, through every end of the API server.

    Attributes:
        followed: All of them that ever were, by uid.
        early: Names of those that were removed before they had ended.
        gaps: How often the history was gone and they had to be listed again. What is seen then still counts: no
            request is removed within a minute, and its version tells whether it was written meanwhile.
    """

    def __init__(self, cluster: localcluster.LocalCluster) -> None:
        self.followed: dict[str, Followed] = {}
        self.early: list[str] = []
        self.gaps = -1  # the first list follows no gap
        self._port = int(cluster.url.rpartition(":")[2])
        self._context = ssl.create_default_context(cafile=cluster.directory / "ca.crt")
        self._context.load_cert_chain(cluster.directory / "admin.crt", cluster.directory / "admin.key")
        self._stop = threading.Event()
        self._listed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outcomes")

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listed.wait(60):
            self.__exit__()  # or the thread would keep the process from ending
            raise TimeoutError("the UpdateRequests cannot be listed")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def unfinished(self) -> list[Followed]:
        """Those that have not ended."""
        return [each for each in list(self.followed.values()) if not each.outcomes]

    @property
    def doubled(self) -> list[Followed]:
        """Those that were written after they had ended."""
        return [each for each in list(self.followed.values()) if each.outcomes > 1]

    @property
    def stored(self) -> list[Followed]:
        """Those that have not been removed, but for those that failed: they are kept for an hour."""
        kept = updaterequests.FAILED
        return [each for each in list(self.followed.values()) if not each.removed and each.state != kept]

    @property
    def counts(self) -> dict[str, int]:
        """How many ended how."""
        return dict(collections.Counter(each.state for each in list(self.followed.values()) if each.outcomes))

    @property
    def oldest(self) -> float:
        """The longest time from a request to its outcome, in seconds."""
        return max((each.took for each in list(self.followed.values()) if each.took is not None), default=0.0)

    def _run(self) -> None:
        version = ""
        while not self._stop.is_set():
            connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=30, context=self._context)
            try:
                if not version:
                    version = self._list(connection)
                    self.gaps += 1
                    self._listed.set()
                version = self._watch(connection, version)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(0.1)  # it is away: nothing can be written meanwhile
            finally:
                connection.close()

    def _list(self, connection: http.client.HTTPSConnection) -> str:
        connection.request("GET", REQUESTS)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        if answer.status != 200:
            raise ConnectionError(str(document))
        listed = {each["metadata"]["uid"]: each for each in document["items"]}
        for uid, each in listed.items():
            self._see(uid, each)
        for uid in [uid for uid, seen in self.followed.items() if uid not in listed and not seen.removed]:
            self._remove(uid)
        return str(document["metadata"]["resourceVersion"])

    def _watch(self, connection: http.client.HTTPSConnection, version: str) -> str:
        """Follow what happens; the version to go on from, empty where the history is gone."""
        query = f"?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH}&resourceVersion={version}"
        connection.request("GET", REQUESTS + query)
        answer = connection.getresponse()
        if answer.status == 410:
            return ""
        if answer.status != 200:
            raise ConnectionError(str(answer.status))
        try:
            for event in _events(answer):
                if event["type"] == "ERROR":
                    return ""
                metadata = event["object"]["metadata"]
                if event["type"] == "DELETED":
                    self._remove(metadata["uid"])
                elif event["type"] != "BOOKMARK":
                    self._see(metadata["uid"], event["object"])
                version = metadata["resourceVersion"]
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            time.sleep(0.1)  # cut off: goes on from the last event
        return version

    def _see(self, uid: str, document: dict[str, Any]) -> None:
        asked, now = updaterequests.read(document), time.monotonic()
        part = asked.parts[0]
        seen = self.followed.get(uid)
        if seen is None:
            about = (asked.policy, part.rule, part.trigger.uid)
            seen = self.followed[uid] = Followed(about, asked.state, "", now)
        if seen.version != asked.version:
            seen.state, seen.version = asked.state, asked.version
            if asked.state in updaterequests.FINAL or seen.outcomes:
                seen.outcomes += 1
                seen.took = seen.took or now - seen.since

    def _remove(self, uid: str) -> None:
        seen = self.followed[uid]
        seen.removed = True
        if not seen.outcomes:
            self.early.append(uid)


class Kubelet:
    """Starts processes again that have ended, a second later, but for those that are held.

    A replica that starts while the API server is away ends, and counts on that.

    Attributes:
        held: Those that stay away.
        started: How often one was started.
    """

    def __init__(self, replicas: Sequence[installation.Operator]) -> None:
        self.held: set[installation.Operator] = set()
        self.started = 0
        self._replicas = replicas
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            for replica in self._replicas:
                if replica not in self.held and replica.process.poll() is not None:
                    self.started += 1
                    replica.launch()


class Users:
    """Create objects at a pace; a request that is refused or unanswered is sent again until the object exists.

    Args:
        cluster: Where.
        path: The collection.
        documents: The objects.
        per_second: How many, as long as they are taken; 0 for as fast as can be.
        threads: How many at once.

    Attributes:
        created: How many exist.
        retries: How often a request had to be sent again.
        refusals: What the API server said then, counted.
    """

    def __init__(
        self,
        cluster: localcluster.LocalCluster,
        path: str,
        documents: Iterable[dict[str, Any]],
        per_second: float = 0.0,
        threads: int = 4,
    ) -> None:
        self.created = 0
        self.retries = 0
        self.refusals: collections.Counter[str] = collections.Counter()
        self._path = path
        self._documents = _paced(documents, per_second)
        self._turn = threading.Lock()
        self._stop = threading.Event()
        port = int(cluster.url.rpartition(":")[2])
        self._clients = [rest.Client(port, cluster.directory) for _ in range(threads)]
        self._threads = [threading.Thread(target=self._work, args=(client,)) for client in self._clients]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()

    @property
    def busy(self) -> bool:
        """Whether there is something left to create."""
        return any(thread.is_alive() for thread in self._threads)

    def _work(self, client: rest.Client) -> None:
        while not self._stop.is_set():
            with self._turn:
                document = next(self._documents, None)
            if document is None:
                return
            while not self._stop.is_set() and not self._try(client, document):
                time.sleep(0.2)

    def _try(self, client: rest.Client, document: dict[str, Any]) -> bool:
        try:
            client.request("POST", self._path, document)
        except errors.RequestRefused as refused:
            if refused.status != 409:  # otherwise a request that was not answered did reach it
                return self._again(f"{refused.status} {refused.reason}")
        except OSError:
            return self._again("no answer")
        with self._turn:
            self.created += 1
        return True

    def _again(self, why: str) -> bool:
        with self._turn:
            self.retries += 1
            self.refusals[why] += 1
        return False


def patiently(ask: Callable[[], Any], timeout: float = 60.0) -> Any:
    """What the API server answers, once it does."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ask()
        except (errors.RequestRefused, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _paced(documents: Iterable[dict[str, Any]], per_second: float) -> Iterator[dict[str, Any]]:
    began = time.monotonic()
    for number, document in zip(itertools.count(), documents, strict=False):
        if per_second:
            time.sleep(max(began + number / per_second - time.monotonic(), 0))
        yield document


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    while line := answer.readline():
        yield json.loads(line)
