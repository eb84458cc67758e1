"""`update_requests_total`: UpdateRequests that ended; and gauges of those that have not.

Kyverno only tells how many there are.
"""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="update_requests_total",
    description="UpdateRequests that ended, by type and final state.",
    unit="{request}",
    labels=labels.Ended._fields,
)


def observe(meter: Meter, depth: Callable[[], int], age: Callable[[], float]) -> None:
    """Create the gauges, read at each collection.

    Args:
        meter: Whose instruments.
        depth: How many requests wait or are worked on here.
        age: Seconds for which the oldest of them has been waiting.
    """

    def waiting(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(depth())

    def oldest(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(age())

    meter.create_observable_gauge(
        "update_requests_waiting",
        [waiting],
        description="UpdateRequests that wait or are worked on, at the replica that leads.",
    )
    meter.create_observable_gauge(
        "update_requests_oldest_seconds",
        [oldest],
        description="For how long the oldest of them has been waiting.",
    )
