"""The small HTTP servers: probes for the kubelet, /metrics for Prometheus."""

import aiohttp
import pytest
from aiohttp import web

from fakes import traced
from kymograph.runtime import errors, health, metricserver
from kymograph.telemetry import current, roots, subject


async def get(port, path, **headers):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text(), answer.headers.get("Content-Type", "")


@pytest.fixture
async def probed(unused_tcp_port):
    state = health.Health()
    runner = await health.serve(state, unused_tcp_port)
    yield state, unused_tcp_port
    await runner.cleanup()


async def test_alive_is_whoever_answers(probed) -> None:
    """A process that is not ready, or on its way out, is not to be killed for it."""
    state, port = probed
    state.require("never", lambda: False)
    state.stopping = True
    assert (await get(port, "/livez"))[:2] == (200, "ok\n")


async def test_ready_is_who_misses_nothing_and_each_missing_part_is_named(probed) -> None:
    """What is missing is asked for anew by each probe."""
    state, port = probed
    there = set()
    state.require("policies", lambda: "policies" in there)
    state.require("webhooks", lambda: "webhooks" in there)
    assert (await get(port, "/readyz"))[:2] == (503, "not ready: policies\nnot ready: webhooks\n")
    there |= {"policies", "webhooks"}
    assert (await get(port, "/readyz"))[:2] == (200, "ok\n")
    there.clear()
    assert (await get(port, "/readyz"))[0] == 503


async def test_on_the_way_out_nobody_is_ready(probed) -> None:
    """So that no new request comes."""
    state, port = probed
    state.stopping = True
    assert (await get(port, "/readyz"))[:2] == (503, "not ready: stopping\n")


async def test_who_asks_is_served_apart_from_the_work_that_began_to_listen(tracer, unused_tcp_port) -> None:
    """What is logged and called then belongs to no trace of long ago."""

    async def around(_request):
        return web.Response(text=f"{current.place()} {subject.current().uid}")

    application = web.Application()
    application.router.add_get("/", around)
    with subject.concerning(subject.Subject(uid="u")), roots.root(tracer, "TELEMETRY configuration"):
        runner = await health.listen(application, unused_tcp_port)
    assert (await get(unused_tcp_port, "/"))[:2] == (200, "None ")
    await runner.cleanup()


async def test_a_port_in_use_is_named(probed) -> None:
    """Whoever started a second operator on one machine knows what to change."""
    _, port = probed
    with pytest.raises(errors.PortTaken, match=f"port {port}"):
        await health.serve(health.Health(), port)


@pytest.fixture
async def metrics():
    async with traced.kept() as kept:
        kept.telemetry.instruments.admission_refused.bind(("test",)).add(1)
        made = metricserver.MetricServer(kept.telemetry)
        yield made
        await made.serve(None)


async def test_metrics_are_served_in_the_format_that_is_asked_for(metrics, unused_tcp_port) -> None:
    """OpenMetrics where the scraper takes it, which alone carries exemplars; else the text format."""
    await metrics.serve(unused_tcp_port)
    status, text, kind = await get(unused_tcp_port, "/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert 'admission_refused_total{reason="test"} 1' in text
    _, text, kind = await get(unused_tcp_port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert (await get(unused_tcp_port, "/"))[0] == 404


async def test_metrics_move_with_their_port_and_stop(metrics, unused_tcp_port_factory) -> None:
    """The same port again is no move."""
    first, second = unused_tcp_port_factory(), unused_tcp_port_factory()
    assert metrics.port is None
    await metrics.serve(first)
    runner = metrics._runner
    await metrics.serve(first)
    assert (metrics._runner is runner, metrics.port) == (True, first)
    await metrics.serve(second)
    assert (await get(second, "/metrics"))[0] == 200
    await metrics.serve(None)
    assert metrics.port is None
    for port in (first, second):
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(port, "/metrics")


async def test_a_port_that_is_taken_leaves_metrics_where_they_are(metrics, probed, unused_tcp_port_factory) -> None:
    """A mistake in the configuration does not end a scrape that works."""
    port = unused_tcp_port_factory()
    await metrics.serve(port)
    with pytest.raises(errors.PortTaken):
        await metrics.serve(probed[1])
    assert metrics.port == port
    assert (await get(port, "/metrics"))[0] == 200
