"""`cleanup_queue_depth` and `cleanup_queue_oldest_seconds`: clean-ups whose time has come and that wait for their turn.

Kyverno tells nothing of them.
"""

from kymograph.telemetry import cells

DEPTH = cells.Description(
    name="cleanup_queue_depth",
    description="Objects and cleanup policies that are due and wait, at the replica that leads.",
    unit="{item}",
    labels=("queue",),
)

OLDEST = cells.Description(
    name="cleanup_queue_oldest_seconds",
    description="For how long the first of them has been due.",
    unit="s",
    labels=("queue",),
)
