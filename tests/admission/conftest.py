"""What the tests of webhook configurations share."""

from collections.abc import AsyncIterator

import pytest

from fakes import traced
from kymograph.controllers.admission import registration
from support import registered


@pytest.fixture
async def here(kept: traced.Kept, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[registered.Registered]:
    """The registration beside a cluster that remembers what it is told, in a hurry."""
    monkeypatch.setattr(registration, "SETTLE", 0.002)
    monkeypatch.setattr(registration, "RETRY_AFTER", 0.002)
    made = registered.Registered(kept.telemetry)
    yield made
    await made.stop()
