"""What metrics say of shared data: whether they are there, since when, and how often they could not be had."""

import asyncio
import datetime as dt
import types

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.controllers.globalcontext import metrics
from kymograph.telemetry import cells, instruments


class Entries:
    """A global context whose changes a test makes."""

    def __init__(self):
        self.entries = {}
        self.listeners = []

    def listen(self, listener):
        self.listeners.append(listener)

    def change(self, name, *, ready):
        settled = asyncio.Event()
        settled.set()
        self.entries[name] = types.SimpleNamespace(source=types.SimpleNamespace(ready=ready, settled=settled))
        self.tell(name)

    def tell(self, name):
        for listener in self.listeners:
            listener(name)


@pytest.fixture
def here():
    made = types.SimpleNamespace(entries=Entries(), moment=100)
    made.cells = cells.Cells(InstrumentationScope("test"), lambda: 0)

    def now():
        return dt.datetime.fromtimestamp(made.moment, dt.UTC)

    metrics.ContextMetrics(instruments.declare(made.cells), made.entries, now)
    return made


def values(here, name):
    found = (metric for metric in here.cells.read() if metric.name == name)
    return {point.attributes["entry"]: point.value for metric in found for point in metric.data.data_points}


def test_data_that_are_there_have_their_moment(here):
    here.entries.change("prices", ready=True)
    here.moment = 200
    here.entries.change("prices", ready=True)
    assert values(here, "global_context_ready") == {"prices": 1}
    assert values(here, "global_context_refresh_timestamp_seconds") == {"prices": 200}
    assert values(here, "global_context_errors") == {}


def test_what_cannot_be_renewed_keeps_its_moment_and_is_an_error(here):
    here.entries.change("prices", ready=True)
    here.moment = 200
    here.entries.change("prices", ready=False)
    assert values(here, "global_context_ready") == {"prices": 0}
    assert values(here, "global_context_refresh_timestamp_seconds") == {"prices": 100}
    assert values(here, "global_context_errors") == {"prices": 1}


def test_of_an_entry_that_is_gone_nothing_is_said(here):
    here.entries.change("prices", ready=False)
    del here.entries.entries["prices"]
    here.entries.tell("prices")
    for name in ("global_context_ready", "global_context_refresh_timestamp_seconds", "global_context_errors"):
        assert values(here, name) == {}
