"""A scrape with every metric in it, under both names, and one that a Prometheus can fetch."""

import asyncio
import functools
import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from kymograph.telemetry import cells, families, metricsettings, providers, settings


class Nowhere:
    """Delivers nothing."""

    def export(self, items: object) -> None:
        """Take them."""

    def shutdown(self) -> None:
        """Nothing is open."""


def filled(prefix: str) -> providers.Telemetry:
    """Telemetry in which everything has happened once, and every metric with labels is at its limit of series."""
    made = providers.Telemetry(
        lambda _, subject: (str(subject), {}),
        facts={"service.instance.id": "i"},
        environ={},
        make_exporter=lambda _: Nowhere(),
    )
    least = metricsettings.LEAST_CARDINALITY_LIMIT
    shown = {"prefix": prefix, "byNamespace": True, "cardinalityLimit": least}
    second = {"name": "second", "endpoint": "second.example:4317"}
    asyncio.run(made.apply(settings.from_spec({"metrics": shown, "traces": {"additional": [second]}})))
    instruments = made.instruments
    for family in (getattr(instruments, name) for name in instruments.__slots__):
        if isinstance(family, cells.Counter | cells.Histogram):
            for number in range(least + 1 if family.about.labels else 1):
                cell = family.bind(values(family.about.labels, number))
                cell.record(0.1) if isinstance(cell, cells.HistogramCell) else cell.add()
        elif isinstance(family, families.Info):
            family.observe(lambda family=family: [values(family.about.labels, 0)])
        elif isinstance(family, families.Gathered):
            family.observe(lambda family=family: [(values(family.about.labels, 0), 1)])
    return made


def values(labels: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Label values that dashboards and rules look for; in all others the number, which makes the series another."""
    looked_for = {
        "request_allowed": "true" if number % 2 else "false",
        "rule_result": "error" if number % 2 else "fail",
        "rule_execution_cause": "background_scan",
        "policy_validation_mode": "audit" if number % 3 else "enforce",
        "dry_run": "false",
        "status_ready": "false",
        "state": "Failed",
        "status_code": "500",
        "outcome": "failure",
        "policy_severity": "high",
        "policy_type": "cluster",
        "name": "kymograph",
    }
    return tuple(looked_for.get(label) or f"{label}-{number}" for label in labels)


@pytest.fixture(scope="session")
def telemetry() -> Iterator[dict[str, providers.Telemetry]]:
    """By `metrics.prefix`."""
    made = {prefix: filled(prefix) for prefix in metricsettings.PREFIXES}
    yield made
    for each in made.values():
        asyncio.run(each.shutdown(1))


@pytest.fixture
def target() -> Iterator[Callable[[providers.Telemetry], str]]:
    """Serves a scrape, rendered once: with so many series that takes a busy machine longer than scrapers wait.

    Gives host and port.
    """
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(scraped: providers.Telemetry) -> str:
        @functools.cache
        def render(accept: str) -> tuple[bytes, str]:
            scrape = scraped.prometheus.scrape(accept)
            return b"".join(scrape.pieces), scrape.content_type

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body, content_type = render(self.headers.get("Accept", ""))
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()
