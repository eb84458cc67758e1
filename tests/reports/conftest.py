"""What tests of the reports controller share: a cluster with a Pod, two policies, and the controller."""

import pytest

from kymograph.controllers import policies
from kymograph.controllers.reports import pace, queue, writer
from support.reporting import Controller, FakeCluster, policy_document


@pytest.fixture
def cluster():
    """A cluster with one Pod, `POD`."""
    made = FakeCluster()
    made.put("pods", "shop", "web", uid="uid-web")
    return made


@pytest.fixture
def store():
    """Policies `p` and `q`, known to be all."""
    made = policies.PolicyStore()
    made.put(policy_document("p"))
    made.put(policy_document("q"))
    made.complete.set()
    return made


@pytest.fixture
async def controller(cluster, store, exported, monkeypatch):
    """Without the waiting: back-off and pause are a few milliseconds."""
    monkeypatch.setattr(queue, "BACKOFF_FIRST", 0.002)
    monkeypatch.setattr(queue, "BACKOFF_MOST", 0.005)
    monkeypatch.setattr(writer, "PAUSE_FIRST", 0.02)
    monkeypatch.setattr(writer, "PAUSE_MOST", 0.02)
    monkeypatch.setattr(pace, "FIRST", 10_000.0)
    monkeypatch.setattr(pace, "MOST", 10_000.0)
    return Controller(cluster, store, exported)
