"""What telemetry holds is bounded in bytes, whatever the things are that it holds; what finds no room is counted."""

import asyncio
import contextlib
import gc
import logging
import tracemalloc

import pytest

from kymograph.telemetry import cells, memory, providers, settings
from kymograph.telemetry.export import Reason
from support import alone, installed
from support import receivers as fakes

CALLER = f"00-{7:032x}-{9:016x}-01"
LONG = "x" * 4_096


@contextlib.asynccontextmanager
async def unanswered(endpoint):
    """Telemetry whose collectors, as many as there can be, take everything and never answer."""
    telemetry = providers.Telemetry(lambda _, subject: (f"RULE {subject}", {}), facts={}, environ={})
    to = {"endpoint": endpoint, "protocol": "http/protobuf", "timeout": "10m"}
    additional = [{"name": f"collector-{each}", **to} for each in range(4)]
    spec = {
        "traces": {**to, "samplingRatePerMillion": 0, "parentTracesPerSecond": 100_000, "additional": additional},
        "metrics": {"cardinalityLimit": 100_000, "byNamespace": True},
        "logs": {"otlp": to},
    }
    await telemetry.apply(settings.from_spec(spec))
    try:
        yield telemetry
    finally:
        await telemetry.shutdown(0.1)


@pytest.fixture
async def full(raw_server):
    """Such telemetry."""
    async with unanswered(raw_server(fakes.silence).endpoint) as telemetry:
        yield telemetry


def review(telemetry, name, steps=20):
    """A record of a review with as many steps, each with a message of its own that is as long as any."""
    record = telemetry.begin(CALLER, None, 0)
    for at in range(steps):
        record.extend([(1, "rule", 10), ("pass", f"{name}-{at}-{LONG}", 20)])
    return record


def fill_spans(telemetry):
    """Reviews that are over, and others that are under way."""
    while not telemetry.queue.status().dropped[Reason.MEMORY_FULL]:
        record = review(telemetry, "over")
        record.finish("admission validate CREATE /Pod", {"warnings": (f"{record.decision.span_id}-{LONG}",) * 20}, 30)
        telemetry.keep(record)
    under_way = [telemetry.begin(CALLER, None, 0) for _ in range(20)]
    for record in under_way:
        for at in range(4_000):
            record.extend([(1, at, 10), ("pass", "", 20)])
    return under_way


def fill_logs(telemetry):
    logger = logging.Logger("somebody.else")  # noqa: LOG001 - not one of the process's, whose records pytest keeps
    logger.addHandler(telemetry._log_handler)
    for number in range(3_000):
        logger.info("%d %s", number, LONG, extra={f"field_{each}": f"{number}-{each}-{LONG}" for each in range(3)})


def fill_metrics(telemetry):
    """As many series as there is room for, whose labels are as long as names of objects can be."""
    number = 0
    while not any(overflowed for _, _, overflowed in telemetry.cells.sizes()):
        number += 1
        for metric in (telemetry.instruments.policy_results, telemetry.instruments.policy_execution_duration):
            cell = metric.bind(tuple(f"{at}-{number}-{'y' * 240}" for at in range(len(metric.about.labels))))
            cell.add() if isinstance(cell, cells.CounterCell) else cell.record(0.1)


def filled() -> tuple[int, int, int]:
    """Bytes held when everything is full, steps that traces under way lost, and log records that found no room."""

    async def fill(endpoint):
        async with unanswered(endpoint) as telemetry:
            gc.collect()
            tracemalloc.start()
            under_way = fill_spans(telemetry)
            fill_logs(telemetry)
            fill_metrics(telemetry)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            lost = telemetry.log_queue.status().dropped[Reason.MEMORY_FULL]
            return held, sum(record.dropped for record in under_way), lost

    server = fakes.RawServer(fakes.silence)
    try:
        return asyncio.run(fill(server.endpoint))
    finally:
        server.stop()


def test_everything_at_once_holds_no_more_than_it_may() -> None:
    """Traces under way, traces, records and series, the largest there can be: and all that was not kept is counted."""
    held, steps, records = alone.measured(filled)
    assert memory.ALL == 64 * memory.MIB
    assert held < memory.ALL
    assert steps
    assert records


async def test_what_was_delivered_or_dropped_is_held_no_longer(full, receivers) -> None:
    """Whatever became of it, the room is there again."""
    fill_spans(full)
    receiver = receivers(fakes.HTTP)
    to = {"endpoint": receiver.endpoint, "protocol": "http/protobuf", "timeout": "10m"}  # else some come twice
    await full.apply(settings.from_spec({"traces": {**to, "samplingRatePerMillion": 0}}))
    assert await asyncio.to_thread(full.queue.flush, 60.0)
    await full.shutdown(0.1)
    gc.collect()
    assert full.queue.status().sent == len(receiver.spans) > 0
    await asyncio.to_thread(installed.eventually, lambda: not full.undecided_room.held)  # those that hang are given up


def test_series_that_go_make_room_for_others() -> None:
    """Series that are dropped, and those that became one."""
    room = memory.Share(100_000)
    registry = cells.Cells(providers.InstrumentationScope("test"), lambda: 0, room)
    counter = registry.counter(cells.Description("things", "", "", ("namespace", "name")))
    for number in range(1_000):
        counter.bind(("a" if number % 2 else "b", str(number)))
    assert counter.overflowed
    held, size = room.held, counter.size
    registry.forget({"namespace": "a"})
    gc.collect()
    assert room.held < held
    overflowed = counter.overflowed
    for number in range(1_000, 1_010):
        counter.bind(("c", str(number)))
    assert (counter.overflowed, counter.size < size) == (overflowed, True)


def test_a_claim_ends_with_its_holder() -> None:
    room = memory.Share(100)
    claim = room.claim()
    assert claim.grow(60)
    assert not room.claim().grow(60)
    assert room.held == 60
    del claim
    assert room.claim().grow(60)
    assert room.held == 0
