"""The existing objects that a rule changes: which ones, and when."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from kymograph.apimachinery import gvk, labels, wildcard
from kymograph.engine import budget as budgets
from kymograph.engine import conditions, errors, fields, variables
from kymograph.engine import context as contexts
from kymograph.engine.rules import outcome

_SELECTION = ("apiVersion", "kind", "namespace", "name", "uid", "selector")
_FIELDS = (*_SELECTION, "context", "preconditions")


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """The objects that a target means for one request.

    Attributes:
        kind: Their group, version, kind and subresource; group, version and kind may hold wildcards.
        namespace: Their namespace, perhaps with wildcards; empty for those of the cluster, or for all.
        name: Their name, perhaps with wildcards; empty for all.
        selector: A label selector as written; None for all.
    """

    kind: gvk.KindSelector
    namespace: str
    name: str
    selector: Mapping[str, Any] | None

    def matcher(self) -> Callable[[Mapping[str, Any]], bool]:
        """Whether an object of that kind is meant.

        Raises:
            EvaluationError: The selector is none.
        """
        in_namespace, named = _matches(self.namespace), _matches(self.name)
        try:
            selected = labels.matcher(self.selector) if self.selector is not None else None
        except (ValueError, AttributeError, TypeError) as error:
            raise errors.EvaluationError(f"invalid label selector of a target: {error}") from error

        def is_meant(document: Mapping[str, Any]) -> bool:
            metadata = document.get("metadata") or {}
            return (
                in_namespace(metadata.get("namespace") or "")
                and named(metadata.get("name") or "")
                and (selected is None or selected(metadata.get("labels") or {}))
            )

        return is_meant


class Target:
    """One entry of `targets`.

    Args:
        document: The entry as written; kept, and must not change.
        path: Its path in the policy.
        problems: Where to note what is wrong with it.
        namespace: Namespace of the policy, to which its targets are confined; empty for a policy of the cluster.

    Attributes:
        context: The context entries that are loaded for each object.
        preconditions: What must hold for an object; None for nothing.
    """

    __slots__ = ("_namespace", "_template", "context", "preconditions")

    def __init__(self, document: Any, path: str, problems: fields.Problems, *, namespace: str) -> None:
        block = fields.Fields(document, path, problems, _FIELDS)
        self._namespace = namespace
        if not block.text("kind"):
            block.wrong("kind", "a target needs a kind")
        self._template: variables.Template | None = None
        self.preconditions: conditions.Conditions | None = None
        self.context = contexts.compile(block.items("context"), problems, namespace=namespace)
        try:
            written = {name: block.raw(name) for name in _SELECTION if name in block}
            self._template = variables.compile(written, path)
            if block.raw("preconditions") is not None:
                self.preconditions = conditions.compile(block.raw("preconditions"), block.at("preconditions"))
        except errors.PolicyInvalid as invalid:
            problems.absorb(invalid)

    def wanted(self, position: int, context: outcome.Context, budget: budgets.Budget) -> Wanted:
        """The objects it means for one request.

        Args:
            position: Its place among the targets of the rule, for the message.
            context: What its variables search.
            budget: What they may spend.

        Raises:
            EvaluationError: A variable cannot be resolved, or does not give what a target needs.
        """
        try:
            selection = self._template.resolve(context, budget) if self._template is not None else {}
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            raise type(error)(f"failed to substitute variables in target[{position}]: {error}") from error
        texts = {name: selection.get(name) or "" for name in ("apiVersion", "kind", "namespace", "name")}
        wrong = next((name for name, text in texts.items() if not isinstance(text, str)), None)
        if wrong is not None:
            raise errors.EvaluationError(f"{wrong} of target[{position}] is not a string")
        version = texts["apiVersion"]
        try:
            kind = gvk.parse_kind_selector(f"{version}/{texts['kind']}" if version else texts["kind"])
        except ValueError as error:
            raise errors.EvaluationError(str(error)) from error
        return Wanted(kind, self._namespace or texts["namespace"], texts["name"], selection.get("selector"))


def _matches(pattern: str) -> Callable[[str], bool]:
    return wildcard.compile(pattern) if pattern else lambda _text: True
