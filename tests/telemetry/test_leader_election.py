"""Whether a replica leads is to be read where Kubernetes' own components say it."""

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, instruments


def test_a_replica_says_whether_it_leads() -> None:
    """1 for the leader, 0 for others, read at each collection; the label is the Lease."""
    registry, leading = cells.Cells(InstrumentationScope("test"), lambda: 0), [False]
    declared = instruments.declare(registry)
    declared.leading.observe(lambda: [(("kymograph",), leading[0])])
    values = []
    for leading[0] in (False, True):
        (metric,) = (each for each in registry.read() if each.name == "leader_election_master_status")
        (point,) = metric.data.data_points
        values.append((dict(point.attributes), point.value))
    assert values == [({"name": "kymograph"}, 0), ({"name": "kymograph"}, 1)]
