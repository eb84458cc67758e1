"""Whether a replica leads is to be read where Kubernetes' own components say it."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from kymograph.telemetry.instruments import leader_election


def test_a_replica_says_whether_it_leads() -> None:
    """1 for the leader, 0 for others, read at each collection; the label is the Lease."""
    reader, leading = InMemoryMetricReader(), [False]
    provider = MeterProvider([reader], shutdown_on_exit=False)
    leader_election.observe(provider.get_meter("test"), "kymograph", lambda: leading[0])
    values = []
    for leading[0] in (False, True):
        (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        (point,) = metric.data.data_points
        values.append((metric.name, dict(point.attributes), point.value))
    provider.shutdown()
    name, label = "leader_election_master_status", {"name": "kymograph"}
    assert values == [(name, label, 0), (name, label, 1)]
