"""`update_requests_total`: UpdateRequests that ended, those stopped in a loop; and gauges of those that have not ended.

Kyverno only tells how many there are.
"""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="update_requests_total",
    description="UpdateRequests that ended, by type and final state.",
    unit="{request}",
    labels=labels.Ended._fields,
)

LISTED = cells.Description(
    name="updaterequest_total",
    description="can be used to track the current number of updaterequests in the cluster",
    unit="{request}",
    labels=("resource_namespace",),
    kyverno=True,
)

STOPPED = cells.Description(
    name="update_requests_stopped_total",
    description="UpdateRequests that were stopped because rules set each other off without end.",
    unit="{request}",
    labels=("type",),
)


def observe(meter: Meter, waiting: Callable[[], Mapping[str, int]], age: Callable[[], float]) -> None:
    """Create the gauges, read at each collection.

    Args:
        meter: Whose instruments.
        waiting: How many requests wait or are worked on here, by what they are doing.
        age: Seconds for which the oldest of them has been waiting.
    """

    def by_state(_: CallbackOptions) -> Iterable[Observation]:
        for state, count in waiting().items():
            yield Observation(count, {"state": str(state)})

    def oldest(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(age())

    meter.create_observable_gauge(
        "update_requests_waiting",
        [by_state],
        description="UpdateRequests that wait, are worked on or are to be tried again, at the replica that leads.",
    )
    meter.create_observable_gauge(
        "update_requests_oldest_seconds",
        [oldest],
        description="For how long the oldest of them has been waiting.",
    )
