"""What the start reads of the TracingConfiguration does not stand above what was told meanwhile."""

import asyncio

import pytest

from kymograph.clients.kubernetes import errors
from support import oneprocess


@pytest.fixture
async def here():
    made = oneprocess.Here()
    yield made
    await made.close()


@pytest.mark.parametrize("older", [True, False])
async def test_an_answer_that_comes_late_changes_nothing(here, monkeypatch, older) -> None:
    """Of an older resource, or that there is none to be read: the watch has told of a newer one."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def get(_resource, _name, **_):
        asked.set()
        await answered.wait()
        if older:
            return oneprocess.document(None, endpoint="older:4317")
        raise errors.Unreachable("away")

    monkeypatch.setattr(here.cluster, "get", get)
    starting = asyncio.create_task(here.tracing.start())
    await asked.wait()
    await here.tracing.changed(oneprocess.document(None, generation=2, endpoint="newer:4317"))
    answered.set()
    await starting
    assert here.endpoint == "newer:4317"
    here.tasks.append(asyncio.create_task(here.tracing.make_up()))
    here.tracing.kinds_changed()  # nothing to make up for: it was found
    await asyncio.sleep(0)
    assert here.endpoint == "newer:4317"
