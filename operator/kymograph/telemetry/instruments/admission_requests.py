"""`admission_requests_total`: reviews answered."""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="admission_requests_total",
    description="can be used to track the number of admission requests encountered by Kyverno in the cluster",
    unit="{request}",
    labels=labels.Review._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
)
