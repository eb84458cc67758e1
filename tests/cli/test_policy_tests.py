"""`kymograph test` as users call it: output, exit status, what is run and what is shown."""

import json
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
import yaml

from support import offline

RIGHT = "policy: require-team, rule: team-label, resources: [owned], result: pass"
WRONG = "policy: require-team, rule: team-label, resources: [stray], result: pass"


def test_rows_that_come_out_as_expected_end_with_zero(run, tmp_path) -> None:
    """The table has Kyverno's columns, the last line is Kyverno's."""
    ran = run("test", offline.write(tmp_path))
    assert ran.status == 0
    assert "│ ID │ POLICY       │ RULE       │ RESOURCE             │ RESULT │ REASON │" in ran.out
    assert "│ 1  │ require-team │ team-label │ v1/Pod/default/owned │ Pass   │ Ok     │" in ran.out
    assert "\nTest Summary: 2 tests passed and 0 tests failed\n" in ran.out
    assert ran.err == ""


def test_a_row_that_differs_ends_with_one_and_names_its_place(run, tmp_path) -> None:
    """File and line of the expectation, what was wanted, what came out and what the rule said."""
    offline.write(tmp_path, manifest=offline.manifest(RIGHT, WRONG))
    ran = run("test", tmp_path)
    assert ran.status == 1
    assert "Test Summary: 1 tests passed and 1 tests failed" in ran.out
    place = f"{tmp_path}/kyverno-test.yaml:8: v1/Pod/default/stray: Want pass, got fail: "
    assert f"{place}validation error: every Pod says whose it is." in ran.out
    assert ran.err == "Error: 1 tests failed\n"


def test_fail_only_shows_the_failures_of_all_tests_in_one_table(run, tmp_path) -> None:
    """Numbered anew, with another summary."""
    offline.write(tmp_path / "a", manifest=offline.manifest(RIGHT, WRONG))
    offline.write(tmp_path / "b", manifest=offline.manifest(WRONG))
    ran = run("test", tmp_path, "--fail-only")
    assert ran.status == 1
    assert "Test Summary: 2 out of 3 tests failed" in ran.out
    assert "Aggregated Failed Test Cases : " in ran.out
    assert [line.split()[1] for line in ran.out.splitlines() if line.startswith("│ ") and "stray" in line] == ["1", "2"]
    assert "owned" not in ran.out


def test_detailed_results_show_what_rules_said(run, tmp_path) -> None:
    """In a column of its own."""
    ran = run("test", offline.write(tmp_path), "--detailed-results")
    assert "│ MESSAGE " in ran.out
    assert "every Pod says whose it is" in ran.out


def test_json_is_one_document_and_nothing_else(run, tmp_path) -> None:
    """The rows of all tests; the summary goes to standard error."""
    offline.write(tmp_path / "a")
    offline.write(tmp_path / "b", manifest=offline.manifest(WRONG))
    ran = run("test", tmp_path, "-o", "json", "--detailed-results")
    rows = json.loads(ran.out)
    assert [row["RESULT"] for row in rows] == ["Pass", "Pass", "Fail"]
    assert rows[0]["FILE"] == f"{tmp_path}/a/kyverno-test.yaml"
    assert rows[0]["LINE"] == 9
    assert rows[1]["Message"].startswith("validation error: every Pod says whose it is.")
    assert "Test Summary: 2 tests passed and 1 tests failed" in ran.err


def test_yaml_holds_what_json_holds(run, tmp_path) -> None:
    """The same rows."""
    offline.write(tmp_path)
    as_json, as_yaml = (run("test", tmp_path, "-o", form).out for form in ("json", "yaml"))
    assert yaml.safe_load(as_yaml) == json.loads(as_json)


def test_junit_counts_failures(run, tmp_path) -> None:
    """XML that readers of JUnit's format take, whatever a message holds."""
    policy = offline.POLICY.replace("whose it is", 'whose it is <&> ]]> \\"')
    offline.write(tmp_path, policy=policy, manifest=offline.manifest(RIGHT, WRONG))
    out = run("test", tmp_path, "-o", "junit", "--detailed-results").out
    root = ET.fromstring(out)  # noqa: S314 - our own output
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    (failure,) = root.iter("failure")
    assert failure.get("message") == "Want pass, got fail"
    assert f"Place: {tmp_path}/kyverno-test.yaml:8" in (failure.text or "")


def test_markdown_is_a_table(run, tmp_path) -> None:
    """One for each test."""
    out = run("test", offline.write(tmp_path), "-o", "markdown").out
    assert "| ID | POLICY | RULE | RESOURCE | RESULT | REASON |" in out
    assert "| 1 | require-team | team-label | v1/Pod/default/owned | Pass | Ok |" in out


