"""The data that policies share: whether they are there, and how old they are."""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="global_context_ready",
    description="Whether an entry has data: 1 or 0.",
    unit="",
    labels=("entry",),
)

REFRESHED = cells.Description(
    name="global_context_refresh_timestamp_seconds",
    description="When the data of an entry last were as its source has them, in seconds since the epoch.",
    unit="s",
    labels=("entry",),
)

ERRORS = cells.Description(
    name="global_context_errors_total",
    description="Attempts to get the data of entries that failed.",
    unit="{error}",
    labels=("entry",),
)
