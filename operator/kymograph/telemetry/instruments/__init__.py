"""The metrics of the process, one file each: what it counts, its labels, and Kyverno's HELP text.

Names carry no prefix; `metrics.prefix` puts Kyverno's in front where its dashboards are in use.
"""

import dataclasses

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import (
    admission_refused,
    admission_requests,
    admission_review_duration,
    policy_execution_duration,
    policy_results,
    ttl_deleted_objects,
    ttl_errors,
    ttl_invalid_labels,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Instruments:
    """All instruments of the hot path."""

    admission_requests: cells.Counter
    admission_review_duration: cells.Histogram
    admission_refused: cells.Counter
    policy_results: cells.Counter
    policy_execution_duration: cells.Histogram
    ttl_deleted_objects: cells.Counter
    ttl_errors: cells.Counter
    ttl_invalid_labels: cells.Counter


def declare(registry: cells.Cells) -> Instruments:
    """Declare them all; once per `Cells`."""
    return Instruments(
        admission_requests=registry.counter(admission_requests.ABOUT),
        admission_review_duration=registry.histogram(admission_review_duration.ABOUT),
        admission_refused=registry.counter(admission_refused.ABOUT),
        policy_results=registry.counter(policy_results.ABOUT),
        policy_execution_duration=registry.histogram(policy_execution_duration.ABOUT),
        ttl_deleted_objects=registry.counter(ttl_deleted_objects.ABOUT),
        ttl_errors=registry.counter(ttl_errors.ABOUT),
        ttl_invalid_labels=registry.counter(ttl_invalid_labels.ABOUT),
    )
