"""What scans write of themselves is work like any other: a trace of its own each."""

import asyncio
import datetime as dt

import pytest
from opentelemetry.trace import SpanContext

from fakes.stored import stored
from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import policies
from kymograph.controllers.reports.scans import policystatus, progress

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class Cluster:
    """Takes what is written, or raises what it is to fail with."""

    def __init__(self):
        self.fails = None
        self.written = asyncio.Event()

    async def merge(self, *_, **__):
        return self.write()

    async def apply(self, *_, **__):
        return self.write()

    def write(self):
        self.written.set()
        if self.fails is not None:
            raise self.fails
        return {}


@pytest.mark.parametrize(
    ("fails", "error"),
    [
        (None, None),
        (errors.NotFound(404, "NotFound", "deleted meanwhile"), None),
        (errors.StatusError(500, "InternalError", "etcd"), "StatusError"),
    ],
)
async def test_the_status_of_a_policy_is_written_in_a_trace(exported, tracer, fails, error) -> None:
    """That the policy went meanwhile is no error; that it cannot be written is one."""
    cluster, store = Cluster(), policies.PolicyStore()
    store.put(stored("p", 1))
    cause = SpanContext(1, 2, is_remote=False)
    causes = {policies.Key("ClusterPolicy", "", "p"): cause}
    scans = policystatus.PolicyScans(cluster, store, lambda: NOON, tracer, causes.get)
    cluster.fails = fails
    scans.begin(["p"])
    await scans.publish()
    (span,) = exported.get_finished_spans()
    assert (span.name, span.parent) == ("SCAN policy status", None)
    assert (span.attributes["kyverno.policy.name"], span.attributes.get("error.type")) == ("p", error)
    assert [link.context for link in span.links] == [cause]


async def test_how_far_scans_are_is_written_in_a_trace(exported, tracer) -> None:
    """Each time that there is something new."""
    cluster = Cluster()
    told = progress.Progress(cluster, "kymograph", lambda: NOON, lambda: 0.0, tracer)
    told.begin({resources.CONFIG_MAPS: 1}, frozenset({resources.CONFIG_MAPS}))
    publishing = asyncio.create_task(told.publish())
    await cluster.written.wait()
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    (span,) = exported.get_finished_spans()
    assert (span.name, span.parent) == ("SCAN progress", None)
