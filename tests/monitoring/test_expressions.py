"""Every PromQL expression that is shipped asks for metrics and labels that there are."""

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client import parser

from support import monitoring, promql, scraped, waiting

OF_TARGETS = frozenset({"job", "instance", "le", "__name__", "otel_metric_overflow"})
"""Labels that Prometheus gives to what it scrapes, and those of buckets and of the overflow series."""

OF_PROMETHEUS = frozenset({"up", "scrape_samples_scraped", "scrape_duration_seconds"})

OF_API_SERVERS = {
    "apiserver_admission_webhook_rejection_count": {"name", "operation", "type", "error_type", "rejection_code"},
    "apiserver_admission_webhook_fail_open_count": {"name", "type"},
}
"""What only API servers know: that they could not call a webhook."""

OURS = [*monitoring.of_dashboards(), *monitoring.of_variables()]
ALERTS = monitoring.of_alerts()


@pytest.fixture(scope="session")
def families(telemetry):
    """By the name of a sample, the labels that its series have."""
    found = {name: set() for name in OF_PROMETHEUS} | OF_API_SERVERS
    for each in telemetry.values():
        for family in parser.text_string_to_metric_families(scraped.text(each)):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, set()) | set(sample.labels)
    return found


@pytest.mark.parametrize("prefix", ["", "kyverno_"])
@pytest.mark.parametrize("expression", [*OURS, *ALERTS], ids=str)
def test_metrics_and_labels_are_ours(families, expression, prefix) -> None:
    """Of each selector the labels it matches, and of the whole the labels it is grouped by."""
    asked = expression.filled(prefix)
    selected = promql.selectors(asked)
    assert selected
    known = set(OF_TARGETS)
    for selector in selected:
        if selector.metric:
            assert selector.metric in families
            assert selector.labels <= families[selector.metric] | OF_TARGETS, selector.text
            known |= families[selector.metric]
        else:
            assert selector.labels <= OF_TARGETS, selector.text
    assert promql.groupings(asked) <= known


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('sum by (a) (rate(x_total{b="}", c=~"d"}[5m])) > 0.5', [("x_total", {"b", "c"})]),
        ("histogram_quantile(0.9, sum by (le) (h_bucket))", [("h_bucket", set())]),
        ('x{} offset 10m unless on (a) y or {job="z"}', [("x", set()), ("y", set()), ("", {"job"})]),
        ("vector(0) and bool_metric > bool 1e3", [("bool_metric", set())]),
    ],
)
def test_selectors_are_found(expression, expected) -> None:
    """What the other tests go by."""
    assert [(each.metric, set(each.labels)) for each in promql.selectors(expression)] == expected


def test_legends_and_texts_name_labels_of_the_result() -> None:
    """A legend of a dashboard, and a template in an alert, would be empty without."""
    shown = [
        (target["legendFormat"], r"{{(\w+)}}", target["expr"], panel["title"])
        for board in monitoring.DASHBOARDS.values()
        for panel in monitoring.panels(board)
        for target in panel["targets"]
        if "expr" in target
    ]
    told = [
        (json.dumps(alert["annotations"]), r"\$labels\.(\w+)", alert["expr"], alert["alert"])
        for alert in monitoring.ALERTS
    ]
    for text, pattern, expression, where in [*shown, *told]:
        made = {"metric"} if "label_replace" in expression else {"instance"}
        assert set(re.findall(pattern, text)) <= promql.groupings(expression) | made, where


def test_a_real_prometheus_answers_every_expression(telemetry, prometheus, target) -> None:
    """Of scrapes under both prefixes: dashboards get results, and so does every selector of an alert."""
    named = [{"target_label": "job", "replacement": "kymograph-metrics"}]
    server = prometheus([target(each) for each in telemetry.values()], relabel_configs=named)
    server.query('count(sum_over_time(up{job="kymograph-metrics"}[1m]) > 2) == 2', timeout=90)

    def unanswered() -> Iterator[str]:
        for expression in OURS:
            for prefix in telemetry:
                if not server.get("query", query=(asked := expression.filled(prefix)))["result"]:
                    yield f"{expression} ({prefix}): {asked}"
        for expression in ALERTS:
            server.get("query", query=expression.promql)
            for selector in promql.selectors(expression.promql):
                if selector.metric not in OF_API_SERVERS and not server.get("query", query=selector.text)["result"]:
                    yield f"{expression} of {selector.metric}: {selector.text}"

    # After a scrape that failed, nothing is there.
    waiting.until_nothing_is_left(lambda: "; ".join(unanswered()), timeout=100)
