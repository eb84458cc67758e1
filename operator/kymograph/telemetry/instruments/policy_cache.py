"""The policies that are held: whether they can be enforced, and what it costs to compile them."""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

READY = cells.Description(
    name="policy_ready",
    description="Whether a policy compiles and API servers are told to ask about it: what its condition Ready says.",
    unit="",
    labels=labels.PolicyName._fields,
)

HELD = cells.Description(
    name="policy_cache_policies",
    description="Policies that are held in memory, by whether they compile.",
    unit="{policy}",
    labels=("policy_type", "compiled"),
)

COMPILATION = cells.Description(
    name="policy_compilation_duration_seconds",
    description="How long it took to compile a policy.",
    unit="s",
    labels=("result",),
)

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds in seconds."""
