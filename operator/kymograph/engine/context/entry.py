"""What every kind of context entry has in common."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

from kymograph.engine import budget as budgets
from kymograph.engine import errors, jmespath, needs, values, variables

Load: TypeAlias = Callable[[dict[str, Any], budgets.Budget], Any]
"""From the context before the entry and a budget to the entry's value; raises EvaluationError, in Kyverno's words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One compiled entry.

    Attributes:
        name: What expressions call it.
        load: Finds out its value. KeyError: it has none, as if it were not there.
        asks: The class of the need that it asks for; None for none. Where no such need can be met it is left out.
        merges: A map is laid over the map that had the name before, instead of replacing it.
        counts: Its size counts towards what all entries may load.
        expressions: The expressions in it, to be checked with those of the rule.
    """

    name: str
    load: Load
    asks: type[needs.Need] | None
    merges: bool
    counts: bool
    expressions: tuple[str, ...]


class Query:
    """A `jmesPath` of an entry, which may hold variables.

    Args:
        text: The expression as written.
        path: Its path in the policy.

    Attributes:
        text: As given.
        expressions: The expressions in its variables, and itself if it has none.

    Raises:
        PolicyInvalid: It cannot be compiled.
    """

    __slots__ = ("_expression", "_template", "expressions", "text")

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self._template = variables.compile(text, path)
        self._expression: jmespath.Expression | None = None
        self.expressions = self._template.expressions
        if self._template.static:
            try:
                self._expression = jmespath.compile(text)
            except jmespath.ExpressionInvalid as problem:
                reason = f"failed to parse JMESPath {text}: {problem}"
                raise errors.PolicyInvalid((errors.Problem(path, reason),)) from problem

    def resolve(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        """The text with its variables replaced; usually a string."""
        return self._template.resolve(context, budget) if self._expression is None else self.text

    def search(self, text: str, data: values.JSON, budget: budgets.Budget) -> values.JSON:
        """Search data by the resolved text.

        Raises:
            EvaluationError: As in `jmespath`, or because the resolved text is no expression.
        """
        if self._expression is not None:
            return self._expression.search(data, budget)
        return variables.expression(text, budget).search(data, budget)


def merged(before: dict[str, Any], after: dict[str, Any], budget: budgets.Budget) -> dict[str, Any]:
    """Lay a map over another, maps inside them too; neither is changed."""
    budget.spend(1 + len(after))
    result = {**before, **after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            result[key] = merged(old, value, budget)
    return result


def go_type(value: values.JSON) -> str:
    """What Go calls the type of a JSON value, as Kyverno's messages have it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case dict():
            return "map[string]interface {}"
    return "float64"
