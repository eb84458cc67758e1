"""What tests of the cleanup controller share: a clock that is moved by hand, spans and counts to look at."""

import asyncio

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, instruments, metricsettings
from support.handclock import HandClock, settle


class Counted:
    """The instruments of a process and what they have counted."""

    def __init__(self):
        registry = cells.Cells(InstrumentationScope("test"), lambda: 0)
        self.instruments = instruments.declare(registry)
        registry.configure(metricsettings.MetricSettings(by_namespace=True))

    def __getitem__(self, name):
        """The values of an instrument, by the values of their labels."""
        collected = getattr(self.instruments, name).collect(0)
        points = collected.data.data_points if collected else ()
        return {tuple(point.attributes.values()): point.value for point in points}


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
async def running():
    """Run coroutines in the background for the length of a test."""
    tasks = []

    async def run(coroutine):
        tasks.append(asyncio.create_task(coroutine))
        await settle()

    yield run
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
