"""The Prometheus that tests use is a real one, which scrapes every second."""

import prometheus_client
import pytest

from support import waiting


@pytest.fixture
def target():
    registry = prometheus_client.CollectorRegistry()
    counter = prometheus_client.Counter("sheep", "Sheep counted.", registry=registry)
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
    yield f"127.0.0.1:{server.server_port}", counter
    server.shutdown()
    server.server_close()
    thread.join()


def test_scrapes_what_it_is_told(prometheus, target):
    address, counter = target
    counter.inc(3)
    started = prometheus([address])
    (series,) = started.query("sheep_total")
    assert series["metric"]["instance"] == address
    assert series["value"][1] == "3"
    counter.inc()
    started.query("sheep_total", until=lambda vector: [series["value"][1] for series in vector] == ["4"])
    waiting.until(
        "the last scrape was one that succeeded: a busy machine may miss some",
        lambda: [series["health"] for series in started.get("targets")["activeTargets"]] == ["up"],
    )


def test_an_answer_that_never_comes_is_an_error(prometheus):
    started = prometheus([])
    with pytest.raises(TimeoutError, match=r"no_such_metric; the last answer was \[\]"):
        started.query("no_such_metric", timeout=0.2)
