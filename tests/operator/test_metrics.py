"""A real Prometheus scrapes the operator and answers PromQL about what it decided."""

import pytest

from support.installed import NO_PRIVILEGES, pod

POD = 'resource_kind="Pod",resource_namespace="default",resource_request_operation="create"'
RULE = 'policy_name="no-privileges",rule_name="no-privileges-rule",rule_result="fail",rule_type="validate"'
POLICY = 'policy_validation_mode="enforce",policy_type="cluster",policy_namespace="-",policy_background_mode="true"'
CAUSE = 'rule_execution_cause="admission_request",dry_run="false"'


@pytest.mark.timeout(180)
def test_prometheus_counts_what_was_decided(installed, enforce, prometheus) -> None:
    """Requests, their durations, results of rules and their durations, with the labels dashboards use."""
    enforce(NO_PRIVILEGES)
    server = prometheus([f"127.0.0.1:{installed.metrics_port}"])
    denied = f'sum(admission_requests_total{{{POD},request_allowed="false"}})'

    def count() -> float:
        answer = server.get("query", query=denied)["result"]
        return float(answer[0]["value"][1]) if answer else 0.0

    server.query("up == 1")
    before = count()
    for number in range(3):
        assert installed.create(pod(f"counted-{number}", privileged=True)).returncode == 1

    server.query(f"{denied} == {before + 3}")
    server.query(f"sum(policy_results_total{{{POD},{RULE},{POLICY},{CAUSE}}}) >= 3")
    server.query(f"sum(policy_execution_duration_seconds_count{{{POD},{RULE},{POLICY},{CAUSE}}}) >= 3")
    seconds = f"sum by (le) (admission_review_duration_seconds_bucket{{{POD}}})"
    assert float(server.query(f"histogram_quantile(0.9, {seconds})")[0]["value"][1]) < 1
    families = {each["metric"] for each in server.get("targets/metadata", limit="1000")}
    assert {"admission_requests", "admission_review_duration_seconds", "policy_results"} <= {
        name.removesuffix("_total") for name in families
    }
