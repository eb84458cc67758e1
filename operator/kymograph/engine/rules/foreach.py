"""The body `foreach` of a validate rule: what every element of some lists must be like, loops within loops too."""

from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields
from kymograph.engine.rules import deny, loop, message, outcome, patterns

BODIES = ("pattern", "anyPattern", "deny", "foreach")
"""What may be demanded of an element: one of these."""

_DEEPEST = 16


class ForEach:
    """`foreach`: every element must pass; one that is skipped counts for nothing.

    Args:
        block: Holder of the field `foreach`.
        rule: Name of the rule.
        text: The message of the rule.
        namespace: Namespace of the policy; empty for a policy of the cluster.
        nesting: How many loops are around it.
    """

    __slots__ = ("_loops", "_passed")
    looks_at_deleted = True

    def __init__(
        self, block: fields.Fields, rule: str, text: message.Message, *, namespace: str, nesting: int = 0
    ) -> None:
        items = block.items("foreach")
        if not items:
            block.wrong("foreach", "a foreach needs at least one list")
        if nesting >= _DEEPEST:
            block.wrong("foreach", f"loops may not be nested deeper than {_DEEPEST}")
            items = []
        self._loops = tuple(
            _Each(entry, path, block.problems, rule, text, namespace=namespace, nesting=nesting)
            for entry, path in items
        )
        self._passed = outcome.Outcome(outcome.PASS, "rule passed")

    def check(
        self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget
    ) -> outcome.Outcome | None:
        """Check an object; see `outcome.Body`."""
        return self.check_around(resource, context, budget, None)

    def check_around(
        self,
        resource: dict[str, Any],
        context: outcome.Context,
        budget: budgets.Budget,
        element: dict[str, Any] | None,
    ) -> outcome.Outcome | None:
        """Check an object, as one element of a loop around sees it.

        Args:
            resource: The object; never changed.
            context: What expressions see.
            budget: What the check may spend.
            element: The element of the loop around that patterns are laid on; None for the object itself.

        Returns:
            None where no element counted.
        """
        counted = 0
        unlisted = ""
        for each in self._loops:
            try:
                listed = each.loop.listed(context, budget)
            except errors.BudgetExhausted:
                raise
            except errors.EvaluationError as error:
                if "Unknown key" not in str(error):  # an optional field that the object does not have ends its loop
                    unlisted = str(error)
                continue
            for item in each.loop.elements(listed, context, budget):
                found = each.check(item, resource, budget, element)
                if found is None:
                    continue
                if found.status != outcome.PASS:
                    return found
                counted += 1
        if counted:
            return self._passed
        if unlisted:
            return outcome.Outcome(outcome.ERROR, f"failed to evaluate list: {unlisted}")
        return None


class _Each:
    """One loop and what it demands."""

    __slots__ = ("_body", "_nested", "loop")

    def __init__(
        self,
        document: Any,
        path: str,
        problems: fields.Problems,
        rule: str,
        text: message.Message,
        *,
        namespace: str,
        nesting: int,
    ) -> None:
        block = fields.Fields(document, path, problems, (*loop.FIELDS, *BODIES))
        self.loop = loop.Loop(block, namespace=namespace, nesting=nesting)
        self._body: outcome.Body | None = None
        self._nested: ForEach | None = None
        bodies = [body for body in BODIES if body in block]
        if not bodies:
            problems.add(path, "one of pattern, anyPattern, deny, or a nested foreach must be specified")
        elif len(bodies) > 1:
            problems.add(path, "only one of pattern, anyPattern, deny, or a nested foreach can be specified")
        elif bodies == ["foreach"]:
            self._nested = ForEach(block, rule, text, namespace=namespace, nesting=nesting + 1)
        else:
            self._body = demand(block, bodies[0], rule, text)

    def check(
        self, item: loop.Element, resource: dict[str, Any], budget: budgets.Budget, element: dict[str, Any] | None
    ) -> outcome.Outcome | None:
        """The outcome of an element; None where it counts for nothing."""
        try:
            if self.loop.is_scoped(item.value):
                element = item.value
        except errors.EvaluationError as error:
            return outcome.Outcome(outcome.ERROR, f"failed to process foreach: {error}")
        try:
            if self.loop.preconditions is not None and not self.loop.preconditions.evaluate(item.context, budget)[0]:
                return None
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError:
            return None
        found = None
        if self._nested is not None:
            found = self._nested.check_around(resource, item.context, budget, element)
        elif self._body is not None and (
            element is not None or self._body.looks_at_deleted or not _deletes(item.context)
        ):
            found = self._body.check(resource if element is None else element, item.context, budget)
        if found is None or found.status == outcome.SKIP:
            return None
        if found.status == outcome.PASS:
            return found
        return outcome.Outcome(found.status, f"validation failure: {found.message}")


def demand(block: fields.Fields, body: str, rule: str, text: message.Message) -> outcome.Body | None:
    """Compile `pattern`, `anyPattern` or `deny`; None if anything is wrong with it.

    Args:
        block: Its holder: `validate`, or one `foreach`.
        body: Which of them.
        rule: Name of the rule.
        text: The message of the rule.
    """
    document, path = block.raw(body), block.at(body)
    try:
        match body:
            case "pattern":
                return patterns.OnePattern(document, rule, text, path)
            case "anyPattern" if isinstance(document, list) and document:
                return patterns.AnyPattern(document, rule, text, path)
            case "anyPattern":
                block.problems.add(path, "must be a list of patterns")
            case "deny":
                denial = fields.Fields(document, path, block.problems, ("conditions",))
                return deny.Deny(denial.raw("conditions"), rule, text, denial.at("conditions"))
    except errors.PolicyInvalid as invalid:
        block.problems.absorb(invalid)
    return None


def _deletes(context: outcome.Context) -> bool:
    request = context.get("request")
    return isinstance(request, dict) and request.get("operation") == "DELETE"
