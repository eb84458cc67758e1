"""What a change of destination leaves behind: nothing, however often it changes."""

import asyncio
import gc
import pathlib
import threading
import weakref

import pytest

from kymograph.telemetry import otlp, providers, settings
from support import installed
from support import receivers as fakes

CHANGES = 10
CALLER = f"00-{7:032x}-{9:016x}-01"


@pytest.fixture
def made(monkeypatch):
    """The exporters of spans that are alive."""
    alive = weakref.WeakSet()

    class Watched(otlp.SpanExporter):
        def __init__(self, *given):
            super().__init__(*given)
            alive.add(self)

    monkeypatch.setattr(otlp, "SpanExporter", Watched)
    return alive


@pytest.fixture
def uncollected():
    """No garbage collector: what it would have to find is memory that waits for it."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("takes", [True, False], ids=["taken", "refused"])
@pytest.mark.parametrize("protocol", fakes.PROTOCOLS)
async def test_a_replaced_exporter_leaves_no_thread_no_connection_and_no_object(receivers, made, protocol, takes):
    """Whether it delivered what it had, or not."""
    receiver = receivers(protocol)
    receiver.refuse = None if takes else fakes.FORBIDDEN
    telemetry = providers.Telemetry(lambda _, subject: (f"RULE {subject}", {}), facts={}, environ={})
    before = set(threading.enumerate())

    async def change(number):
        header = {"name": "x-change", "value": str(number)}
        to = {"endpoint": receiver.endpoint, "protocol": protocol, "timeout": "30s", "headers": [header]}
        await telemetry.apply(settings.from_spec({"traces": {**to, "samplingRatePerMillion": 0}}))
        record = telemetry.begin(CALLER, None, 0)
        record.finish("admission validate CREATE /Pod", {}, 30)
        assert telemetry.keep(record)
        assert await asyncio.to_thread(telemetry.queue.flush, 60.0)

    def ours():
        return [each.name for each in set(threading.enumerate()) - before if each.name.startswith("kymograph")]

    def open_files():
        return len(list(pathlib.Path("/proc/self/fd").iterdir()))

    await change(0)
    most = open_files()
    for number in range(1, CHANGES):
        await change(number)
    await asyncio.to_thread(installed.eventually, lambda: (ours(), len(made)) == (["kymograph-export"], 1))
    fewer_than_one_each = most + CHANGES - 1
    await asyncio.to_thread(installed.eventually, lambda: open_files() < fewer_than_one_each)
    await telemetry.shutdown(1.0)
    assert receiver.headers[-1]["x-change"] == str(CHANGES - 1)
