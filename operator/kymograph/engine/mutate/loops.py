"""`mutate.foreach`: a patch for each element of some lists, loops within loops too."""

from typing import Any

from kymograph.apimachinery import jsonpatch
from kymograph.engine import budget as budgets
from kymograph.engine import context as contexts
from kymograph.engine import errors, fields
from kymograph.engine.mutate import patches
from kymograph.engine.rules import loop, outcome

_DEEPEST = 16
_ORDERS = ("Ascending", "Descending")
_FIELDS = ("list", "context", "preconditions", "order", "patchStrategicMerge", "patchesJson6902", "foreach")


class Loops:
    """The loops of a rule, or of an element of a loop.

    Each element sees the object as it was when its loop began, each loop what the ones before it made.

    Args:
        block: Holder of the field `foreach`.
        namespace: Namespace of the policy; empty for a policy of the cluster.
        changes: The name that the object has in the context: `object` within `request`, or `target`.
        nesting: How many loops are around it.
    """

    __slots__ = ("_changes", "_loops")

    def __init__(self, block: fields.Fields, *, namespace: str, changes: str, nesting: int = 0) -> None:
        items = block.items("foreach")
        if nesting >= _DEEPEST:
            block.wrong("foreach", f"loops may not be nested deeper than {_DEEPEST}")
            items = []
        self._changes = changes
        self._loops = tuple(
            _Loop(entry, path, block.problems, namespace=namespace, changes=changes, nesting=nesting)
            for entry, path in items
        )

    def applied(
        self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget
    ) -> tuple[dict[str, Any], int]:
        """Apply all loops to an object.

        Args:
            resource: The object; never changed.
            context: What expressions see.
            budget: What they may spend.

        Returns:
            The new object, the very same one where nothing changes, and how many loops changed it.

        Raises:
            EvaluationError: In Kyverno's words.
        """
        count = 0
        for each in self._loops:
            changed = each.applied(resource, context, budget)
            if changed is not resource:
                count += 1
                resource = changed
                context = seen(context, self._changes, resource)
        return resource, count


class _Loop:
    """One loop and what it does with its elements."""

    __slots__ = ("_descending", "_loop", "_nested", "_patch")

    def __init__(
        self, document: Any, path: str, problems: fields.Problems, *, namespace: str, changes: str, nesting: int
    ) -> None:
        block = fields.Fields(document, path, problems, _FIELDS)
        self._loop = loop.Loop(block, namespace=namespace, nesting=nesting)
        self._nested: Loops | None = None
        self._patch: patches.Patch | None = None
        if block.items("foreach"):
            self._nested = Loops(block, namespace=namespace, changes=changes, nesting=nesting + 1)
        else:
            self._patch = compiled(block)
        order = block.text("order", among=_ORDERS)
        # A merged list begins with what was merged into it last, so the last element goes first.
        self._descending = order == "Descending" if order else isinstance(self._patch, patches.Overlay)

    def applied(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> dict[str, Any]:
        try:
            listed = self._loop.listed(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            raise type(error)(f"failed to evaluate list {self._loop.text}: {error}: {error}") from error
        before = resource
        for element in self._loop.elements(listed, context, budget, descending=self._descending):
            try:
                if self._meets(element, budget):
                    resource = self._change(element, resource, budget)
            except errors.BudgetExhausted:
                raise
            except errors.EvaluationError as error:
                raise type(error)(f"failed to mutate elements: {error}") from error
        return before if jsonpatch.same(before, resource) else resource

    def _meets(self, element: loop.Element, budget: budgets.Budget) -> bool:
        preconditions = self._loop.preconditions
        if preconditions is None:
            return True
        try:
            return preconditions.evaluate(element.context, budget)[0]
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            where = f"mutate.foreach[{element.index}].preconditions"
            raise type(error)(f"failed to evaluate {where}: {error}") from error

    def _change(self, element: loop.Element, resource: dict[str, Any], budget: budgets.Budget) -> dict[str, Any]:
        if self._nested is not None:
            return self._nested.applied(resource, element.context, budget)[0]
        if self._patch is None:
            return resource
        return self._patch.applied(resource, element.context, budget)


def compiled(block: fields.Fields, around: str = "") -> patches.Patch | None:
    """Compile the patch of a rule or of a loop; None if anything is wrong with it, or it has none or several.

    Args:
        block: Its holder.
        around: Where the holder stands in what is resolved at once (`patches.Overlay`).
    """
    overlay, text = block.raw("patchStrategicMerge"), block.text("patchesJson6902")
    if overlay is not None and not isinstance(overlay, dict):
        block.wrong("patchStrategicMerge", "must be an object")
        return None
    if (overlay is None) == (not text):
        reason = "only one of `patchStrategicMerge` or `patchesJson6902` is allowed"
        block.problems.add(
            block.path, reason if text else "one of foreach, patchStrategicMerge, patchesJson6902 is needed"
        )
        return None
    try:
        if overlay is not None:
            return patches.Overlay(overlay, block.at("patchStrategicMerge"), around)
        return patches.Operations(text, block.at("patchesJson6902"), around)
    except errors.PolicyInvalid as invalid:
        block.problems.absorb(invalid)
        return None


def seen(context: outcome.Context, name: str, resource: dict[str, Any]) -> outcome.Context:
    """The context after an object has changed.

    Args:
        context: The context before.
        name: `target`, or `object` within `request`.
        resource: The object now.
    """
    own = {"target": resource} if name == "target" else {"request": {**context["request"], name: resource}}
    return contexts.nested(context, own, (), budgets.Budget())
