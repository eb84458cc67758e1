"""The files in `crds/` are what the model says, and the API server's limits hold for them."""

import pathlib

import pytest
import yaml

from kymograph.cli import crds
from kymograph.model import kinds, otlpexporter, tracingconfiguration
from kymograph.telemetry import destination, logsettings, metricsettings, propagators, settings

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(crds.render()))
def test_checked_in_files_equal_the_model(name: str) -> None:
    """A file in crds/ that differs was edited by hand, or not written again: `kymograph crds --write crds`."""
    assert (ROOT / "crds" / name).read_text() == crds.render()[name]


def test_no_other_file_is_in_crds() -> None:
    """A kind that left the model leaves the folder too."""
    assert {path.name for path in (ROOT / "crds").iterdir()} == set(crds.render())


@pytest.mark.parametrize("kind", kinds.SHIPPED, ids=lambda kind: kind.kind)
def test_exactly_one_version_is_stored(kind) -> None:
    """The API server refuses any other number."""
    assert [version.storage for version in kind.versions].count(True) == 1


@pytest.mark.parametrize("kind", kinds.SHIPPED, ids=lambda kind: kind.kind)
def test_a_status_is_a_subresource_where_there_is_one(kind) -> None:
    """Reports have no status: whoever writes one writes all of it."""
    for version in kind.document()["spec"]["versions"]:
        has_status = "status" in version["schema"]["openAPIV3Schema"]["properties"]
        assert ("status" in version["subresources"]) is has_status


def test_every_field_of_a_tracing_configuration_is_acted_upon() -> None:
    """A field enters the schema when it works: each changes the settings that are read from it."""
    schema = tracingconfiguration.TRACING_CONFIGURATION.versions[0].schema["properties"]["spec"]
    values = {
        "traces.endpoint": "collector:4317",
        "traces.insecure": True,
        "traces.samplingRatePerMillion": 7,
        "traces.parent": "link",
        "traces.parentTracesPerSecond": 7,
        "traces.protocol": "http/protobuf",
        "traces.tls.caSecretRef": {"name": "otel-ca", "key": "ca.pem"},
        "traces.tls.clientCertificateSecretRef": {"name": "otel-client"},
        "traces.tls.serverName": "collector.example",
        "traces.headers": [{"name": "x-scope", "value": "a"}],
        "traces.keep.denied": True,
        "traces.keep.errors": True,
        "traces.keep.slowerThan": "500ms",
        "traces.keep.policies": ["no-privileges"],
        "traces.keep.namespaces": ["payments"],
        **{f"traces.controllers.{name}.enabled": False for name in tracingconfiguration.CONTROLLERS},
        **{f"traces.controllers.{name}.samplingRatePerMillion": 7 for name in tracingconfiguration.CONTROLLERS},
        "traces.attributes.user": True,
        "traces.decisionLink": "https://jaeger.example/trace/{trace_id}",
        "traces.samplingRules": [{"namespaces": ["payments"], "samplingRatePerMillion": 7}],
        "traces.additional": [{"name": "second", "endpoint": "second:4317"}],
        "traces.compression": "gzip",
        "traces.timeout": "3s",
        "metrics.prometheus.enabled": False,
        "metrics.prometheus.port": 9000,
        "metrics.prometheus.tls": {"certificateSecretRef": {"name": "metrics-tls"}},
        "metrics.prometheus.authorization": "kubernetes",
        "metrics.otlp.endpoint": "collector:4317",
        "metrics.otlp.insecure": True,
        "metrics.otlp.protocol": "http/protobuf",
        "metrics.otlp.tls.caSecretRef": {"name": "otel-ca", "key": "ca.pem"},
        "metrics.otlp.tls.clientCertificateSecretRef": {"name": "otel-client"},
        "metrics.otlp.tls.serverName": "collector.example",
        "metrics.otlp.headers": [{"name": "x-scope", "value": "a"}],
        "metrics.otlp.compression": "gzip",
        "metrics.otlp.timeout": "3s",
        "metrics.otlp.interval": "10s",
        "metrics.otlp.temporality": "delta",
        "metrics.otlp.histograms": "exponential",
        "metrics.prefix": "kyverno_",
        "metrics.byNamespace": True,
        "metrics.unified": True,
        "metrics.namespaces.include": ["team-*"],
        "metrics.namespaces.exclude": ["kube-*"],
        "metrics.exposure.*.enabled": False,
        "metrics.exposure.*.dropLabels": ["resource_namespace"],
        "metrics.exposure.*.buckets": [0.1, 1],
        "metrics.cardinalityLimit": 100,
        "resourceAttributes": {"k8s.cluster.name": "prod"},
        "logs.level": "debug",
        "logs.format": "json",
        "logs.redact.paths": ["data.password"],
        "logs.redact.fields": ["user"],
        "logs.loggers": {"kymograph.controllers": "debug"},
        "logs.otlp.endpoint": "collector:4317",
        "logs.otlp.insecure": True,
        "logs.otlp.protocol": "http/protobuf",
        "logs.otlp.compression": "gzip",
        "logs.otlp.timeout": "3s",
        "logs.otlp.tls.caSecretRef": {"name": "otel-ca", "key": "ca.pem"},
        "logs.otlp.tls.clientCertificateSecretRef": {"name": "otel-client"},
        "logs.otlp.tls.serverName": "collector.example",
        "logs.otlp.headers": [{"name": "x-scope", "value": "a"}],
        "logs.otlp.level": "warning",
        "propagators": ["b3"],
    }
    assert set(leaves(schema)) == set(values)
    only_beside = {
        "metrics.prometheus.authorization": "metrics.prometheus.tls",
        "metrics.unified": "metrics.prefix",
    }
    for path, value in values.items():
        given, absent = nested(path, value), nested(path, None)
        if beside := only_beside.get(path):
            also = nested(beside, values[beside])
            given, absent = joined(given, also), joined(absent, also)
        assert acted_upon(given) != acted_upon(absent), path


