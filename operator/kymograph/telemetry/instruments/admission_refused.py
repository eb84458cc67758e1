"""`admission_refused_total`: requests to the webhook server that never became a review."""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="admission_refused_total",
    description="Requests to the webhook server that were refused because they are no admission review it serves.",
    unit="{request}",
    labels=labels.Refusal._fields,
)
