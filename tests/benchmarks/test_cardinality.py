"""A cluster of 6,000 namespaces: what the metrics hold and what a scrape weighs does not depend on how many there are.

Unless namespaces are asked for, nothing of them is in a scrape; where they are, the limit bounds it. Kyverno keeps a
series of each of its metrics for each namespace, kind, operation and rule until it is restarted.
"""

import asyncio
import collections
import time
import tracemalloc

import pytest

from kymograph.runtime import scrapes
from kymograph.telemetry import memory, providers, settings
from kymograph.telemetry.instruments import labels
from support import alone

NAMESPACES = 6_000
POLICIES = 17
LIMIT = 2_000
SMALL = 256 * 1024
"""Bytes of a scrape by which nobody is troubled."""

SLACK = 1.5
"""How much more than so many series may cost what the namespaces set off: overflow series, and the books of both."""


def reviewed(telemetry, number: int) -> None:
    """Count a review of 17 policies in one namespace."""
    counted = telemetry.instruments
    namespace = f"team-{number}"
    review = labels.Review("Pod", namespace, "create", "true", "ValidatingWebhookConfiguration")
    counted.admission_requests.bind(review).add()
    counted.admission_review_duration.bind(review).record(0.003)
    for each in range(POLICIES):
        rule = labels.Rule(
            *("enforce", "cluster", "true", "-", f"policy-{each}", "Pod", namespace),
            *("create", "rule", "pass", "validate", "admission_request", "false"),
        )
        counted.policy_results.bind(rule).add()
        counted.policy_execution_duration.bind(rule).record(0.0001)


def weighed(namespaces: int, limit: int, shown: dict[str, object]) -> tuple[int, int, int, float]:
    """Bytes held, bytes of a scrape, what it holds of them at most, and its milliseconds, in so many namespaces."""
    return asyncio.run(_weighed(namespaces, limit, shown))


async def _weighed(namespaces: int, limit: int, shown: dict[str, object]) -> tuple[int, int, int, float]:
    telemetry = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={}, environ={})
    await telemetry.apply(settings.from_spec({"metrics": {"cardinalityLimit": limit, **shown}}))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(namespaces):
        reviewed(telemetry, number)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    began = time.perf_counter()
    body = sum(map(len, telemetry.prometheus.scrape().pieces))
    took = (time.perf_counter() - began) * 1e3
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    collections.deque(telemetry.prometheus.scrape(compressed=True).pieces, maxlen=0)
    piece = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    counted = sum(point.value for point in points(telemetry, "policy_results"))
    assert counted == namespaces * POLICIES
    await telemetry.shutdown(1)
    return held, body, piece, took


def points(telemetry, name):
    (metric,) = (each for each in telemetry.cells.read() if each.name == name)
    return metric.data.data_points


@pytest.mark.timeout(300)
def test_six_thousand_namespaces_weigh_no_more_than_the_limit(figure) -> None:
    """As many namespaces as fill the limit, against twenty times as many series as there is room for."""
    filled, scraped, _, _ = alone.measured(weighed, LIMIT, LIMIT, {"byNamespace": True})
    held, body, piece, took = alone.measured(weighed, NAMESPACES, LIMIT, {"byNamespace": True})
    figure(
        f"{NAMESPACES} namespaces, {POLICIES} policies: {NAMESPACES * POLICIES} sets of labels of rules, limit"
        f" {LIMIT}, metrics.byNamespace: true: {held / 2**20:.1f} MiB held, /metrics {body / 2**20:.1f} MiB in"
        f" {took:.0f} ms, of which {piece / 2**10:.0f} KiB are there at a time; with"
        f" {LIMIT} namespaces {filled / 2**20:.1f} MiB and {scraped / 2**20:.1f} MiB"
    )
    assert held <= SLACK * filled
    assert body <= SLACK * scraped
    assert piece <= memory.SCRAPES / scrapes.TURNS


@pytest.mark.timeout(300)
def test_what_nobody_asked_about_namespaces_weighs_nothing(figure) -> None:
    """By default a scrape of 6,000 namespaces is that of one."""
    _, single, _, _ = alone.measured(weighed, 1, LIMIT, {})
    held, body, _, took = alone.measured(weighed, NAMESPACES, LIMIT, {})
    figure(
        f"{NAMESPACES} namespaces, {POLICIES} policies, default: {held / 2**10:.0f} KiB held, /metrics"
        f" {body / 2**10:.0f} KiB in {took:.1f} ms; of one namespace {single / 2**10:.0f} KiB"
    )
    assert body <= min(SLACK * single, SMALL)
    assert held <= 4 * SMALL


async def test_series_of_namespaces_that_are_gone_make_room() -> None:
    """Whatever came and went, a namespace of today has series of its own."""
    telemetry = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={}, environ={})
    await telemetry.apply(settings.from_spec({"metrics": {"cardinalityLimit": 100, "byNamespace": True}}))
    for number in range(1_000):
        reviewed(telemetry, number)
        telemetry.cells.forget({"resource_namespace": f"team-{number}"})
    reviewed(telemetry, 1_000)
    shown = {point.attributes["resource_namespace"] for point in points(telemetry, "policy_results")}
    assert shown == {"team-1000"}
    assert telemetry.instruments.metric_overflow.collect(0) is None
    await telemetry.shutdown(1)