def joined(one, other):
    """Two objects as one."""
    common = {key: joined(one[key], other[key]) for key in one.keys() & other.keys()}
    return {**one, **other, **common}


def acted_upon(spec):
    """All settings that are read from a spec."""
    return settings.from_spec(spec), logsettings.from_spec(spec.get("logs") or {})


def test_names_of_the_schema_are_those_of_the_settings() -> None:
    """The model knows no telemetry, so it says twice what can be chosen."""
    assert tuple(destination.Protocol) == otlpexporter.PROTOCOLS
    assert tuple(settings.Controller) == tracingconfiguration.CONTROLLERS
    assert tuple(settings.ParentPolicy) == tracingconfiguration.PARENT_MODES
    assert tuple(metricsettings.Temporality) == tracingconfiguration.TEMPORALITIES
    assert tuple(metricsettings.Histograms) == tracingconfiguration.HISTOGRAMS
    assert metricsettings.PREFIXES == tracingconfiguration.PREFIXES
    assert metricsettings.AUTHORIZATIONS == tracingconfiguration.AUTHORIZATIONS
    assert destination.COMPRESSIONS == otlpexporter.COMPRESSIONS
    assert tuple(propagators.Propagator) == tracingconfiguration.PROPAGATORS


def test_printed_documents_are_crds(capsys) -> None:
    """`kymograph crds` prints what `kubectl apply -f -` takes."""
    from kymograph.cli import main

    assert main.main(["crds"]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [document["kind"] for document in documents] == ["CustomResourceDefinition"] * len(kinds.SHIPPED)


def leaves(schema, path: str = "") -> list[str]:
    """The paths of a schema's fields that hold no further named fields, or such that are only set together.

    `*` is any name in a map.
    """
    properties = schema.get("properties")
    if (anything := schema.get("additionalProperties", {})).get("properties"):
        properties = {"*": anything}
    if not properties or "required" in schema:
        return [path]
    return [leaf for name, inner in properties.items() for leaf in leaves(inner, f"{path}.{name}".lstrip("."))]


def nested(path: str, value) -> dict:
    """A spec that sets one field; None sets only what is around it."""
    *parents, last = path.split(".")
    spec = {} if value is None else {last: value}
    for parent in reversed(parents):
        spec = {parent: spec}
    return spec
