"""The bodies `pattern` and `anyPattern`: the shape an object must have."""

from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, pattern, variables
from kymograph.engine.rules import message, outcome


class OnePattern:
    """`pattern`: the object must have this shape.

    Args:
        document: The pattern.
        rule: Name of the rule.
        text: The message of the rule.
        path: Path of the pattern in the policy.

    Raises:
        PolicyInvalid: The pattern cannot be compiled.
    """

    __slots__ = ("_message", "_passed", "_pattern")
    looks_at_deleted = False

    def __init__(self, document: Any, rule: str, text: message.Message, path: str) -> None:
        self._pattern = pattern.compile(document, path)
        self._message = text
        self._passed = outcome.Outcome(outcome.PASS, f"validation rule '{rule}' passed.")

    def check(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> outcome.Outcome:
        """Check an object; see `outcome.Body`."""
        try:
            found = self._pattern.check(resource, context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            return outcome.Outcome(outcome.ERROR, f"variable substitution failed: {error}")
        if found.status == outcome.PASS:
            return self._passed
        if found.status == outcome.SKIP:
            return outcome.Outcome(outcome.SKIP, found.message)
        if found.status == outcome.FAIL and found.path:
            return outcome.Outcome(outcome.FAIL, self._message.failed_at(found.path, found.message, context, budget))
        return outcome.Outcome(outcome.ERROR, self._message.broken(found.message, context, budget))


class AnyPattern:
    """`anyPattern`: the object must have one of these shapes.

    Skipped if every pattern that does not hold was skipped; failed if none holds and one failed.

    Args:
        documents: The patterns.
        rule: Name of the rule.
        text: The message of the rule.
        path: Path of the list in the policy.

    Raises:
        PolicyInvalid: A pattern cannot be compiled.
    """

    __slots__ = ("_message", "_passed", "_patterns", "_rule", "_templates")
    looks_at_deleted = False

    def __init__(self, documents: list[Any], rule: str, text: message.Message, path: str) -> None:
        self._patterns = tuple(pattern.compile(each, f"{path}[{index}]") for index, each in enumerate(documents))
        templates = (variables.compile(each, f"{path}[{index}]") for index, each in enumerate(documents))
        self._templates = tuple(each for each in templates if not each.static)
        self._message = text
        self._rule = rule
        self._passed = tuple(
            outcome.Outcome(outcome.PASS, f"validation rule '{rule}' anyPattern[{index}] passed.")
            for index in range(len(documents))
        )

    def check(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> outcome.Outcome:
        """Check an object; see `outcome.Body`."""
        skipped: list[str] = []
        failed: list[str] = []
        try:
            for template in self._templates:
                # One unresolvable variable is an error of the rule, even if a pattern without it would hold.
                template.resolve(context, budget)
            for index, each in enumerate(self._patterns):
                found = each.check(resource, context, budget)
                if found.status == outcome.PASS:
                    return self._passed[index]
                if found.status == outcome.SKIP:
                    skipped.append(f"rule {self._rule}[{index}] skipped: {found.message}")
                elif found.path:
                    failed.append(f"rule {self._rule}[{index}] failed at path {found.path}")
                else:
                    failed.append(f"rule {self._rule}[{index}] failed: {found.message}")
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            return outcome.Outcome(outcome.ERROR, f"variable substitution failed: {error}")
        if failed:
            return outcome.Outcome(outcome.FAIL, self._message.all_failed(" ".join(failed), context, budget))
        return outcome.Outcome(outcome.SKIP, " ".join(skipped))
