"""`ttl_controller_invalidlabels_total`: TTL labels that are not followed. Once per object and value."""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="ttl_controller_invalidlabels_total",
    description="TTL labels that are not followed: no duration, time or date; an unknown propagation policy; or on an"
    " object of the operator's own namespace.",
    unit="{object}",
    labels=labels.Cleaned._fields,
    optional=views.BY_NAMESPACE,
)
