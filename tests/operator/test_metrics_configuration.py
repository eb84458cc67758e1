"""What metrics are called, what they show and where they go is changed while the operator runs and counts."""

import json
import re
import urllib.request

import pytest

from kymograph import __version__
from support import metricreceivers, ports
from support.installed import NO_PRIVILEGES, TRACING, eventually, pod

pytestmark = pytest.mark.usefixtures("usual_configuration")

DENIED = {"request_allowed": "false", "resource_kind": "Pod", "resource_request_operation": "create"}
FAILED = {"policy_name": "no-privileges", "rule_result": "fail", "rule_execution_cause": "admission_request"}


@pytest.fixture
def receiver():
    """Receives metrics over OTLP/gRPC."""
    made = metricreceivers.Receiver()
    yield made
    made.stop()


@pytest.fixture
def dead():
    """An address where every connection is refused."""
    with ports.held() as port:
        yield f"127.0.0.1:{port}"


def configure(installed, traces=None, **metrics) -> None:
    """Have metrics shown so from now on, and wait until they are, or until it is said why not."""
    served = {"prometheus": {"enabled": True, "port": installed.metrics_port}}
    installed.put_in_force({"metrics": {**served, **metrics}, **({"traces": traces} if traces else {})})


def scrape(installed, accept: str = "") -> str:
    """What /metrics says."""
    asked = urllib.request.Request(f"http://127.0.0.1:{installed.metrics_port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - our own server
        return answer.read().decode()


def value(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels."""
    total = 0.0
    for written, number in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE):
        if labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', written)).items():
            total += float(number)
    return total


def deny(installed, name: str, namespace: str = "default") -> None:
    """Have the policy deny a Pod, and nobody else."""
    assert "Privileged" in installed.create(pod(name, namespace=namespace, privileged=True)).stderr


def test_kyvernos_names_apply_at_once_and_no_counter_is_reset(installed, enforce, prometheus) -> None:
    """A Prometheus with Kyverno's queries finds what it looks for, from the same counts."""
    enforce(NO_PRIVILEGES)
    deny(installed, "before")
    counted = value(scrape(installed), "admission_requests_total", **DENIED)
    configure(installed, prefix="kyverno_")
    text = scrape(installed)
    assert value(text, "kyverno_admission_requests_total", **DENIED) == counted >= 1
    assert "\nadmission_requests_total" not in text
    server = prometheus([f"127.0.0.1:{installed.metrics_port}"])
    deny(installed, "after")
    labels = ",".join(f'{key}="{each}"' for key, each in DENIED.items())
    server.query(f"sum(kyverno_admission_requests_total{{{labels}}}) == {counted + 1}")
    server.query('sum(kyverno_policy_results_total{policy_name="no-privileges",rule_result="fail"}) >= 2')
    server.query('count(kyverno_policy_rule_info_total{policy_name="no-privileges",status_ready="true"} == 1) == 3')
    server.query("sum(kyverno_policy_execution_duration_seconds_count) > 0")
    server.query('sum(kyverno_policy_changes_total{policy_name="no-privileges",policy_change_type="created"}) >= 1')


def test_labels_are_dropped_and_namespaces_left_out_live(installed, enforce, namespace) -> None:
    """Dropped labels add series up; what happens in an excluded namespace is not counted, elsewhere it is."""
    enforce(NO_PRIVILEGES)
    installed.wait_for_accounts(namespace)
    deny(installed, "one", namespace)
    deny(installed, "one")
    before = value(scrape(installed), "policy_results_total", **FAILED)
    assert before >= 2
    configure(
        installed,
        byNamespace=True,
        exposure={
            "policy_results_total": {"dropLabels": ["resource_namespace"]},
            "admission_review_duration_seconds": {"buckets": [0.001, 60]},
            "policy_execution_duration_seconds": {"enabled": False},
        },
    )
    deny(installed, "two", namespace)
    text = scrape(installed)
    assert value(text, "policy_results_total", **FAILED) == before + 1
    assert not re.search(r"^policy_results_total{.*resource_namespace", text, re.MULTILINE)
    assert "# TYPE policy_execution_duration_seconds" not in text
    bounds = set(re.findall(r'^admission_review_duration_seconds_bucket{.*le="([^"]*)"', text, re.MULTILINE))
    assert bounds == {"0.001", "60.0", "+Inf"}

    elsewhere = value(scrape(installed), "admission_requests_total", resource_namespace="default", **DENIED)
    configure(installed, byNamespace=True, namespaces={"exclude": ["test-*"]})
    deny(installed, "three", namespace)
    deny(installed, "three")
    text = scrape(installed)
    assert value(text, "admission_requests_total", resource_namespace=namespace) == 0
    assert value(text, "admission_requests_total", resource_namespace="default", **DENIED) == elsewhere + 1


def test_a_metric_that_there_is_not_is_a_condition_that_lists_those_there_are(installed) -> None:
    """The last good configuration goes on."""
    configure(installed, prefix="kyverno_")
    configure(installed, exposure={"policy_result": {"enabled": False}})
    accepted = installed.conditions(*TRACING)["Accepted"]
    assert (accepted["status"], accepted["reason"]) == ("False", "SettingsInvalid")
    assert "policy_result" in accepted["message"]
    assert "policy_results_total" in accepted["message"]
    assert "# TYPE kyverno_admission_requests_total counter" in scrape(installed)
    configure(installed, exposure={"policy_results": {"dropLabels": ["namespace"]}})
    assert "resource_namespace" in installed.conditions(*TRACING)["Accepted"]["message"]


@pytest.mark.parametrize(
    ("metrics", "complaint"),
    [
        ({"prefix": "gatekeeper_"}, "spec.metrics.prefix"),
        ({"cardinalityLimit": 5}, "spec.metrics.cardinalityLimit"),
        ({"otlp": {"interval": "1ms"}}, "must be a duration between 1s and 1h"),
        ({"otlp": {"interval": "soon"}}, "spec.metrics.otlp.interval"),
        ({"otlp": {"temporality": "both"}}, "spec.metrics.otlp.temporality"),
        ({"otlp": {"endpoint": "http://collector"}}, "spec.metrics.otlp.endpoint"),
        ({"otlp": {"insecure": True, "tls": {}}}, "insecure and tls exclude each other"),
        ({"namespaces": {"include": ["Team"]}}, "spec.metrics.namespaces.include"),
        ({"exposure": {"a": {"buckets": []}}}, "spec.metrics.exposure"),
        ({"exposure": {"a": {"dropLabels": ["a", "a"]}}}, "Duplicate value"),
    ],
)
def test_a_wrong_field_is_refused_by_the_api_server(installed, metrics: dict, complaint: str) -> None:
    """The author reads the field in kubectl's answer."""
    # A patch carries no resourceVersion, so a status that the operator writes meanwhile is no conflict.
    patch = json.dumps([{"op": "add", "path": "/spec", "value": {"metrics": metrics}}])
    refused = installed.kubectl("patch", *TRACING, "--dry-run=server", "--type=json", "-p", patch, check=False)
    assert refused.returncode == 1
    assert complaint in refused.stderr


def test_metrics_are_pushed_beside_being_scraped_and_a_dead_receiver_is_only_a_condition(
    installed, enforce, otlp, receiver, dead
) -> None:
    """Push and pull say the same; each signal has its state; the failing one is named."""
    enforce(NO_PRIVILEGES)
    traces = {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}
    configure(installed, traces, otlp={"endpoint": receiver.endpoint, "interval": "1s"}, byNamespace=True)
    deny(installed, "pushed")
    scraped = value(scrape(installed), "admission_requests_total", resource_namespace="default", **DENIED)
    receiver.wait_for(
        "admission_requests",
        lambda points: points[-1:] and points[-1].as_int == scraped,
        resource_namespace="default",
        **DENIED,
    )
    assert receiver.resources[-1]["service.name"] == "kymograph"
    assert receiver.scopes == {("kymograph", __version__)}

    def delivered() -> dict | None:
        told = installed.get(*TRACING)["status"]
        return told if any(each["reason"] == "Delivered" for each in told["conditions"]) else None

    exporters = {each["signal"]: each for each in eventually(delivered)["exporters"]}
    assert exporters.keys() == {"traces", "metrics"}
    assert exporters["metrics"]["endpoint"] == receiver.endpoint
    assert exporters["metrics"]["sent"] > 0

    pushed = {"endpoint": dead, "interval": "1s", "temporality": "delta"}
    configure(installed, traces, otlp=pushed, byNamespace=True)
    failing = eventually(lambda: (c := installed.conditions(*TRACING)["Exporting"])["reason"] == "ExportFailed" and c)
    assert f"{dead} does not take metrics" in failing["message"]
    assert f"{otlp.endpoint} does not take" not in failing["message"]
    deny(installed, "unpushed")
    assert value(scrape(installed), "admission_requests_total", resource_namespace="default", **DENIED) == scraped + 1


def test_namespaces_of_objects_are_shown_where_that_is_asked_for(installed, enforce) -> None:
    """By one line; what was counted before stays counted."""
    enforce(NO_PRIVILEGES)
    configure(installed)
    deny(installed, "nowhere")
    counted = value(scrape(installed), "admission_requests_total", **DENIED)
    assert counted >= 1
    assert 'admission_requests_total{resource_kind="Pod",resource_request_operation' in scrape(installed)
    configure(installed, byNamespace=True)
    deny(installed, "somewhere")
    text = scrape(installed)
    assert value(text, "admission_requests_total", resource_namespace="default", **DENIED) == 1
    assert value(text, "admission_requests_total", **DENIED) == counted + 1


def test_series_of_what_is_deleted_go(installed, enforce) -> None:
    """Of a namespace and of a policy; that a policy was deleted stays to be seen."""
    configure(installed, byNamespace=True)
    enforce(NO_PRIVILEGES)
    installed.make_namespace("short-lived")
    deny(installed, "gone", "short-lived")
    here = {"resource_namespace": "short-lived"}
    assert value(scrape(installed), "admission_requests_total", **here) == 1
    assert value(scrape(installed), "policy_results_total", **here) == 1
    installed.kubectl("delete", "namespace", "short-lived")
    eventually(lambda: "short-lived" not in scrape(installed))

    deleted = value(scrape(installed), "policy_changes_total", policy_change_type="deleted")
    installed.forget_policies()
    text = scrape(installed)
    assert value(text, "policy_results_total", policy_name="no-privileges") == 0
    assert value(text, "policy_rule_info_total", policy_name="no-privileges") == 0
    assert value(text, "policy_changes_total", policy_change_type="deleted") == deleted + 1


def test_prometheus_has_the_trace_of_what_was_counted(installed, enforce, prometheus, otlp) -> None:
    """An exemplar on a histogram and a counter, whose trace the receiver of traces has."""
    enforce(NO_PRIVILEGES)
    server = prometheus([f"127.0.0.1:{installed.metrics_port}"])
    server.query("up == 1")
    deny(installed, "exemplary")
    span = otlp.wait_for(
        lambda each: each.kind == "server" and each.attributes.get("admission.request.name") == "exemplary", 60
    )

    def found(query: str) -> set[tuple[str, str]]:
        answer = server.get("query_exemplars", query=query, start="0", end="9999999999")
        return {
            (each["labels"]["trace_id"], each["labels"]["span_id"]) for series in answer for each in series["exemplars"]
        }

    wanted = {(span.trace_id, span.span_id)}
    for query in (
        "admission_review_duration_seconds_bucket",
        "admission_requests_total",
        "policy_results_total",
        "policy_execution_duration_seconds_bucket",
    ):
        eventually(lambda query=query: wanted <= found(query))
