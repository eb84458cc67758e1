"""A real Prometheus on a free port of loopback, under the supervisor of the local cluster: it outlives no test run."""

import json
import pathlib
import re
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from kymograph.localcluster import servers, supervision

_LISTENING = re.compile(r"Listening on\W+address=(127\.0\.0\.1:\d+)")
_POLL = 0.1


class Prometheus:
    """Scrapes targets every second from the moment it is made; ready to be asked then.

    Args:
        executable: Of Prometheus.
        targets: `host:port` of each.
        scrape: Further fields of the scrape configuration: `scheme`, `tls_config`, `authorization`, ...
    """

    def __init__(self, executable: str, targets: Sequence[str], scrape: Mapping[str, object]) -> None:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="kymograph-prometheus-"))
        job = {"job_name": "test", "static_configs": [{"targets": list(targets)}], **scrape}
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [job],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        flags = (
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
            "--enable-feature=exemplar-storage",
        )
        self._supervisor = supervision.Supervisor(directory)
        try:
            self._supervisor.start(servers.Server("prometheus", (executable, *flags)))
            self.url = "http://" + self._wait("it listens", self._address, timeout=60)
            self._wait("it is ready", self._ready, timeout=60)
        except BaseException:
            self.close()
            raise

    def query(
        self, promql: str, *, until: Callable[[list[dict[str, Any]]], bool] = bool, timeout: float = 60
    ) -> list[dict[str, Any]]:
        """Asks until the answer satisfies: by default, until there is one.

        Args:
            promql: An instant query.
            until: Is asked about each answer: the elements of a vector, `{"metric": {...}, "value": [time, "1"]}`.
            timeout: Seconds.

        Raises:
            TimeoutError: No answer satisfied in time; with the last one.
        """
        answer: list[dict[str, Any]] = []

        def satisfied() -> bool:
            nonlocal answer
            answer = self.get("query", query=promql)["result"]
            return until(answer)

        try:
            self._wait(promql, satisfied, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the last answer was {answer}") from error
        return answer

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of the HTTP API: `get("targets")`, `get("query_exemplars", query=..., ...)`."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:  # noqa: S310 - our own http URL
            return json.load(answer)["data"]

    def close(self) -> None:
        self._supervisor.close()

    def _wait(self, what: str, look: Callable[[], Any], timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while not (found := look()):
            self._supervisor.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true of Prometheus within {timeout:g} s: {what}")
            time.sleep(_POLL)
        return found

    def _address(self) -> str | None:
        match = _LISTENING.search(self._supervisor.log("prometheus").read_text())
        return None if match is None else match[1]

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):  # noqa: S310 - our own http URL
                return True
        except OSError:
            return False
