"""The files in `crds/` are what the model says, and the API server's limits hold for them."""

import pathlib

import pytest
import yaml

from kymograph.cli import crds
from kymograph.model import kinds, tracingconfiguration
from kymograph.telemetry import settings

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


def test_every_field_of_a_tracing_configuration_is_acted_upon() -> None:
    """A field enters the schema when it works: each changes the settings that are read from it."""
    schema = tracingconfiguration.TRACING_CONFIGURATION.versions[0].schema["properties"]["spec"]
    values = {
        "traces.endpoint": "collector:4317",
        "traces.insecure": True,
        "traces.samplingRatePerMillion": 7,
        "traces.parent": "link",
        "metrics.prometheus.enabled": False,
        "metrics.prometheus.port": 9000,
        "resourceAttributes": {"k8s.cluster.name": "prod"},
    }
    assert set(leaves(schema)) == set(values)
    for path, value in values.items():
        assert settings.from_spec(nested(path, value)) != settings.from_spec(nested(path, None)), path


def test_printed_documents_are_crds(capsys) -> None:
    """`kymograph crds` prints what `kubectl apply -f -` takes."""
    from kymograph.cli import main

    assert main.main(["crds"]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [document["kind"] for document in documents] == ["CustomResourceDefinition"] * len(kinds.SHIPPED)


def leaves(schema, path: str = "") -> list[str]:
    """The paths of a schema's fields that hold no further named fields."""
    properties = schema.get("properties")
    if not properties:
        return [path]
    return [leaf for name, inner in properties.items() for leaf in leaves(inner, f"{path}.{name}".lstrip("."))]


def nested(path: str, value) -> dict:
    """A spec that sets one field; None sets only what is around it."""
    *parents, last = path.split(".")
    spec = {} if value is None else {last: value}
    for parent in reversed(parents):
        spec = {parent: spec}
    return spec
