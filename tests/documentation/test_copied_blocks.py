"""What can be copied out of the documents and examples is taken: objects by an API server, commands by what is here."""

import itertools
import json
import re
import subprocess

import pytest
import yaml

from kymograph.cli import main as command_line
from support import documents, waiting

BLOCKS = documents.all_blocks()
TEXTS = {
    **{f"{block}, {number}": block.text for number, block in enumerate(BLOCKS) if block.language == "yaml"},
    **{path.name: path.read_text() for path in sorted((documents.ROOT / "examples").rglob("*.yaml"))},
}
READ_FROM_FILES = {
    "apiserver.config.k8s.io": {"AdmissionConfiguration", "TracingConfiguration"},
    "cli.kyverno.io": {"Test", "Values", "UserInfo", "Context"},
}
"""What commands and the API server read from files, by its group: no objects of an API server."""


def objects():
    """Every object of Kubernetes that is shown: something with apiVersion and kind."""
    for name, text in TEXTS.items():
        for document in yaml.safe_load_all(text):
            if isinstance(document, dict) and "apiVersion" in document:
                yield pytest.param(document, id=f"{name}: {document['kind']}")


@pytest.mark.parametrize("name", TEXTS)
def test_yaml_is_yaml(name) -> None:
    """Each block is, whole."""
    read = list(yaml.safe_load_all(TEXTS[name]))
    assert read
    assert None not in read


@pytest.fixture(scope="module")
def kinds(kubectl) -> None:
    """The kinds that Kymograph brings."""
    kubectl("apply", "-k", str(documents.ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=170s")


@pytest.mark.parametrize("document", list(objects()))
def test_an_object_is_taken_by_the_api_server(kubectl, kinds, document) -> None:
    """As it stands, strictly: no field is unknown or wrong.

    That it exists, or that an operator which other tests have installed is not granted what it asks for, is said only
    of what is valid. A kind that was just installed is not served everywhere at once.
    """
    group = document["apiVersion"].partition("/")[0]
    if group in READ_FROM_FILES:
        assert document["kind"] in READ_FROM_FILES[group]
        return
    metadata = {"name": "left-out", **document.get("metadata", {})}
    if "namespace" in metadata:  # which the documents have their readers create
        metadata["namespace"] = "default"
    given = json.dumps({**document, "metadata": metadata})
    command = ("create", "--dry-run=server", "--validate=strict", "-f", "-")

    def served() -> subprocess.CompletedProcess[str] | None:
        answered = kubectl(*command, input=given, check=False)
        return None if "no matches for kind" in answered.stderr else answered

    taken = waiting.until(f"{document['kind']} is served", served)
    valid = ("AlreadyExists", "requires permissions", "has no permission to")
    assert taken.returncode == 0 or any(each in taken.stderr for each in valid), taken.stderr


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.commands], ids=str)
def test_commands_name_files_and_subcommands_that_exist(block) -> None:
    """Files that a command reads are in the repository or shown in the document."""
    for command in block.commands:
        words = command.split()
        for flag, path in itertools.pairwise(words):
            if flag in {"-f", "-k", "--file"} and "://" not in path and path != "-":
                shown = f"`{path}`" in (documents.ROOT / block.document).read_text()
                assert shown or (documents.ROOT / path).exists(), f"{block}: {command}"
        used = re.search(r"\bkymograph (\w+)", command) if "kymograph" in words else None
        if used and words[0] in {"uv", "kymograph"}:
            with pytest.raises(SystemExit) as ended:
                command_line.main([used[1], "--help"])
            assert ended.value.code == 0, command
