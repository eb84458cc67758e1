"""The `message` of a validate rule, and Kyverno's sentences around it."""

from kymograph.engine import budget as budgets
from kymograph.engine import errors, variables
from kymograph.engine.rules import outcome

_REMEMBERED = 64


class Message:
    """The compiled message of a rule, which may hold variables.

    Args:
        text: The message as written; empty where the rule has none.
        rule: Name of the rule.
        path: Path of the message in the policy.

    Raises:
        PolicyInvalid: A variable in the message is not a valid expression.
    """

    __slots__ = ("_fixed", "_joined", "_path", "_rule", "_template", "_text")

    def __init__(self, text: str, rule: str, path: str) -> None:
        self._text = text
        self._rule = rule
        self._path = path
        self._joined: dict[str, variables.Template] = {}
        self._template = variables.compile(text, path)
        self._fixed = str(self._template.resolve({}, budgets.Budget())) if self._template.static else ""

    def failed_at(self, place: str, reason: str, context: outcome.Context, budget: budgets.Budget) -> str:
        """What to say when a pattern does not hold at a path of the object; the reason only where it is all there is.

        Kyverno names the reason where the variables of the message cannot be resolved.
        """
        return self._sentence(f"rule {self._rule} failed at path {place}", reason, context, budget)

    def broken(self, reason: str, context: outcome.Context, budget: budgets.Budget) -> str:
        """What to say when a pattern could not be evaluated."""
        return self._sentence(f"rule {self._rule} execution error: {reason}", reason, context, budget)

    def all_failed(self, reasons: str, context: outcome.Context, budget: budgets.Budget) -> str:
        """What to say when none of several patterns holds."""
        return self._sentence(reasons, reasons, context, budget)

    def denied(self, details: str, context: outcome.Context, budget: budgets.Budget) -> str:
        """What to say when conditions deny, with the messages of those that hold."""
        joined = "; ".join(part for part in (self._text, details) if part)
        if not joined:
            return f"validation error: rule {self._rule} failed"
        if "{{" not in joined:
            return joined
        try:
            text = self._with_details(joined, details).resolve(context, budget)
        except errors.BudgetExhausted:
            raise
        except (errors.EvaluationError, errors.PolicyInvalid):
            return details
        if isinstance(text, str):
            return text
        return "the produced message didn't resolve to a string, check your policy definition."

    def _with_details(self, joined: str, details: str) -> variables.Template:
        """The template of the rule's message and those of conditions, of which there are few combinations."""
        template = self._joined.get(details)
        if template is None:
            template = variables.compile(joined, self._path)
            if len(self._joined) < _REMEMBERED:
                self._joined[details] = template
        return template

    def _sentence(self, rest: str, reason: str, context: outcome.Context, budget: budgets.Budget) -> str:
        if not self._text:
            return f"validation error: {rest}"
        try:
            text = self._resolve(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError:
            text = None
        if text is None:
            return f"validation error: variables substitution error in rule {self._rule} execution error: {reason}"
        stop = "" if text.endswith(".") else "."
        return f"validation error: {text}{stop} {rest}"

    def _resolve(self, context: outcome.Context, budget: budgets.Budget) -> str | None:
        if self._template.static:
            return self._fixed
        value = self._template.resolve(context, budget)
        return value if isinstance(value, str) else None
