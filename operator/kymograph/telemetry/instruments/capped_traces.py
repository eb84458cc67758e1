"""`telemetry_traces_capped_total`: traces that callers nobody knows would have cost, past the limit of such."""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="telemetry_traces_capped_total",
    description="Requests not traced although their caller or a keep rule asked for it, because too many did.",
    unit="{trace}",
    labels=(),
)
