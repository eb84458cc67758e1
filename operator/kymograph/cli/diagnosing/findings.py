"""What checks report."""

import dataclasses
import enum
import types
from collections.abc import Iterable, Mapping
from typing import Any

NO_DETAILS: Mapping[str, Any] = types.MappingProxyType({})


class State(enum.StrEnum):
    """What a finding says."""

    OK = "ok"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at, the same word in every run.
        state: What was found.
        said: The same in a sentence; of what was not checked, why.
        fix: What to do about a problem.
        details: What programs may want to know besides, as JSON has it.
    """

    check: str
    state: State
    said: str
    fix: str = ""
    details: Mapping[str, Any] = dataclasses.field(default_factory=lambda: NO_DETAILS)


def ok(check: str, said: str, details: Mapping[str, Any] = NO_DETAILS) -> Finding:
    """All is well."""
    return Finding(check, State.OK, said, details=details)


def problem(check: str, said: str, fix: str, details: Mapping[str, Any] = NO_DETAILS) -> Finding:
    """Something has to be done."""
    return Finding(check, State.PROBLEM, said, fix, details)


def not_checked(check: str, why: str, details: Mapping[str, Any] = NO_DETAILS) -> Finding:
    """It cannot be known from here."""
    return Finding(check, State.NOT_CHECKED, why, details=details)


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether no problem was found."""
    return all(each.state is not State.PROBLEM for each in findings)


def document(findings: Iterable[Finding]) -> dict[str, Any]:
    """The findings as JSON: `healthy`, and `findings`.

    Each has `check`, `state` and `message`, a problem its `fix`, and some have `details`.
    """
    listed = list(findings)
    return {"healthy": healthy(listed), "findings": [_row(each) for each in listed]}


def _row(finding: Finding) -> dict[str, Any]:
    row: dict[str, Any] = {"check": finding.check, "state": finding.state.value, "message": finding.said}
    if finding.fix:
        row["fix"] = finding.fix
    if finding.details:
        row["details"] = dict(finding.details)
    return row


def text(findings: Iterable[Finding]) -> str:
    """The findings for people, a line each, with what to do below."""
    lines = []
    for each in findings:
        lines.append(f"{each.state.value:<11}  {each.check}: {each.said}")
        if each.fix:
            lines.append(f"{'':<11}  fix: {each.fix}")
    return "".join(f"{line}\n" for line in lines)
