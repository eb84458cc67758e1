"""A real Prometheus scrapes the operator and answers PromQL about what it decided."""

import re
import urllib.request

from support.installed import NO_PRIVILEGES, eventually, pod, policy

POD = 'resource_kind="Pod",resource_request_operation="create"'
RULE = 'policy_name="no-privileges",rule_name="no-privileges-rule",rule_result="fail",rule_type="validate"'
POLICY = 'policy_validation_mode="enforce",policy_type="cluster",policy_namespace="-",policy_background_mode="true"'
CAUSE = 'rule_execution_cause="admission_request",dry_run="false"'


def test_prometheus_counts_what_was_decided(installed, enforce, prometheus) -> None:
    """Requests, their durations, results of rules and their durations, with the labels dashboards use."""
    enforce(NO_PRIVILEGES)
    labels = {"resource_kind": "Pod", "resource_request_operation": "create", "request_allowed": "false"}
    before = sum(series(scrape(installed), "admission_requests_total", **labels))
    server = prometheus([f"127.0.0.1:{installed.metrics_port}"])
    denied = f'sum(admission_requests_total{{{POD},request_allowed="false"}})'
    for number in range(3):
        assert "Privileged" in installed.create(pod(f"counted-{number}", privileged=True)).stderr

    server.query(f"{denied} == {before + 3}")
    server.query(f"sum(policy_results_total{{{POD},{RULE},{POLICY},{CAUSE}}}) >= 3")
    server.query(f"sum(policy_execution_duration_seconds_count{{{POD},{RULE},{POLICY},{CAUSE}}}) >= 3")
    seconds = f"sum by (le) (admission_review_duration_seconds_bucket{{{POD}}})"
    assert 0 < float(server.query(f"histogram_quantile(0.9, {seconds})")[0]["value"][1]) <= 10  # a webhook's time limit
    described = {"admission_requests", "admission_review_duration_seconds", "policy_results"}

    def families() -> set[str]:
        return {each["metric"].removesuffix("_total") for each in server.get("targets/metadata", limit="1000")}

    eventually(lambda: described <= families())


def scrape(installed) -> str:
    """What /metrics says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{installed.metrics_port}/metrics", timeout=30) as answer:
        return answer.read().decode()


def series(text: str, metric: str, **labels: str) -> list[float]:
    """The values of a metric's series that have these labels."""
    return [
        float(number)
        for written, number in re.findall(rf"^{metric}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        if labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', written)).items()
    ]


def test_violations_that_there_are_now_are_a_gauge(installed, enforce) -> None:
    """It goes down when an object is changed or deleted, and is gone with the policy."""
    match = {"any": [{"resources": {"kinds": ["Pod"], "names": ["gauged-*"]}}]}
    wanted = {"metadata": {"labels": {"team": "?*"}}}
    audited = policy("gauged", {"failureAction": "Audit", "message": "a team", "pattern": wanted}, match=match)
    audited["metadata"]["annotations"] = {"policies.kyverno.io/severity": "high"}
    enforce(audited)

    def standing(**labels: str) -> list[float]:
        about = {"policy_name": "gauged", "rule_name": "gauged-rule", "policy_severity": "high", **labels}
        return series(scrape(installed), "report_results", **about)

    for name in ("gauged-a", "gauged-b", "gauged-c"):
        assert installed.create(pod(name)).returncode == 0
    eventually(lambda: standing(rule_result="fail") == [3.0])
    installed.kubectl("label", "pod", "gauged-a", "team=a")
    eventually(lambda: (standing(rule_result="fail"), standing(rule_result="pass")) == ([2.0], [1.0]))
    installed.kubectl("delete", "pod", "gauged-b", "--force", "--grace-period=0")
    eventually(lambda: standing(rule_result="fail") == [1.0])
    installed.kubectl("delete", "clusterpolicy", "gauged")
    eventually(lambda: standing() == [])
    installed.kubectl("delete", "pod", "gauged-a", "gauged-c", "--force", "--grace-period=0")


STATE = (
    *("policy_ready", "policy_rule_info_total", "webhook_configured", "certificate_expiration_timestamp_seconds"),
    *("leader_election_master_status", "info", "policy_cache_policies", "scan_lag_seconds"),
    *("update_requests_oldest_seconds", "cleanup_queue_depth", "cleanup_queue_oldest_seconds", "updaterequest_total"),
    *("global_context_ready", "global_context_refresh_timestamp_seconds", "target_info"),
)
COUNTED = (
    *("kubernetes_client_requests_total", "kubernetes_client_request_duration_seconds_count", "client_queries_total"),
    "report_updates_total",
    *("policy_compilation_duration_seconds_count", "http_server_request_duration_seconds_count"),
    *("scan_duration_seconds_count", "scanned_objects_total", "breaker_total", "registry_cache_lookups_total"),
    *("telemetry_spans_exported_total", "telemetry_spans_dropped_total", "telemetry_spans_pending"),
    *("telemetry_metric_series", "telemetry_log_records_dropped_total", "events_dropped_total"),
)
LED = (
    *("webhook-controller", "status-controller", "global-context", "update-request-controller"),
    *("background-scan-controller", "ttl-controller"),
)
WORKED = ("webhook-controller", "status-controller", "global-context", "resource-report-controller")
DONE_AT_ONCE = ("certmanager-controller", "policycache-controller", "telemetry-controller", "ttl-controller-manager")


def test_what_the_operator_is_doing_and_how_it_is_can_be_told_from_one_scrape(installed, enforce) -> None:
    """The state of everything, work and queues of all controllers, calls to others, and telemetry itself."""
    enforce(NO_PRIVILEGES)
    listed = {"group": "", "version": "v1", "resource": "configmaps", "namespace": "default"}
    about = {"apiVersion": "kyverno.io/v2alpha1", "kind": "GlobalContextEntry", "metadata": {"name": "scraped"}}
    installed.apply({**about, "spec": {"kubernetesResource": listed}})
    assert installed.create(pod("scraped")).returncode == 0

    def complete() -> bool:
        text = scrape(installed)
        lacking = {name for name in (*STATE, *COUNTED) if not series(text, name)}
        lacking |= {f"depth of {name}" for name in LED if not series(text, "workqueue_depth", name=name)}
        for name in WORKED:
            done = series(text, "controller_reconcile_duration_seconds_count", controller_name=name, outcome="success")
            waited = series(text, "workqueue_queue_duration_seconds_count", name=name)
            lacking |= set() if done and waited else {f"work of {name}"}
        for name in DONE_AT_ONCE:
            done = series(text, "controller_reconcile_duration_seconds_count", controller_name=name, outcome="success")
            lacking |= set() if done else {f"work of {name}"}
        lately.append(lacking)
        return not lacking

    lately: list[set[str]] = []
    try:
        eventually(complete, 90)
    except AssertionError as error:
        raise AssertionError(f"there is nothing of {sorted(lately[-1])}") from error
    finally:
        installed.kubectl("delete", "globalcontextentry", "scraped")
        installed.kubectl("delete", "pod", "scraped", "--force", "--grace-period=0")
