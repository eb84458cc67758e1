"""The installed operator as benchmarks see it: reviews posted as by the API server, its configuration, its counters."""

import asyncio
import base64
import functools
import json
import pathlib
import ssl
import urllib.request
from typing import Any

from benchmarks import load
from kymograph.controllers.admission import webhooks
from support import installed as support
from support import pods

PATH = f"{webhooks.FAIL_PATH}?timeout=10s"
TRACING = ("tracingconfigurations", "default")
PATIENCE = 120.0


class Target:
    """The operator under load.

    Args:
        operator: The operator, started.
        folder: Where the certificate may lie that it is called with.
    """

    def __init__(self, operator: support.Installed, folder: pathlib.Path) -> None:
        self.operator = operator
        self.pid = operator.operator.process.pid
        self._context = _as_api_server(operator, folder)

    def configure(self, spec: dict[str, Any]) -> None:
        """Have the TracingConfiguration say this, and wait until it is in force."""
        self.operator.put_in_force(spec)

    def enforce(self, policies: list[dict[str, Any]]) -> None:
        """Have these policies and no others, and wait until all of them are in force."""
        self.operator.forget_policies()
        for policy in policies:
            self.operator.apply(policy)
        for policy in policies:
            name = policy["metadata"]["name"]
            self.operator.kubectl("wait", "--for=condition=Ready", "clusterpolicy", name, "--timeout=60s")

    def post(
        self,
        review: dict[str, Any],
        concurrency: int,
        count: int,
        expected: bytes,
        *,
        traceparent: str = "",
        pace: float = 0.0,
        server: load.Process | None = None,
    ) -> load.Result:
        """Post a review again and again; see `load.run`."""
        headers = {"traceparent": traceparent} if traceparent else None
        running = functools.partial(
            load.run,
            self.operator.operator.webhook_port,
            load.request(PATH, pods.encode(review), headers),
            concurrency=concurrency,
            count=count,
            context=self._context,
            expected=expected,
            server=server,
            pace=pace,
        )
        return asyncio.run(running())

    def wait_until_exported(self) -> None:
        """Until no span of what was answered is on its way any more, however long that takes the machine."""
        support.eventually(lambda: not self.counted("telemetry_spans_pending"), PATIENCE)

    def scrape(self) -> str:
        """All metrics, in Prometheus' text format."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.operator.metrics_port}/metrics") as answer:
            text: str = answer.read().decode()
        return text

    def counted(self, metric: str, **labels: str) -> int:
        """What a scrape says of a metric, summed over all its series with some labels."""
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in self.scrape().splitlines()
            if line.startswith((f"{metric}{{", f"{metric} ")) and all(label in line for label in wanted)
        )


def _as_api_server(operator: support.Installed, folder: pathlib.Path) -> ssl.SSLContext:
    """A client context with the certificate that the API server shows to webhooks."""
    written = json.loads((operator.cluster.directory / "webhooks.kubeconfig").read_text())["users"][0]["user"]
    pair = folder / "api-server.pem"
    pair.write_bytes(b"".join(base64.b64decode(written[f"client-{part}-data"]) for part in ("certificate", "key")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(pair)
    return context
