"""`ttl_controller_info`: the kinds of objects that the TTL controller watches."""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="ttl_controller_info",
    description="can be used to track individual resource controllers running for ttl based cleanup",
    unit="",
    labels=labels.Watched._fields,
    kyverno=True,
)
