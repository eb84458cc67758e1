"""What docs/command-line.md shows of `doctor`, `tracing` and `migrate` is what they take and print."""

import argparse
import importlib
import pathlib
import re
import shlex

import pytest

from kymograph.cli import main

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
COMMANDS = ("doctor", "tracing", "migrate")


def section(name):
    return TEXT[TEXT.index(f"## `kymograph {name}`") :].split("\n## ")[0]


@pytest.mark.parametrize("name", ["tracing", "migrate"])
def test_the_example_prints_what_is_shown(tmp_path, monkeypatch, capsys, name) -> None:
    """Of the files that the section shows; what goes to standard error last."""
    for file, text in re.findall(r"^`([\w-]+\.yaml)`\n```yaml\n(.*?)```", section(name), re.DOTALL | re.MULTILINE):
        (tmp_path / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    ((line, shown),) = re.findall(r"```console\n\$ (kymograph [^\n]*)\n(.*?)```", section(name), re.DOTALL)
    status = main.main(shlex.split(line)[1:])
    printed = capsys.readouterr()
    assert printed.out + printed.err == shown
    assert status == (1 if "left out" in shown else 0)


def flags(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from flags(inner)
        yield from action.option_strings


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_described(name) -> None:
    """In the section of its command."""
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f"kymograph.cli.{name}").configure(parser)
    named = set(flags(parser)) - {"-h", "--help"}
    assert {flag for flag in named if not re.search(rf"`{flag}[` ]", section(name))} == set()


def test_every_check_of_the_doctor_is_described() -> None:
    """By the word it has in JSON."""
    folder = pathlib.Path(importlib.import_module("kymograph.cli.diagnosing").__file__).parent
    sources = "".join(path.read_text() for path in folder.glob("*.py"))
    named = re.findall(r'(?:findings\.\w+\(|_clock\(|check = )"([a-z ]+)"', sources)
    assert len(set(named)) > 10
    assert {check for check in named if f"`{check}" not in section("doctor")} - {"collector"} == set()
