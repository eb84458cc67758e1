"""What checks report."""

import dataclasses
import enum
from collections.abc import Iterable
from typing import Any


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
    """

    check: str
    state: State
    said: str
    fix: str = ""


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, State.OK, said)


def problem(check: str, said: str, fix: str) -> Finding:
    """Something has to be done."""
    return Finding(check, State.PROBLEM, said, fix)


def not_checked(check: str, why: str) -> Finding:
    """It cannot be known from here."""
    return Finding(check, State.NOT_CHECKED, why)


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether no problem was found."""
    return all(each.state is not State.PROBLEM for each in findings)


def document(findings: Iterable[Finding]) -> dict[str, Any]:
    """The findings as JSON: `healthy`, and of each finding `check`, `state`, `message` and, of problems, `fix`."""
    listed = list(findings)
    rows = [
        {"check": each.check, "state": each.state.value, "message": each.said} | ({"fix": each.fix} if each.fix else {})
        for each in listed
    ]
    return {"healthy": healthy(listed), "findings": rows}


def text(findings: Iterable[Finding]) -> str:
    """The findings for people, a line each, with what to do below."""
    lines = []
    for each in findings:
        lines.append(f"{each.state.value:<11}  {each.check}: {each.said}")
        if each.fix:
            lines.append(f"{'':<11}  fix: {each.fix}")
    return "".join(f"{line}\n" for line in lines)
