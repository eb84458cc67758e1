"""What docs/command-line.md shows of `apply`, `jp` and `explain` is what they print, and every flag is described."""

import argparse
import importlib
import pathlib
import re
import shlex

import pytest

from kymograph.cli import main

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
EXAMPLES = re.findall(
    r"```\n(kymograph (?:apply|jp|explain) [^\n.]*\.yaml[^\n]*)\n```\n(?:\n```\n(.*?)```)?", TEXT, re.DOTALL
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the document shows, under the names it gives them."""
    for name, text in re.findall(r"^`([\w-]+\.yaml)`\n```yaml\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def test_there_are_examples():
    assert [shlex.split(command)[1] for command, _ in EXAMPLES] == ["apply", "jp", "explain"]


@pytest.mark.parametrize(("command", "printed"), EXAMPLES)
def test_an_example_prints_what_is_shown(folder, capsys, command, printed):
    main.main(shlex.split(command)[1:])
    out = capsys.readouterr().out
    assert out == printed if printed else out.startswith("ClusterPolicy require-team (policy.yaml:1)\n")


def flags(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from flags(inner)
        yield from action.option_strings


@pytest.mark.parametrize("name", ["apply", "jp", "explain", "cleanup", "reports"])
def test_every_flag_is_described(name):
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f"kymograph.cli.{name}").configure(parser)
    section = TEXT[TEXT.index(f"## `kymograph {name}`") :].split("\n## ")[0]
    missing = {
        flag for flag in flags(parser) if flag not in ("-h", "--help") and not re.search(rf"`{flag}[` ]", section)
    }
    assert not missing
