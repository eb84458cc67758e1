"""Requests to the webhook server are counted and timed with the whole of their handling, by how they were answered."""

import asyncio
import itertools

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.controllers.admission import httpmetrics, server
from kymograph.telemetry import cells, instruments

REQUEST = server.Request("/validate/fail", b"{}", 0)


@pytest.fixture
def registry():
    return cells.Cells(InstrumentationScope("test"), lambda: 0)


@pytest.fixture
def counted(registry):
    ticks = itertools.count(0, 250_000_000)

    async def later(http):
        await asyncio.sleep(0)
        return server.Response(400, b"")

    routes = {"/validate/fail": lambda http: b"{}", "/later": later}
    return httpmetrics.CountedRoutes(routes, instruments.declare(registry), lambda: next(ticks))


def points(registry, name):
    found = (metric for metric in registry.read() if metric.name == name)
    return {tuple(each.attributes.values()): each for metric in found for each in metric.data.data_points}


def test_an_answer_given_at_once_is_counted_and_passed_on(registry, counted):
    assert counted["/validate/fail"](REQUEST) == b"{}"
    assert points(registry, "http_requests")["POST", "/validate/fail"].value == 1
    assert points(registry, "http_requests_duration_seconds")["POST", "/validate/fail"].sum == 0.25
    assert points(registry, "http_server_request_duration_seconds").keys() == {("POST", "/validate/fail", "200")}


async def test_an_answer_that_takes_time_is_timed_to_its_end(registry, counted):
    answer = await counted["/later"](REQUEST._replace(path="/later"))
    assert answer.status == 400
    assert points(registry, "http_server_request_duration_seconds")["POST", "/later", "400"].count == 1


def test_a_path_that_is_not_served_is_none(counted):
    assert (set(counted), len(counted), counted.get("/elsewhere")) == ({"/validate/fail", "/later"}, 2, None)


class Below(dict):
    """A route that serves whatever stands below it."""

    def __missing__(self, path):
        return self["/validate/fail"]


def test_what_clients_write_below_a_webhook_is_one_route(registry):
    counted = httpmetrics.CountedRoutes(Below({"/validate/fail": lambda http: b"{}"}), instruments.declare(registry))
    for number in range(1_000):
        path = f"/validate/fail/finegrained/{number}"
        counted[path](REQUEST._replace(path=path))
    counted["/validate/fail"](REQUEST)
    served = {key: point.value for key, point in points(registry, "http_requests").items()}
    assert served == {("POST", "/validate/fail/finegrained/{policy}"): 1_000, ("POST", "/validate/fail"): 1}
