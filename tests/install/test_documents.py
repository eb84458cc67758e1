"""What the documentation tells a reader to write is taken by a real API server, and what it names exists."""

import itertools
import json
import re

import pytest
import yaml

from kymograph.cli import main as command_line
from support import documents

BLOCKS = documents.all_blocks()
READ_FROM_FILES = {
    "apiserver.config.k8s.io": {"AdmissionConfiguration", "TracingConfiguration"},
    "cli.kyverno.io": {"Test", "Values", "UserInfo", "Context"},
}


def objects():
    """Every object of Kubernetes in a YAML block: something with apiVersion and kind."""
    for block in BLOCKS:
        if block.language == "yaml":
            for document in yaml.safe_load_all(block.text):
                if isinstance(document, dict) and "apiVersion" in document:
                    yield pytest.param(document, id=f"{block}: {document['kind']}")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=str)
def test_yaml_is_yaml(block) -> None:
    assert all(document is not None for document in yaml.safe_load_all(block.text))


@pytest.mark.parametrize("document", list(objects()))
def test_an_object_in_the_documentation_is_taken_by_an_api_server(kubectl, installed_kinds, document) -> None:
    """As it stands: no field is unknown or wrong. What commands and the API server read from files is no object."""
    group = document["apiVersion"].partition("/")[0]
    if group in READ_FROM_FILES:
        assert document["kind"] in READ_FROM_FILES[group]
        return
    metadata = {"name": "documented", **document.get("metadata", {})}
    if "namespace" in metadata:  # which the documents have their readers create
        kubectl("create", "namespace", metadata["namespace"], check=False)
    given = json.dumps({**document, "metadata": metadata})
    kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=given)


@pytest.fixture(scope="session")
def installed_kinds(kubectl) -> None:
    """The kinds that Kymograph brings."""
    kubectl("apply", "-k", str(documents.ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=50s")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.commands], ids=str)
def test_commands_name_files_and_subcommands_that_exist(block) -> None:
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


def test_links_between_documents_lead_somewhere() -> None:
    """Relative links name files and headings that are there."""
    for page in sorted({block.document for block in BLOCKS}):
        text = (documents.ROOT / page).read_text()
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            file = (documents.ROOT / page).parent / path if path else documents.ROOT / page
            assert file.exists(), f"{page}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{page}: {target}"
