"""A cluster with entries, and a global context that follows it."""

import asyncio

import pytest

from fakes.globalcontext import UNTRACED, Caller, Catalogues, Cluster
from kymograph.controllers.globalcontext import store


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
async def start(cluster):
    tasks = []

    def make(caller=None, tracer=UNTRACED, catalogues=None):
        context = store.GlobalContext(cluster, catalogues or Catalogues(), caller or Caller(None), tracer)
        tasks.append(asyncio.create_task(context.run()))
        return context

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
