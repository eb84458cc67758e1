"""The metrics of the process, one file each: what it counts, its labels, and Kyverno's HELP text.

Names carry no prefix; `metrics.prefix` puts Kyverno's in front where its dashboards are in use.
"""

import dataclasses

from kymograph.telemetry import cells, families
from kymograph.telemetry.instruments import (
    admission_refused,
    admission_requests,
    admission_review_duration,
    breakers,
    capped_traces,
    cel_policies,
    cleanup_deleted_objects,
    cleanup_errors,
    cleanup_queue,
    client_requests,
    controllers,
    decision_records_dropped,
    deleting_policies,
    deprecated_api_requests,
    events_dropped,
    global_context,
    http_requests,
    installation,
    leader_election,
    metrics_themselves,
    policy_cache,
    policy_changes,
    policy_execution_duration,
    policy_results,
    policy_rule_info,
    report_results,
    report_reviews_dropped,
    report_updates,
    scan_duration,
    scan_lag,
    scanned_objects,
    trace_context,
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
    deprecated_api_requests: cells.Counter
    trace_contexts: families.ObservedCounter
    traces_capped: families.ObservedCounter
    policy_changes: cells.Counter
    policy_results: cells.Counter
    policy_execution_duration: cells.Histogram
    policy_rule_info: families.Info
    validating_results: cells.Counter
    validating_duration: cells.Histogram
    image_validating_results: cells.Counter
    image_validating_duration: cells.Histogram
    mutating_results: cells.Counter
    mutating_duration: cells.Histogram
    generating_results: cells.Counter
    generating_duration: cells.Histogram
    report_results: families.Observed
    report_updates: cells.Counter
    report_reviews_dropped: cells.Counter
    scan_duration: cells.Histogram
    scan_lag: families.Observed
    scanned_objects: cells.Counter
    events_dropped: cells.Counter
    decision_records_dropped: cells.Counter
    cleanup_deleted_objects: cells.Counter
    cleanup_errors: cells.Counter
    deleting_deleted_objects: cells.Counter
    deleting_errors: cells.Counter
    ttl_deleted_objects: cells.Counter
    ttl_errors: cells.Counter
    ttl_info: families.Info
    ttl_invalid_labels: cells.Counter
    cleanup_depth: families.Observed
    cleanup_oldest: families.Observed
    update_requests: cells.Counter
    update_requests_stopped: cells.Counter
    update_requests_refused: cells.Counter
    generated_objects_contested: cells.Counter
    update_requests_listed: families.Observed
    update_requests_waiting: families.Observed
    update_requests_oldest: families.Observed
    http_requests: cells.Counter
    http_requests_duration: cells.Histogram
    http_server_duration: cells.Histogram
    kubernetes_requests: cells.Counter
    kubernetes_requests_duration: cells.Histogram
    kubernetes_throttled: cells.Counter
    client_queries: cells.Counter
    service_requests: cells.Histogram
    registry_requests: cells.Histogram
    registry_cache: families.ObservedCounter
    reconciled: cells.Counter
    requeued: cells.Counter
    queue_dropped: cells.Counter
    reconcile_duration: cells.Histogram
    queue_depth: families.Observed
    queue_duration: cells.Histogram
    policy_ready: families.Observed
    policies_held: families.Observed
    policy_compilation: cells.Histogram
    global_context_ready: families.Observed
    global_context_refreshed: families.Observed
    global_context_errors: cells.Counter
    breaker: families.ObservedCounter
    breaker_drops: families.ObservedCounter
    info: families.Info
    leading: families.Observed
    webhook_configured: families.Observed
    certificate_expiration: families.Observed
    metric_series: families.Observed
    metric_overflow: families.ObservedCounter
    metric_points_exported: families.ObservedCounter
    metric_points_dropped: families.ObservedCounter


def declare(registry: cells.Cells) -> Instruments:
    """Declare them all; once per `Cells`."""
    return Instruments(
        registry=registry,
        admission_requests=registry.counter(admission_requests.ABOUT),
        admission_review_duration=registry.histogram(admission_review_duration.ABOUT),
        admission_refused=registry.counter(admission_refused.ABOUT),
        deprecated_api_requests=registry.counter(deprecated_api_requests.ABOUT),
        trace_contexts=registry.observed_counter(trace_context.ABOUT),
        traces_capped=registry.observed_counter(capped_traces.ABOUT),
        policy_changes=registry.counter(policy_changes.ABOUT),
        policy_results=registry.counter(policy_results.ABOUT),
        policy_execution_duration=registry.histogram(policy_execution_duration.ABOUT),
        policy_rule_info=registry.info(policy_rule_info.ABOUT),
        validating_results=registry.counter(cel_policies.VALIDATING),
        validating_duration=registry.histogram(cel_policies.VALIDATING_DURATION),
        image_validating_results=registry.counter(cel_policies.IMAGE_VALIDATING),
        image_validating_duration=registry.histogram(cel_policies.IMAGE_VALIDATING_DURATION),
        mutating_results=registry.counter(cel_policies.MUTATING),
        mutating_duration=registry.histogram(cel_policies.MUTATING_DURATION),
        generating_results=registry.counter(cel_policies.GENERATING),
        generating_duration=registry.histogram(cel_policies.GENERATING_DURATION),
        report_results=registry.observed(report_results.ABOUT),
        report_updates=registry.counter(report_updates.ABOUT),
        report_reviews_dropped=registry.counter(report_reviews_dropped.ABOUT),
        scan_duration=registry.histogram(scan_duration.ABOUT, scan_duration.BUCKETS),
        scan_lag=registry.observed(scan_lag.ABOUT, max),
        scanned_objects=registry.counter(scanned_objects.ABOUT),
        events_dropped=registry.counter(events_dropped.ABOUT),
        decision_records_dropped=registry.counter(decision_records_dropped.ABOUT),
        cleanup_deleted_objects=registry.counter(cleanup_deleted_objects.ABOUT),
        cleanup_errors=registry.counter(cleanup_errors.ABOUT),
        deleting_deleted_objects=registry.counter(deleting_policies.DELETED),
        deleting_errors=registry.counter(deleting_policies.ERRORS),
        ttl_deleted_objects=registry.counter(ttl_deleted_objects.ABOUT),
        ttl_errors=registry.counter(ttl_errors.ABOUT),
        ttl_info=registry.info(ttl_info.ABOUT),
        ttl_invalid_labels=registry.counter(ttl_invalid_labels.ABOUT),
        cleanup_depth=registry.observed(cleanup_queue.DEPTH),
        cleanup_oldest=registry.observed(cleanup_queue.OLDEST, max),
        update_requests=registry.counter(update_requests.ABOUT),
        update_requests_stopped=registry.counter(update_requests.STOPPED),
        update_requests_refused=registry.counter(update_requests.REFUSED),
        generated_objects_contested=registry.counter(update_requests.CONTESTED),
        update_requests_listed=registry.observed(update_requests.LISTED),
        update_requests_waiting=registry.observed(update_requests.WAITING),
        update_requests_oldest=registry.observed(update_requests.OLDEST, max),
        http_requests=registry.counter(http_requests.ABOUT),
        http_requests_duration=registry.histogram(http_requests.DURATION),
        http_server_duration=registry.histogram(http_requests.SERVED),
        kubernetes_requests=registry.counter(client_requests.KUBERNETES),
        kubernetes_requests_duration=registry.histogram(client_requests.KUBERNETES_DURATION, client_requests.BUCKETS),
        kubernetes_throttled=registry.counter(client_requests.THROTTLED),
        client_queries=registry.counter(client_requests.QUERIES),
        service_requests=registry.histogram(client_requests.SERVICES, client_requests.BUCKETS),
        registry_requests=registry.histogram(client_requests.REGISTRIES, client_requests.BUCKETS),
        registry_cache=registry.observed_counter(client_requests.REGISTRY_CACHE),
        reconciled=registry.counter(controllers.RECONCILED),
        requeued=registry.counter(controllers.REQUEUED),
        queue_dropped=registry.counter(controllers.DROPPED),
        reconcile_duration=registry.histogram(controllers.DURATION, controllers.BUCKETS),
        queue_depth=registry.observed(controllers.DEPTH),
        queue_duration=registry.histogram(controllers.WAITED, controllers.BUCKETS),
        policy_ready=registry.observed(policy_cache.READY, min),
        policies_held=registry.observed(policy_cache.HELD),
        policy_compilation=registry.histogram(policy_cache.COMPILATION, policy_cache.BUCKETS),
        global_context_ready=registry.observed(global_context.ABOUT, min),
        global_context_refreshed=registry.observed(global_context.REFRESHED, min),
        global_context_errors=registry.counter(global_context.ERRORS),
        breaker=registry.observed_counter(breakers.ABOUT),
        breaker_drops=registry.observed_counter(breakers.DROPS),
        info=registry.info(installation.INFO),
        leading=registry.observed(leader_election.ABOUT, max),
        webhook_configured=registry.observed(installation.CONFIGURED, min),
        certificate_expiration=registry.observed(installation.CERTIFICATE, min),
        metric_series=registry.observed(metrics_themselves.SERIES),
        metric_overflow=registry.observed_counter(metrics_themselves.OVERFLOW),
        metric_points_exported=registry.observed_counter(metrics_themselves.EXPORTED),
        metric_points_dropped=registry.observed_counter(metrics_themselves.DROPPED),
    )
