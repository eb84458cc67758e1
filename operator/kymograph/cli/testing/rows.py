"""Rows: what a test says of one resource under one rule.

A row passes, fails or is skipped. Besides the verdicts of Kyverno there is one of our own: a policy that this version
cannot apply fails its rows, because a test that was not run has not passed.
"""

from typing import NamedTuple

PASS, FAIL, SKIP = "Pass", "Fail", "Skip"

OK = "Ok"
EXCLUDED = "Excluded"
NOT_FOUND = "Not found"
INVALID_POLICY = "Invalid Policy"
NOT_SUPPORTED = "not supported by this version"
RESOURCE_ERROR = "Resource error"
RESOURCE_DIFF = "Resource diff"


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        id: Its number within the test, from 1.
        policy: The policy as the test names it.
        rule: The rule: the one that gave the result where there is one, the one in the test otherwise.
        resource: `apiVersion/kind/namespace/name`; `/name` for a generated resource.
        result: `Pass`, `Fail` or `Skip`.
        reason: Why: `Ok`, `Excluded`, `Want fail, got pass`, ...
        message: What the rule said, or how the resource differs.
        skipped: It counts as skipped: nothing was judged, or a skip was expected.
        file: The test's file.
        line: The line of the expectation in it.
        trace: How the policy was evaluated, as a tree; empty unless that was asked for.
    """

    id: int
    policy: str
    rule: str
    resource: str
    result: str
    reason: str
    message: str
    skipped: bool
    file: str
    line: int
    trace: str = ""

    @property
    def failed(self) -> bool:
        """It counts as failed."""
        return self.result == FAIL

    @property
    def unsupported(self) -> bool:
        """It failed because this version cannot apply the policy."""
        return self.reason.startswith(NOT_SUPPORTED)


class Report(NamedTuple):
    """What became of one test.

    Attributes:
        file: Its file.
        name: Its name.
        notes: What was loaded and what was odd about it, line by line.
        rows: Its rows.
        errors: Why it could not be run; empty if it could.
    """

    file: str
    name: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    errors: tuple[str, ...]

    def failures(self) -> "Report":
        """The report with only the rows that failed."""
        return self._replace(rows=tuple(row for row in self.rows if row.failed))
