"""docs/walkthroughs: what a page has its reader apply fits together, from the operator to the screen.

That API servers take the objects is tested with those of all other pages. Collectors, backends and Datadog are not run
here: their configurations are followed by name and port instead.
"""

import itertools
import re

import pytest
import yaml

from kymograph.telemetry import settings
from support import documents

PAGES = ["datadog", "jaeger", "tempo"]


class Page:
    """One walkthrough: its objects and its commands."""

    def __init__(self, name):
        self.blocks = documents.blocks(f"docs/walkthroughs/{name}.md")
        self.text = (documents.ROOT / "docs" / "walkthroughs" / f"{name}.md").read_text()
        self.objects = [
            each for block in self.blocks if block.language == "yaml" for each in yaml.safe_load_all(block.text)
        ]
        self.commands = [command for block in self.blocks for command in block.commands]

    def named(self, kind):
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] == kind}

    def container(self, deployment):
        (container,) = self.named("Deployment")[deployment]["spec"]["template"]["spec"]["containers"]
        return container

    def leads_to(self, endpoint):
        """The Deployment behind `service.namespace:port`, and the container's port."""
        service, namespace, port = re.fullmatch(r"(?:http://)?([\w-]+)\.([\w-]+):(\d+)", endpoint).groups()
        service = self.named("Service")[service]
        assert service["metadata"]["namespace"] == namespace
        (of_service,) = [each for each in service["spec"]["ports"] if each["port"] == int(port)]
        ((name, _),) = [
            (name, each)
            for name, each in self.named("Deployment").items()
            if service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        ports = {each["name"]: each["containerPort"] for each in self.container(name)["ports"]}
        return name, ports[of_service["targetPort"]]

    @property
    def collector(self):
        return yaml.safe_load(self.named("ConfigMap")["otel-collector"]["data"]["config.yaml"])

    @property
    def tracing(self):
        (configuration,) = self.named("TracingConfiguration").values()
        return configuration["spec"]


@pytest.fixture(params=PAGES)
def page(request):
    return Page(request.param)


def port(endpoint):
    return int(endpoint.rpartition(":")[2])


def test_every_walkthrough_is_looked_at() -> None:
    folder = documents.ROOT / "docs" / "walkthroughs"
    assert sorted(path.stem for path in folder.glob("*.md")) == PAGES


def test_pipelines_are_of_components_that_are_declared_and_used(page) -> None:
    """A connector ends one pipeline and begins another; memory is limited before anything else."""
    collector = page.collector
    connectors = set(collector.get("connectors", {}))
    pipelines = collector["service"]["pipelines"].values()
    for part, others in (("receivers", connectors), ("processors", set()), ("exporters", connectors)):
        used = set(itertools.chain.from_iterable(pipeline[part] for pipeline in pipelines))
        assert used == set(collector[part]) | others
    assert all(pipeline["processors"][0] == "memory_limiter" for pipeline in pipelines)
    limit = page.container("otel-collector")["resources"]["limits"]["memory"]
    assert collector["processors"]["memory_limiter"]["limit_mib"] < int(limit.removesuffix("Mi"))


def test_the_operator_sends_to_the_receiver_of_a_pipeline(page) -> None:
    """Traces, and metrics where the page pushes them; in plaintext, which is what the receiver speaks."""
    receiver = page.collector["receivers"]["otlp"]["protocols"]["grpc"]
    pipelines = page.collector["service"]["pipelines"]
    sent = {"traces": page.tracing["traces"]}
    if "otlp" in page.tracing["metrics"]:
        sent["metrics"] = page.tracing["metrics"]["otlp"]
    assert set(sent) == set(pipelines)
    for signal, exporter in sent.items():
        assert page.leads_to(exporter["endpoint"]) == ("otel-collector", port(receiver["endpoint"]))
        assert exporter["insecure"] is ("tls" not in receiver)
        assert "otlp" in pipelines[signal]["receivers"]


def test_everything_is_traced_and_the_operator_takes_it(page) -> None:
    """As it reads its configuration: a reader's first request leaves a trace, and needs no Secret of the operator."""
    read = settings.from_spec(page.tracing)
    assert read.traces.sampling_rate_per_million == 1_000_000
    assert all(exporter.plaintext for exporter in read.exporters)
    assert read.secrets == frozenset()
    assert (read.metrics.prometheus_enabled, read.metrics.prometheus_port) == (True, 8000)


def test_the_collector_sends_to_something_on_the_page_or_to_datadog(page) -> None:
    """With what it needs for that in its environment."""
    for name, exporter in page.collector["exporters"].items():
        if name == "datadog":
            continue
        backend, at = page.leads_to(exporter["endpoint"])
        assert name == f"otlp/{backend}"
        assert exporter["tls"] == {"insecure": True}
        assert at == 4317
    environment = {each["name"] for each in page.container("otel-collector").get("env", [])}
    assert set(re.findall(r"\$\{env:(\w+)\}", yaml.safe_dump(page.collector))) == environment


def test_pods_find_their_configuration_and_secrets(page) -> None:
    """Volumes are of ConfigMaps on the page, files named in arguments are in them, and keys in Secrets."""
    for name, deployment in page.named("Deployment").items():
        pod, container = deployment["spec"]["template"]["spec"], page.container(name)
        assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
        mounted = {each["name"]: each["mountPath"] for each in container.get("volumeMounts", [])}
        assert set(mounted) == {volume["name"] for volume in pod.get("volumes", [])}
        files = {
            f"{mounted[volume['name']]}/{file}"
            for volume in pod.get("volumes", [])
            if "configMap" in volume
            for file in page.named("ConfigMap")[volume["configMap"]["name"]]["data"]
        }
        for argument in container.get("args", []):
            assert argument.partition("=")[2] in files
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                wanted = variable["valueFrom"]["secretKeyRef"]
                assert wanted["key"] in page.named("Secret")[wanted["name"]]["stringData"]
        assert re.fullmatch(r"[\w-]+/[\w-]+:\d+\.\d+\.\d+", container["image"])
        assert "limits" in container["resources"]


def test_commands_are_about_what_the_page_makes(page) -> None:
    """Everything is applied, waited for, and forwarded at a port that there is."""
    commands = "\n".join(page.commands)
    shown = set(re.findall(r"^`([\w-]+\.yaml)`$", page.text, re.MULTILINE))
    assert set(re.findall(r"-f ([\w-]+\.yaml)", commands)) == shown
    assert set(re.findall(r"-n observability rollout status deployment/([\w-]+)", commands)) == set(
        page.named("Deployment")
    )
    assert "kubectl create namespace observability" in commands
    namespaces = {each["metadata"].get("namespace", "observability") for each in page.objects}
    assert namespaces == {"observability"}
    for service, of_us, of_service in re.findall(r"port-forward service/([\w-]+) (\d+):(\d+)", commands):
        page.leads_to(f"{service}.observability:{of_service}")
        assert f"http://localhost:{of_us}" in page.text


def test_tempo_listens_where_its_service_leads_and_grafana_asks_there() -> None:
    page = Page("tempo")
    tempo = yaml.safe_load(page.named("ConfigMap")["tempo"]["data"]["tempo.yaml"])
    assert page.leads_to("tempo.observability:4317") == (
        "tempo",
        port(tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]),
    )
    (source,) = yaml.safe_load(page.named("ConfigMap")["grafana-datasources"]["data"]["datasources.yaml"])[
        "datasources"
    ]
    assert (source["type"], page.leads_to(source["url"])) == ("tempo", ("tempo", tempo["server"]["http_listen_port"]))
    stored = {tempo["storage"]["trace"][where]["path"] for where in ("wal", "local")}
    (volume,) = [each for each in page.container("tempo")["volumeMounts"] if each["name"] == "traces"]
    assert all(path.startswith(volume["mountPath"]) for path in stored)
