"""One `foreach` of a rule: a list, and what each of its elements adds to the context. For rules of every type.

What a failure means (an unknown key in the list, a precondition that cannot be evaluated) differs from type to type,
so it is raised here and judged by the body.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import conditions, errors, fields, jmespath, values
from kymograph.engine import context as contexts
from kymograph.engine.context import entry as entries

FIELDS = ("list", "elementScope", "context", "preconditions")
"""The fields that `Loop` reads; what else a `foreach` has is its body's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Element:
    """One element of a list.

    Attributes:
        value: The element; never null.
        index: Its place in the list, whatever the order.
        context: What expressions see of it: `element`, `elementIndex`, `elementN` and `elementIndexN` for the
            nesting N, the context around it, and its own context entries.
    """

    value: Any
    index: int
    context: dict[str, Any]


class Loop:
    """The compiled list, context and preconditions of a `foreach`.

    Args:
        block: The `foreach`; the caller says which fields it may have (`FIELDS` among them).
        namespace: Namespace of the policy; empty for a policy of the cluster.
        nesting: How many loops are around it.

    Attributes:
        text: The list expression as written.
        context: The context entries of each element.
        preconditions: What must hold for an element; None for nothing.
    """

    __slots__ = ("_expression", "_names", "_scope", "context", "preconditions", "text")

    def __init__(self, block: fields.Fields, *, namespace: str, nesting: int) -> None:
        self.text = block.text("list")
        self._names = ("element", f"element{nesting}", "elementIndex", f"elementIndex{nesting}")
        self._scope = block.boolean("elementScope", default=True) if "elementScope" in block else None
        self._expression: jmespath.Expression | None = None
        if not self.text:
            block.wrong("list", "foreach.list is required")
        else:
            try:
                self._expression = jmespath.compile(self.text)
            except jmespath.ExpressionInvalid as problem:
                block.wrong("list", f"failed to parse JMESPath {self.text}: {problem}")
        self.context = contexts.compile(block.items("context"), block.problems, namespace=namespace)
        self.preconditions: conditions.Conditions | None = None
        if block.raw("preconditions") is not None:
            try:
                self.preconditions = conditions.compile(block.raw("preconditions"), block.at("preconditions"))
            except errors.PolicyInvalid as invalid:
                block.problems.absorb(invalid)

    def listed(self, context: dict[str, Any], budget: budgets.Budget) -> list[Any]:
        """The list; a value that is none is the only element of one.

        Raises:
            EvaluationError: In Kyverno's words; `NotFoundInPath` where the context does not hold a key.
        """
        if self._expression is None:
            raise errors.EvaluationError("invalid query (nil)")
        try:
            found = self._expression.search(context, budget)
        except (errors.BudgetExhausted, errors.LoadFailed):
            raise
        except errors.EvaluationError as cause:
            raise type(cause)(f"JMESPath query failed: {cause}") from cause
        return found if isinstance(found, list) else [found]

    def elements(
        self, listed: Sequence[Any], context: dict[str, Any], budget: budgets.Budget, *, descending: bool = False
    ) -> Iterator[Element]:
        """The elements of a list, without nulls.

        Args:
            listed: What `listed` gave.
            context: The context around the loop; every element sees it as it is now.
            budget: Pays for each element, and for what its context entries load.
            descending: The last element comes first.
        """
        order = range(len(listed))
        for index in reversed(order) if descending else order:
            value = listed[index]
            if value is None:
                continue
            budget.spend()
            own: Mapping[str, Any] = dict(zip(self._names, (value, value, index, index), strict=True))
            yield Element(value, index, contexts.nested(context, own, self.context, budget))

    def is_scoped(self, value: values.JSON) -> bool:
        """Whether patterns are laid on an element, and not on the object.

        Raises:
            EvaluationError: `elementScope: true` with an element that is no map.
        """
        is_map = isinstance(value, dict)
        if self._scope is None:
            return is_map
        if self._scope and not is_map:
            raise errors.EvaluationError(
                "cannot use elementScope=true foreach rules for elements that are not maps, "
                f"expected type=map got type={entries.go_type(value)}"
            )
        return self._scope
