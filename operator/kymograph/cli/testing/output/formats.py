"""Rows as one document: JSON, YAML, Markdown or JUnit's XML.

The keys are those of `kyverno test`, with the file and line of the expectation beside them; Kyverno writes a document
for each test, mixed with other text, which no program can read.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from kymograph.cli.testing import rows

_TITLES = ("ID", "POLICY", "RULE", "RESOURCE", "RESULT", "REASON")


def as_json(reports: Sequence[rows.Report], *, detailed: bool) -> str:
    """A list of objects, one a row.

    Args:
        reports: The reports.
        detailed: With what rules said.
    """
    return json.dumps(_maps(reports, detailed=detailed), indent=2, ensure_ascii=False)


def as_yaml(reports: Sequence[rows.Report], *, detailed: bool) -> str:
    """The same as YAML."""
    return yaml.safe_dump(_maps(reports, detailed=detailed), sort_keys=False, allow_unicode=True).rstrip("\n")


def as_markdown(reports: Sequence[rows.Report], *, detailed: bool) -> str:
    """A table of Markdown for each test, under its file."""
    titles = (*_TITLES, "MESSAGE") if detailed else _TITLES
    parts = []
    for report in reports:
        lines = [f"`{report.file}`", "", f"| {' | '.join(titles)} |", "|" + "----|" * len(titles)]
        lines += [f"| {' | '.join(_in_markdown(cell) for cell in _cells(row, detailed))} |" for row in report.rows]
        lines += [f"\nError: {_in_markdown(error)}" for error in report.errors]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def as_junit(reports: Sequence[rows.Report], *, detailed: bool) -> str:
    """JUnit's XML: a suite for each test and policy, a case for each row."""
    every = [row for report in reports for row in report.rows]
    errors = sum(len(report.errors) for report in reports)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites tests="{len(every)}" failures="{sum(row.failed for row in every)}" errors="{errors}">',
    ]
    for report in reports:
        for policy in dict.fromkeys(row.policy for row in report.rows):
            lines += _suite(policy, report.file, [row for row in report.rows if row.policy == policy], detailed)
        if report.errors:
            text = "\n".join(report.errors)
            lines += [
                f' <testsuite name={_quoted(report.file)} tests="1" failures="0" errors="1">',
                f'  <testcase classname="kymograph" name={_quoted(report.name or report.file)}>',
                f'   <error message="the test could not be run">{_escaped(text)}</error>',
                "  </testcase>",
                " </testsuite>",
            ]
    return "\n".join([*lines, "</testsuites>"])


def _suite(policy: str, file: str, shown: Sequence[rows.Row], detailed: bool) -> list[str]:  # noqa: FBT001 - one of two looks
    failures = sum(row.failed for row in shown)
    lines = [f' <testsuite name={_quoted(policy)} tests="{len(shown)}" failures="{failures}" file={_quoted(file)}>']
    for row in shown:
        about = f"Policy: {row.policy}\n    Rule: {row.rule}\n    Resource: {row.resource}\n    Result: {row.result}"
        if detailed:
            about += f"\n    Message: {row.message}"
        about = f"\n    {about}\n    Place: {row.file}:{row.line}\n   "
        lines.append(f"  <testcase classname={_quoted(row.rule)} name={_quoted(row.resource)}>")
        if row.failed:
            lines.append(f"   <failure message={_quoted(row.reason)}>{_escaped(about)}</failure>")
        else:
            lines.append(f"   <system-out>{_escaped(f'    Reason: {row.reason}{about}')}</system-out>")
        lines.append("  </testcase>")
    return [*lines, " </testsuite>"]


def _maps(reports: Sequence[rows.Report], *, detailed: bool) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for report in reports:
        for row in report.rows:
            entry: dict[str, Any] = dict(zip(_TITLES, _cells(row, detailed=False), strict=True))
            entry["ID"] = row.id
            if detailed:
                entry["Message"] = row.message
            if row.trace:
                entry["TRACE"] = row.trace
            found.append({**entry, "FILE": row.file, "LINE": row.line})
        found += [{"FILE": report.file, "RESULT": "Error", "REASON": error} for error in report.errors]
    return found


def _cells(row: rows.Row, detailed: bool) -> list[str]:  # noqa: FBT001 - one of two looks
    cells = [str(row.id), row.policy, row.rule, row.resource, row.result, row.reason]
    return [*cells, row.message] if detailed else cells


def _in_markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")


def _escaped(text: str) -> str:
    import html  # noqa: PLC0415 - large, and for JUnit only

    return html.escape(_printable(text), quote=False)


def _quoted(text: str) -> str:
    import html  # noqa: PLC0415 - as above

    return f'"{html.escape(_printable(text))}"'.replace("\n", "&#10;")


def _printable(text: str) -> str:
    """A text without the characters that no XML can hold."""
    return "".join(char for char in text if char in "\t\n\r" or (char >= " " and not "\ud800" <= char <= "\udfff"))


FORMATS = {"json": as_json, "yaml": as_yaml, "markdown": as_markdown, "junit": as_junit}
