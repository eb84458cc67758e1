"""A TracingConfiguration applies while the operator runs; what is wrong with one is said where its author looks."""

import http.client
import urllib.request

import pytest

from kymograph.localcluster import installation
from kymograph.objecttrace.sources import otlp as otlp_source
from support.installed import NO_PRIVILEGES, TRACING, eventually, pod

PATIENCE = 60.0

configures = pytest.mark.usefixtures("usual_configuration")


def reviewed(span, name: str) -> bool:
    """Whether a span is the server span of the review of an object."""
    return span.kind == "server" and span.attributes.get("admission.request.name") == name


@pytest.mark.parametrize(
    ("name", "spec", "complaint"),
    [
        ("other", {}, "must be named 'default'"),
        ("default", {"traces": {"endpoint": "http://collector:4317"}}, "spec.traces.endpoint"),
        ("default", {"traces": {"samplingRatePerMillion": 1_000_001}}, "spec.traces.samplingRatePerMillion"),
        ("default", {"traces": {"parent": "obey"}}, "spec.traces.parent"),
        ("default", {"metrics": {"prometheus": {"port": 0}}}, "spec.metrics.prometheus.port"),
        ("default", {"traces": {"sampling": 1}}, 'unknown field "spec.traces.sampling"'),
        ("default", {"resourceAttributes": {"a": "x" * 1025}}, "spec.resourceAttributes"),
    ],
)
def test_a_wrong_field_is_refused_by_the_api_server(installed, name: str, spec: dict, complaint: str) -> None:
    """The author reads the field in kubectl's answer; nothing wrong is ever stored."""
    document = {"apiVersion": "kymograph.dev/v1alpha1", "kind": "TracingConfiguration", "metadata": {"name": name}}
    refused = installed.kubectl("apply", "--dry-run=server", "-f", "-", given={**document, "spec": spec}, check=False)
    assert refused.returncode == 1
    assert complaint in refused.stderr


@configures
def test_traces_move_to_another_collector_while_requests_come(installed, enforce, otlp) -> None:
    """Endpoint and resource attributes change without a restart; the old collector gets nothing more."""
    enforce(NO_PRIVILEGES)
    with otlp_source.Receiver() as other:
        installed.put_in_force(
            {
                "traces": {"endpoint": other.endpoint, "samplingRatePerMillion": 1_000_000},
                "resourceAttributes": {"k8s.cluster.name": "moved"},
            },
        )
        installed.create(pod("moved", privileged=True))
        server = other.wait_for(lambda span: reviewed(span, "moved"), PATIENCE)
        assert server.resource["k8s.cluster.name"] == "moved"
        assert server.resource["service.name"] == "kymograph"
        assert server.resource["k8s.namespace.name"] == "kymograph"
        eventually(lambda: installed.conditions(*TRACING)["Exporting"]["status"] == "True")
        exporter = installed.get(*TRACING)["status"]["exporters"][0]
        assert exporter["endpoint"] == other.endpoint
        assert not [span for span in otlp.trace(server.trace_id) if span.service == "kymograph"]


@configures
def test_ignored_parents_and_rate_zero_trace_nothing(installed, enforce, otlp) -> None:
    """`parent: ignore` with rate 0: the API server's decision is not ours."""
    enforce(NO_PRIVILEGES)
    with otlp_source.Receiver() as other:
        installed.put_in_force({"traces": {"endpoint": other.endpoint, "parent": "ignore"}})
        installed.create(pod("ignored", privileged=True))
        installed.put_in_force({"traces": {"endpoint": other.endpoint, "parent": "respect"}})
        installed.create(pod("respected", privileged=True))
        other.wait_for(lambda span: reviewed(span, "respected"), PATIENCE)
        assert not [span for span in other.received() if reviewed(span, "ignored")], "it would have come first"


@configures
def test_a_linked_parent_gives_a_trace_of_its_own(installed, enforce, otlp) -> None:
    """`parent: link`: a root with a link to the API server's span."""
    enforce(NO_PRIVILEGES)
    installed.put_in_force(
        {"traces": {"endpoint": otlp.endpoint, "parent": "link", "samplingRatePerMillion": 1_000_000}}
    )
    installed.create(pod("linked-parent", privileged=True))
    server = otlp.wait_for(lambda span: reviewed(span, "linked-parent"), PATIENCE)
    assert server.parent_id == ""
    (link,) = server.links
    assert otlp.wait_for(lambda span: span.span_id == link.span_id, PATIENCE).service == "apiserver"


@configures
def test_a_dead_collector_is_a_condition_and_nothing_else(installed, enforce) -> None:
    """Requests go on, spans are dropped and counted, and `kubectl get` says so; it recovers by itself."""
    enforce(NO_PRIVILEGES)
    dead = f"127.0.0.1:{installation.free_port()}"
    installed.put_in_force({"traces": {"endpoint": dead, "samplingRatePerMillion": 1_000_000}})
    assert installed.create(pod("undelivered", privileged=True)).returncode == 1
    exporting = eventually(lambda: (c := installed.conditions(*TRACING)["Exporting"])["reason"] == "ExportFailed" and c)
    assert exporting["status"] == "False"
    assert dead in exporting["message"]
    assert installed.create(pod("fine"), "--dry-run=server").returncode == 0
    eventually(lambda: "export_failed" in scraped(installed.metrics_port))


@configures
def test_without_traces_nothing_is_exported(installed, enforce) -> None:
    """The shipped default."""
    installed.put_in_force({})
    exporting = eventually(lambda: installed.conditions(*TRACING).get("Exporting"))
    assert (exporting["status"], exporting["reason"]) == ("False", "NotConfigured")


@configures
def test_metrics_move_and_stop(installed) -> None:
    """The pull endpoint follows the resource: another port, none, and back."""
    moved = installation.free_port()
    installed.put_in_force({"metrics": {"prometheus": {"enabled": True, "port": moved}}})
    assert "process_cpu_seconds_total" in eventually(lambda: scraped(moved))
    assert not scraped(installed.metrics_port)
    installed.put_in_force({"metrics": {"prometheus": {"enabled": False}}})
    eventually(lambda: not scraped(moved))


@configures
def test_a_port_in_use_is_a_condition_and_the_last_good_one_goes_on(installed) -> None:
    """What is only known at run time is shown, not crashed on."""
    installed.put_in_force({})
    assert eventually(lambda: scraped(installed.metrics_port))
    installed.put_in_force({"metrics": {"prometheus": {"port": installed.operator.health_port}}})
    accepted = eventually(lambda: (c := installed.conditions(*TRACING)["Accepted"])["status"] == "False" and c)
    assert accepted["reason"] == "PortTaken"
    assert str(installed.operator.health_port) in accepted["message"]
    assert eventually(lambda: scraped(installed.metrics_port))


def scraped(port: int) -> str:
    """What /metrics says on a port; empty where nobody serves it."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.read().decode()
    except (OSError, http.client.HTTPException):  # nobody listens, or whoever did stops doing so
        return ""
