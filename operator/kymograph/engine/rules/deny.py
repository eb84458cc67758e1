"""The body `deny`: conditions under which a request is denied, whatever the object looks like."""

from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import conditions, errors
from kymograph.engine.rules import message, outcome


class Deny:
    """`deny`: fails where its conditions hold. It is evaluated on DELETE too.

    Args:
        document: The conditions; None denies always.
        rule: Name of the rule.
        text: The message of the rule.
        path: Path of the conditions in the policy.

    Raises:
        PolicyInvalid: A condition cannot be compiled.
    """

    __slots__ = ("_conditions", "_message", "_passed")
    looks_at_deleted = True

    def __init__(self, document: Any, rule: str, text: message.Message, path: str) -> None:
        self._conditions = conditions.compile(document, path)
        self._message = text
        self._passed = outcome.Outcome(outcome.PASS, f"validation rule '{rule}' passed.")

    def check(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> outcome.Outcome:  # noqa: ARG002 - conditions see the object through the context
        """Check a request; see `outcome.Body`."""
        try:
            denied, details = self._conditions.evaluate(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            return outcome.Outcome(outcome.ERROR, f"failed to check deny conditions: {error}")
        if not denied:
            return self._passed
        return outcome.Outcome(outcome.FAIL, self._message.denied(details, context, budget))
