"""`breaker_total`, `breaker_drops_total`: what is taken in only while there is room.

Kyverno has breakers before its ephemeral reports; ours is the bounded memory of reviews that reports are made of.
"""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="breaker_total",
    description="track number of times the breaker was invoked",
    unit="{call}",
    labels=("circuit_name",),
    kyverno=True,
)

DROPS = cells.Description(
    name="breaker_drops_total",
    description="track the number of times the breaker failed open and dropped",
    unit="{call}",
    labels=("circuit_name",),
    kyverno=True,
)

ADMISSION_REPORTS = "admission reports"
"""Kyverno's name for the way from reviews to reports."""
