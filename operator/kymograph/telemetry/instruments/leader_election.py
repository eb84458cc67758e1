"""`leader_election_master_status`: which replica leads, under the name and label that Kubernetes' components use."""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation


def observe(meter: Meter, lease: str, leading: Callable[[], bool]) -> None:
    """Create the instrument, read from `leading` at each collection.

    Args:
        meter: Whose instrument.
        lease: The Lease's name.
        leading: Whether this replica leads.
    """

    def status(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(int(leading()), {"name": lease})

    meter.create_observable_gauge(
        "leader_election_master_status",
        [status],
        description="Whether this replica holds the Lease: 1 if it leads, 0 if another does.",
    )
