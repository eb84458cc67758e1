"""`globalReference`: what a GlobalContextEntry, or one of its projections, holds. Not for namespaced policies."""

from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields, needs, values, variables
from kymograph.engine.context.entry import Entry, Query


def read(holder: fields.Fields, name: str, namespace: str) -> Entry | None:
    """Compile the entry.

    Args:
        holder: The entry, with `globalReference`.
        name: Its name.
        namespace: Namespace of the policy; the entry is refused unless it is empty.

    Raises:
        PolicyInvalid: An expression cannot be compiled.
    """
    block = fields.Fields(
        holder.raw("globalReference"), holder.at("globalReference"), holder.problems, ("name", "jmesPath")
    )
    if namespace:
        holder.problems.add(block.path, "globalReference is not allowed in namespaced policies")
        return None
    if not block.text("name"):
        block.wrong("name", "a name is required for globalReference context entry")
    loader = _GlobalReference(block, name)
    return Entry(name, loader.load, asks=needs.GlobalEntry, merges=True, counts=True, expressions=loader.expressions)


class _GlobalReference:
    """Loads one entry."""

    __slots__ = ("_name", "_query", "_reference", "expressions")

    def __init__(self, block: fields.Fields, name: str) -> None:
        self._name = name
        self._reference = variables.compile(block.text("name"), block.at("name"))
        text = block.text("jmesPath")
        self._query = Query(text, block.at("jmesPath")) if text else None
        self.expressions = (
            *self._reference.expressions,
            *(self._query.expressions if self._query is not None else ()),
        )

    def load(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        try:
            return self._found(context, budget)
        except (errors.BudgetExhausted, errors.Unavailable):
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(
                f"failed to marshal APICall data for context entry {self._name}: {cause}"
            ) from cause

    def _found(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        reference = values.to_text(self._reference.resolve(context, budget), budget)
        text = "" if self._query is None else values.to_text(self._query.resolve(context, budget), budget)
        held = budget.ask(needs.GlobalEntry(".".join(reference.split(".")[:2])))
        if self._query is None or not text:
            return held
        try:
            return self._query.search(text, held, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(
                f"failed to apply JMESPath {text} for context entry {self._name}: {cause}"
            ) from cause
