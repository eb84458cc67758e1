"""What docs/command-line.md shows of the command line is what it does."""

import argparse
import pathlib
import re
import shlex

import pytest

from kymograph.cli import main
from kymograph.cli import test as command

DOCUMENT = (pathlib.Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
SECTION = DOCUMENT[DOCUMENT.index("## `kymograph test`") :].split("\n## ")[0]


def flags():
    parser = argparse.ArgumentParser(add_help=False)
    command.configure(parser)
    return [option for action in parser._actions for option in action.option_strings]


def files():
    return re.findall(r"^`([\w-]+\.yaml)`\n```yaml\n(.*?)```", SECTION, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("flag", flags())
def test_every_flag_is_described(flag) -> None:
    """In the section of the command, by its own name."""
    assert f"`{flag}`" in SECTION, f"{flag} is not in docs/command-line.md"


def test_the_example_prints_what_is_shown(tmp_path, monkeypatch, capsys) -> None:
    """Of the files that the section shows."""
    for name, text in files():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    ((line, shown),) = re.findall(r"```console\n\$ (kymograph test [^\n]*)\n(.*?)```", SECTION, re.DOTALL)
    assert main.main(shlex.split(line)[1:]) == 1
    assert capsys.readouterr().out.strip() == shown.strip()