@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        ("policy=require-*", ["owned", "stray"]),
        ("policy=other", []),
        ("rule=team-label,resource=str?y", ["stray"]),
        ("policy=require-team, rule=*, resource=owned", ["owned"]),
    ],
)
def test_only_chosen_entries_are_run(run, tmp_path, choice, shown) -> None:
    """`-t policy=..,rule=..,resource=..` with wildcards."""
    ran = run("test", offline.write(tmp_path), "-t", choice, "-o", "json")
    assert [row["RESOURCE"].rpartition("/")[2] for row in ran.rows] == shown
    assert ran.status == 0


@pytest.mark.parametrize("choice", ["policy", "kind=Pod", "policy=a=b"])
def test_a_choice_that_cannot_be_read_is_refused(run, tmp_path, choice) -> None:
    """Kyverno goes on with everything; whoever mistyped a choice does not want that."""
    ran = run("test", offline.write(tmp_path), "-t", choice)
    assert ran.status == 2
    assert "--test-case-selector" in ran.err


def test_no_test_is_no_failure_unless_one_is_required(run, tmp_path) -> None:
    """`--require-tests`."""
    assert run("test", tmp_path).status == 0
    ran = run("test", tmp_path, "--require-tests")
    assert ran.status == 1
    assert "no tests found" in ran.err


def test_tests_are_found_in_hidden_folders_under_another_name(run, tmp_path) -> None:
    """`-f`; a path may also be the file itself."""
    folder = offline.write(tmp_path / ".kyverno-test")
    (folder / "kyverno-test.yaml").rename(folder / "mine.yaml")
    assert "2 tests passed" in run("test", tmp_path, "-f", "mine.yaml").out
    assert "2 tests passed" in run("test", folder / "mine.yaml").out
    assert run("test", tmp_path, "--require-tests").status == 1


def test_a_path_that_is_not_there_is_an_error(run, tmp_path) -> None:
    """Said in a sentence."""
    ran = run("test", tmp_path / "nowhere")
    assert ran.status == 1
    assert ran.err == f"Error: {tmp_path}/nowhere: cannot be read: No such file or directory\n"


def test_processes_give_the_same_rows_in_the_same_order(run, tmp_path) -> None:
    """However many there are."""
    for number in range(20):
        offline.write(tmp_path / f"{number:02}")
    one, several = (run("test", tmp_path, "-o", "json", "--jobs", jobs) for jobs in (1, 3))
    assert several.rows == one.rows
    assert len(one.rows) == 40


def test_a_summary_by_reason_says_what_is_not_supported(run, tmp_path) -> None:
    """A policy that this version cannot apply is no pass, and it is visible why."""
    policy = "apiVersion: policies.kyverno.io/v1\nkind: ValidatingPolicy\nmetadata: {name: require-team}\n"
    offline.write(tmp_path, policy=policy)
    ran = run("test", tmp_path, "--summary", "reason")
    assert ran.status == 1
    row = next(line for line in ran.out.splitlines() if line.startswith("not supported by this version: "))
    assert row.split() == [*["not", "supported", "by", "this", "version:", "ValidatingPolicy"], "0", "0", "2", "0"]


def test_a_summary_by_folder_says_why(run, tmp_path) -> None:
    """For each folder directly below the path."""
    offline.write(tmp_path / "a")
    offline.write(tmp_path / "b" / "c", manifest=offline.manifest(RIGHT, WRONG))
    lines = run("test", tmp_path, "--summary", "folder").out.splitlines()
    assert next(line for line in lines if line.startswith(f"{tmp_path}/a ")).split()[1:] == ["2", "0", "0", "0"]
    row = next(line for line in lines if line.startswith(f"{tmp_path}/b ")).split(maxsplit=5)
    assert row[1:] == ["1", "1", "0", "0", "Want pass, got fail (1)"]


def test_a_trace_shows_how_a_failing_row_came_out(run, tmp_path) -> None:
    """Its match, and what the object has where the pattern looks."""
    offline.write(tmp_path, manifest=offline.manifest(RIGHT, WRONG))
    out = run("test", tmp_path, "--trace").out
    assert "RULE team-label: fail: validation error: every Pod says whose it is." in out
    assert '✓ kinds ["Pod"], the object has "v1/Pod"' in out
    assert "✗ metadata.labels: absent, wanted an object" in out
    assert out.count("POLICY require-team") == 1


def test_the_command_starts_without_the_operator(tmp_path) -> None:
    """No Kopf, no HTTP client, no telemetry and no terminal library is imported for one test."""
    offline.write(tmp_path)
    code = (
        "import sys; from kymograph.cli import main; main.main(sys.argv[1:]); "
        "print(sorted({'kopf', 'aiohttp', 'opentelemetry', 'rich', 'asyncio'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "test", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
