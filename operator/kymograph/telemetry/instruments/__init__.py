"""The metrics of the process, one file each: what it counts, its labels, and Kyverno's HELP text.

Names carry no prefix; `metrics.prefix` puts Kyverno's in front where its dashboards are in use.
"""

import dataclasses

from kymograph.telemetry import cells, families
from kymograph.telemetry.instruments import (
    admission_refused,
    admission_requests,
    admission_review_duration,
    cleanup_deleted_objects,
    cleanup_errors,
    events_dropped,
    policy_changes,
    policy_execution_duration,
    policy_results,
    policy_rule_info,
    report_reviews_dropped,
    report_updates,
    scan_duration,
    scanned_objects,
    ttl_deleted_objects,
    ttl_errors,
    ttl_info,
    ttl_invalid_labels,
    update_requests,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Instruments:
    """All instruments of the hot path.

    Attributes:
        registry: Where they are declared: whoever keeps bound cells must know when to bind them anew.
    """

    registry: cells.Cells
    admission_requests: cells.Counter
    admission_review_duration: cells.Histogram
    admission_refused: cells.Counter
    policy_changes: cells.Counter
    policy_results: cells.Counter
    policy_execution_duration: cells.Histogram
    policy_rule_info: families.Info
    report_updates: cells.Counter
    report_reviews_dropped: cells.Counter
    scan_duration: cells.Histogram
    scanned_objects: cells.Counter
    events_dropped: cells.Counter
    cleanup_deleted_objects: cells.Counter
    cleanup_errors: cells.Counter
    ttl_deleted_objects: cells.Counter
    ttl_errors: cells.Counter
    ttl_info: families.Info
    ttl_invalid_labels: cells.Counter
    update_requests: cells.Counter
    update_requests_stopped: cells.Counter


def declare(registry: cells.Cells) -> Instruments:
    """Declare them all; once per `Cells`."""
    return Instruments(
        registry=registry,
        admission_requests=registry.counter(admission_requests.ABOUT),
        admission_review_duration=registry.histogram(admission_review_duration.ABOUT),
        admission_refused=registry.counter(admission_refused.ABOUT),
        policy_changes=registry.counter(policy_changes.ABOUT),
        policy_results=registry.counter(policy_results.ABOUT),
        policy_execution_duration=registry.histogram(policy_execution_duration.ABOUT),
        policy_rule_info=registry.info(policy_rule_info.ABOUT),
        report_updates=registry.counter(report_updates.ABOUT),
        report_reviews_dropped=registry.counter(report_reviews_dropped.ABOUT),
        scan_duration=registry.histogram(scan_duration.ABOUT, scan_duration.BUCKETS),
        scanned_objects=registry.counter(scanned_objects.ABOUT),
        events_dropped=registry.counter(events_dropped.ABOUT),
        cleanup_deleted_objects=registry.counter(cleanup_deleted_objects.ABOUT),
        cleanup_errors=registry.counter(cleanup_errors.ABOUT),
        ttl_deleted_objects=registry.counter(ttl_deleted_objects.ABOUT),
        ttl_errors=registry.counter(ttl_errors.ABOUT),
        ttl_info=registry.info(ttl_info.ABOUT),
        ttl_invalid_labels=registry.counter(ttl_invalid_labels.ABOUT),
        update_requests=registry.counter(update_requests.ABOUT),
        update_requests_stopped=registry.counter(update_requests.STOPPED),
    )
