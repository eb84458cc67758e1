"""`configMap`: the data and metadata of a ConfigMap. A namespaced policy sees those of its own namespace only."""

from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields, needs, values, variables
from kymograph.engine.context.entry import Entry, go_type

_DEFAULT_NAMESPACE = "default"


def read(holder: fields.Fields, name: str, namespace: str) -> Entry | None:
    """Compile the entry.

    Args:
        holder: The entry, with `configMap`.
        name: Its name.
        namespace: Namespace of the policy; empty for a policy of the cluster.

    Raises:
        PolicyInvalid: A variable is not a valid expression.
    """
    block = fields.Fields(holder.raw("configMap"), holder.at("configMap"), holder.problems, ("name", "namespace"))
    if not block.text("name"):
        block.wrong("name", "a name is required for configMap context entry")
    if not block.text("namespace"):
        block.wrong("namespace", "a namespace is required for configMap context entry")
    loader = _ConfigMap(block, name, namespace)
    return Entry(name, loader.load, asks=needs.ConfigMap, merges=True, counts=True, expressions=loader.expressions)


class _ConfigMap:
    """Loads one entry."""

    __slots__ = ("_fields", "_name", "_policy_namespace", "expressions")

    def __init__(self, block: fields.Fields, name: str, namespace: str) -> None:
        self._name = name
        self._policy_namespace = namespace
        self._fields = {
            field: (block.text(field), variables.compile(block.text(field), block.at(field)))
            for field in ("name", "namespace")
        }
        self.expressions = tuple(each for _, template in self._fields.values() for each in template.expressions)

    def load(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        try:
            return self._fetched(context, budget)
        except (errors.BudgetExhausted, errors.Unavailable):
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(
                f"failed to retrieve config map for context entry {self._name}: {cause}"
            ) from cause

    def _fetched(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        own = self._policy_namespace
        name = self._text("name", context, budget)
        namespace = self._text("namespace", context, budget) or own or _DEFAULT_NAMESPACE
        if own and namespace != own:
            raise errors.EvaluationError(
                f'context entry {self._name}: configMap namespace "{namespace}" is different from policy namespace '
                f'"{own}"'
            )
        try:
            return budget.ask(needs.ConfigMap(namespace, name))
        except errors.Unavailable:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(f"failed to get configmap {namespace}/{name} : {cause}") from cause

    def _text(self, field: str, context: dict[str, Any], budget: budgets.Budget) -> str:
        written, template = self._fields[field]
        where = f"failed to substitute variables in context {self._name} configMap.{field} {written}"
        try:
            value = template.resolve(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(f"{where}: {cause}") from cause
        if not isinstance(value, str):
            raise errors.EvaluationError(f"{where}: expected string, got {go_type(value)}")
        return value
