"""`deprecated_api_requests_total`: requests with kinds and fields that Kyverno has deprecated."""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="deprecated_api_requests_total",
    description="can be used to track requests using deprecated kyverno policy APIs and fields",
    unit="{request}",
    labels=labels.Deprecated._fields,
    kyverno=True,
)
