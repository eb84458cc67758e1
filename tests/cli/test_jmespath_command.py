"""`kymograph jp` evaluates, shows and lists, and points at what is wrong."""

import io
import sys

import pytest

from kymograph.cli import main
from kymograph.engine.jmespath import functions


@pytest.fixture
def jp(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "object.yaml").write_text("a: {b: [1, x], on: yes}\n")
    (tmp_path / "query.txt").write_text("a.b[1]\n")

    def call(*arguments, given=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        status = main.main(["jp", *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_expressions_are_evaluated_one_after_the_other(jp):
    assert jp("query", "-i", "object.yaml", "-q", "query.txt", "a.b") == (
        0,
        '# a.b\n[\n  1,\n  "x"\n]\n# a.b[1]\n"x"\n',
        "",
    )
    assert jp("query", "-i", "object.yaml", "-c", "a.b")[1] == '# a.b\n[1,"x"]\n'
    assert jp("query", "-i", "object.yaml", "-u", "a.b[1]")[1] == "# a.b[1]\nx\n"
    assert jp("query", "-u", "length(@)", given="[1, 2]")[1] == "# length(@)\n2\n"
    assert jp("query", "-i", "object.yaml", given="a.b[0]")[1] == "# a.b[0]\n1\n"


def test_the_clock_and_chance_can_be_asked(jp):
    status, out, _ = jp("query", "-i", "object.yaml", "-u", "time_now_utc()", "random('[a-c]{4}')")
    assert status == 0
    assert out.splitlines()[1].startswith("20")
    assert set(out.splitlines()[3]) <= set("abc")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a.b[", "\na.b[\n    ^\n"),
        ("nope(a)", "there is no function nope()\nnope(a)\n^\n"),
        ("c", 'Unknown key "c" in path'),
        ("a\n.b\n.[", "\n.[\n"),
    ],
)
def test_what_is_wrong_is_pointed_at(jp, expression, message):
    status, out, err = jp("query", "-i", "object.yaml", expression)
    assert (status, out) == (1, "")
    assert message in err


def test_input_that_cannot_be_read_is_told(jp):
    assert jp("query", "-i", "absent", "a")[0] == 1
    assert (
        "<stdin>:1: column" in jp("query", "a", given="{")[2] or "<stdin>:2: column" in jp("query", "a", given="{")[2]
    )
    assert "at least one query or input" in jp("query")[2]


def test_expressions_are_shown_as_trees(jp):
    assert (
        jp("parse", "a | length(@)")[1]
        == '# a | length(@)\npipe\n  field "a"\n  function_expression "length"\n    current\n'
    )
    assert jp("parse", "-f", "query.txt")[0] == 0
    assert jp("parse", given="a.")[0] == 1


def test_functions_are_listed(jp):
    _, out, _ = jp("function")
    assert [line.removeprefix("Name: ") for line in out.splitlines() if line.startswith("Name: ")] == [
        each.name for each in functions.catalogue()
    ]
    assert jp("function", "add", "nope")[0] == 1
