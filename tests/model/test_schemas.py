"""The kinds that ship, as the API server sees them: everything a user writes is bounded, mistakes are refused."""

import json

import pytest
import yaml

from kymograph.cli import crds
from kymograph.model import crd, kinds, policy, policyreport, tracingconfiguration
from support import waiting


@pytest.fixture(scope="module")
def installed(kubectl):
    """The CRDs as `kymograph crds` prints them."""
    rendered = {name.removesuffix(".yaml"): text for name, text in crds.render().items()}
    del rendered["kustomization"]
    for text in rendered.values():
        kubectl("apply", "-f", "-", input=text)
    for kind in rendered:
        waiting.until(f"{kind} is served", lambda kind=kind: kubectl("get", kind, check=False).returncode == 0)
    return kubectl


def taken(kubectl, document):
    """What the API server says to a document; empty if it takes it."""
    done = kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", input=json.dumps(document), check=False
    )
    return "" if done.returncode == 0 or "AlreadyExists" in done.stderr else done.stderr


def configuration(spec, name="default"):
    return {**tracingconfiguration.default(), "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"traces": {}},
        {"logs": {"loggers": {"kopf": "debug", "rooted": "info"}}},
        {"traces": {"endpoint": "collector.example:4317", "samplingRatePerMillion": 1_000_000, "parent": "link"}},
        {"traces": {"endpoint": "[fd00::1]:4317", "insecure": True}},
        {"traces": {"endpoint": "10.0.0.1:1"}, "resourceAttributes": {"k8s.cluster.name": "prod"}},
    ],
)
def test_a_good_configuration_is_taken(installed, spec) -> None:
    """The empty one, which is the default, and every form of endpoint."""
    assert taken(installed, configuration(spec)) == ""


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"traces": {"endpoint": "collector"}}, "spec.traces.endpoint"),
        ({"traces": {"endpoint": "http://collector:4317"}}, "spec.traces.endpoint"),
        ({"traces": {"endpoint": "collector:4317/v1"}}, "spec.traces.endpoint"),
        ({"traces": {"samplingRatePerMillion": -1}}, "spec.traces.samplingRatePerMillion"),
        ({"traces": {"samplingRatePerMillion": 1_000_001}}, "spec.traces.samplingRatePerMillion"),
        ({"traces": {"parent": "maybe"}}, "spec.traces.parent"),
        ({"metrics": {"prometheus": {"port": 0}}}, "spec.metrics.prometheus.port"),
        ({"logs": {"loggers": {"root": "error"}}}, "its level is logs.level"),
        ({"logs": {"loggers": {"": "error"}}}, "its level is logs.level"),
        ({"resourceAttributes": {"a": 1}}, "spec.resourceAttributes.a"),
        ({"resourceAttributes": {"": "x"}}, "spec.resourceAttributes: Invalid value: must have names of 1 to 255"),
        ({"resourceAttributes": {"cluster name": "x"}}, "must have names of 1 to 255 characters without spaces"),
        ({"trace": {}}, "spec.trace"),
        ({"traces": {"endpoint": "http://collector:4317"}}, "must be host:port without scheme and path"),
        ({"logs": {"otlp": {"endpoint": "collector"}}}, "must be host:port without scheme and path"),
        ({"traces": {"headers": [{"name": "Authorization", "value": "a"}]}}, "a header in lower case"),
        ({"traces": {"decisionLink": "https://jaeger.example/trace"}}, "must be a URL with {trace_id}"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(installed, spec, named) -> None:
    """By the API server itself, whether or not the operator runs; where the form is not obvious, with what it is."""
    assert named in taken(installed, configuration(spec))


def test_only_the_name_default_is_taken(installed) -> None:
    """One applies; a second one would be edited in vain."""
    assert "must be named 'default'" in taken(installed, configuration({}, name="other"))


@pytest.mark.parametrize("version", ["v1", "v2beta1"])
@pytest.mark.parametrize("kind", ["ClusterPolicy", "Policy"])
def test_a_policy_keeps_every_field(installed, namespace, kind, version) -> None:
    """Also those that no schema names: pruned, a policy would lose a rule without anybody noticing."""
    rule = {"name": "r", "match": {"any": []}, "unknown": {"deep": [1, "a", None, {"x": True}]}}
    document = {
        "apiVersion": f"kyverno.io/{version}",
        "kind": kind,
        "metadata": {"name": "p", **({"namespace": namespace} if kind == "Policy" else {})},
        "spec": {"rules": [rule], "alsoUnknown": 1},
    }
    done = installed("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(document), check=False)
    if "webhook" in done.stderr:  # an operator of another test judges it: it was not pruned on the way there
        assert "alsoUnknown" in done.stderr
        return
    said_by_default = {"admission": True, "background": True, "emitWarning": False}
    assert json.loads(done.stdout)["spec"] == {**said_by_default, **document["spec"]}


def test_a_report_as_other_tools_write_it_is_taken(installed, namespace) -> None:
    """The working group's format has no limits of ours."""
    result = {
        "policy": "x" * 300,
        "result": "warn",
        "severity": "info",
        "message": "m" * 5000,
        "resources": [{"kind": "Pod", "name": "p"}],
        "resourceSelector": {"matchLabels": {"a": "b"}},
        "properties": {"any": "thing"},
        "timestamp": {"seconds": 1, "nanos": 0},
    }
    report = {
        "apiVersion": policyreport.API_VERSION,
        "kind": "PolicyReport",
        "metadata": {"name": "r", "namespace": namespace},
        "scope": {"kind": "Pod", "name": "p"},
        "results": [result],
        "summary": {"pass": 1},
    }
    assert taken(installed, report) == ""
    assert "results[0].result" in taken(installed, {**report, "results": [{**result, "result": "maybe"}]})
    assert "policy" in taken(installed, {**report, "results": [{"rule": "r"}]})


def fields(schema, path=""):
    """Every schema within a schema, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from fields(inner, f"{path}.{name}".lstrip("."))
    for inner, suffix in ((schema.get("items"), "[]"), (schema.get("additionalProperties"), "{}")):
        if isinstance(inner, dict):
            yield from fields(inner, path + suffix)


SPEC = tracingconfiguration.TRACING_CONFIGURATION.versions[0].schema["properties"]["spec"]


@pytest.mark.parametrize(("path", "schema"), [pytest.param(*each, id=each[0] or "spec") for each in fields(SPEC)])
def test_everything_a_user_can_write_has_a_bound(path, schema) -> None:
    """The API server estimates what rules cost by them, and nobody fills etcd through us."""
    match schema["type"]:
        case "string":
            assert "maxLength" in schema or "enum" in schema
        case "array":
            assert "maxItems" in schema
        case "integer":
            assert {"minimum", "maximum"} <= set(schema)
        case "object" if "additionalProperties" in schema:
            assert "maxProperties" in schema


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        pytest.param(*each, id=each[0])
        for each in fields(SPEC)
        if each[0] and not each[0].endswith(("[]", "{}")) and each[1]["type"] != "object"
    ],
)
def test_everything_a_user_can_write_is_explained(path, schema) -> None:
    """`kubectl explain` is the documentation at hand."""
    assert schema.get("description"), path


@pytest.mark.parametrize("kind", kinds.SHIPPED, ids=lambda kind: kind.kind)
def test_kubectl_shows_columns_that_exist(kind) -> None:
    """A path that leads nowhere is an empty column for ever."""
    for version in kind.versions:
        properties = version.schema["properties"]
        for column in version.columns:
            first, *rest = column.path.lstrip(".").split(".")
            assert first in properties or first == "metadata", column
            if first == "spec" and kind is tracingconfiguration.TRACING_CONFIGURATION:
                inner = properties["spec"]
                for name in rest:
                    inner = inner["properties"][name]


def test_a_kind_names_its_definition() -> None:
    """`<plural>.<group>`, as the API server demands."""
    assert policy.CLUSTER_POLICY.name == "clusterpolicies.kyverno.io"
    document = policy.POLICY.document()
    assert (document["metadata"]["name"], document["spec"]["scope"]) == ("policies.kyverno.io", "Namespaced")
    assert document["spec"]["names"]["shortNames"] == ["pol"]


def test_schemas_say_in_yaml_what_they_say_in_python() -> None:
    """Nothing is an alias, a tuple or a tag: `kubectl apply` reads plain YAML."""
    for kind in kinds.SHIPPED:
        text = yaml.safe_dump(kind.document())
        assert "!!" not in text
        assert yaml.safe_load(text) == json.loads(json.dumps(kind.document()))


def test_builders_bound_what_they_build() -> None:
    """Text and lists cannot be built without."""
    assert crd.text("x")["maxLength"] == 253
    assert crd.listing("x", crd.text("y"), max_items=3)["maxItems"] == 3
    assert crd.open_record("x")["x-kubernetes-preserve-unknown-fields"] is True
