"""What became of one rule on one object."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from kymograph.engine import budget as budgets

Context: TypeAlias = dict[str, Any]

PASS = "pass"  # noqa: S105 - a result, no password
FAIL = "fail"
SKIP = "skip"
ERROR = "error"
WARN = "warn"


class Outcome(NamedTuple):
    """A status and the message that says why. A tuple, because one is made per rule and request.

    Attributes:
        status: `pass`, `fail`, `skip`, `error` or `warn`.
        message: For the user; in Kyverno's wording.
        properties: What reports say of it in addition; None for nothing.
    """

    status: str
    message: str
    properties: Mapping[str, str] | None = None


class Body(Protocol):
    """The compiled body of a rule.

    Attributes:
        looks_at_deleted: The body has something to say of a DELETE; others give no result there.
    """

    looks_at_deleted: bool

    def check(self, resource: dict[str, Any], context: Context, budget: budgets.Budget) -> Outcome | None:
        """Check an object; None where the body has nothing to say of it.

        Args:
            resource: The object; never changed.
            context: What expressions see.
            budget: What the check may spend.

        Raises:
            EvaluationError: The budget is exhausted. Other failed expressions are outcomes.
        """
