"""How far behind scans are, as threads that collect ask for it while the event loop changes what they look at."""

import itertools
import sys
import threading

import pytest

from kymograph.clients.kubernetes import resources
from kymograph.controllers.reports.scans import watch
from support.scanning import ScannedCluster, World


@pytest.fixture
def _torn_apart():
    """Threads take turns all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_torn_apart")
@pytest.mark.parametrize("gauge", ["lag", "depth"])
async def test_any_thread_may_ask(gauge) -> None:
    """Nothing is raised, whatever comes and goes meanwhile."""
    scanning = World(ScannedCluster()).scanner
    kinds = [resources.Resource("", "v1", f"kind{number}", "Kind", namespaced=True) for number in range(50)]
    raised, over = [], threading.Event()

    def collect():
        for _ in range(3_000):
            try:
                getattr(scanning, gauge)
            except Exception as error:  # noqa: BLE001  # whatever it is
                raised.append(error)
        over.set()

    collecting = threading.Thread(target=collect)
    collecting.start()
    for number in itertools.count():
        if over.is_set():
            break
        follower = watch.Watch(None, kinds[number % 50], lambda: 0.0, None)
        follower.pending.update({("shop", str(each)): float(each) for each in range(3)})
        scanning._watches[follower.resource] = follower, None
        for other, _ in tuple(scanning._watches.values())[:5]:
            other.pending.clear()
        scanning._watches.pop(kinds[number * 7 % 50], None)
    collecting.join()
    assert raised == []
