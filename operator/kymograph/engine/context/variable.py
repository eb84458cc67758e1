"""`variable`: a value, a search in the context, or a search in a value; with a default."""

from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields, values, variables
from kymograph.engine.context.entry import Entry, Query


def read(holder: fields.Fields, name: str, namespace: str) -> Entry | None:  # noqa: ARG001 - one signature for all kinds
    """Compile the entry.

    Args:
        holder: The entry, with `variable`.
        name: Its name.
        namespace: Namespace of the policy; nothing here depends on it.

    Raises:
        PolicyInvalid: An expression cannot be compiled.
    """
    block = fields.Fields(
        holder.raw("variable"), holder.at("variable"), holder.problems, ("value", "jmesPath", "default")
    )
    text = block.text("jmesPath")
    if "value" not in block and not text:
        holder.problems.add(block.path, "a variable must define a value or a jmesPath expression")
        return None
    if "default" in block and not text:
        block.wrong("default", "a variable must define a default value only when a jmesPath expression is defined")
        return None
    loader = _Variable(block, name, text)
    return Entry(name, loader.load, asks=None, merges=False, counts=True, expressions=loader.expressions)


class _Variable:
    """Loads one entry. What it says when it cannot is what Kyverno says."""

    __slots__ = ("_default", "_default_written", "_name", "_query", "_value", "_written", "expressions")

    def __init__(self, block: fields.Fields, name: str, text: str) -> None:
        self._name = name
        self._written, self._default_written = block.raw("value"), block.raw("default")
        self._query = Query(text, block.at("jmesPath")) if text else None
        self._value = variables.compile(self._written, block.at("value"))
        self._default = variables.compile(self._default_written, block.at("default"))
        self.expressions = (
            *(self._query.expressions if self._query is not None else ()),
            *self._value.expressions,
            *self._default.expressions,
        )

    def load(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        query, text = self._query, ""
        if query is not None:
            resolved = self._resolved(query.resolve, query.text, context, budget)
            if not isinstance(resolved, str):
                raise errors.EvaluationError(f"jmespath value must be a string {self._name} {query.text}: <nil>")
            text = resolved
        default = self._resolved(self._default.resolve, self._default_written, context, budget)
        value = None
        if self._written is not None:
            value = self._resolved(self._value.resolve, self._written, context, budget)
        if query is not None:
            value = self._found(query, text, value, default, context, budget)
        if value is None:
            raise errors.EvaluationError(
                f"failed to add context entry for variable {self._name} since it evaluated to nil"
            )
        return value

    def _found(
        self,
        query: Query,
        text: str,
        value: values.JSON,
        default: values.JSON,
        context: dict[str, Any],
        budget: budgets.Budget,
    ) -> values.JSON:
        """What the search gives: in the value if there is one, where null stays null; else in the context."""
        within_value = self._written is not None
        try:
            found = query.search(text, value if within_value else context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            if default is not None:
                return default
            reason = str(cause)
            if not within_value and not isinstance(cause, errors.LoadFailed):
                reason = f"JMESPath query failed: {reason}"
            raise errors.EvaluationError(f"failed to apply jmespath {text} to variable <nil>: {reason}") from cause
        return default if found is None and not within_value else found

    def _resolved(
        self, resolve: Any, written: values.JSON, context: dict[str, Any], budget: budgets.Budget
    ) -> values.JSON:
        try:
            return resolve(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            shown = values.to_text(written, budget)
            raise errors.EvaluationError(
                f"failed to substitute variables in context entry {self._name} {shown}: {cause}"
            ) from cause
