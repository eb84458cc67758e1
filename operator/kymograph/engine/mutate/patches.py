"""The two ways in which a rule changes an object: a patch to be merged, and a list of operations on paths."""

import functools
from typing import Any, Protocol

import orjson

from kymograph.apimachinery import jsonpatch, strategicmerge, yamls
from kymograph.engine import budget as budgets
from kymograph.engine import errors, variables
from kymograph.engine.mutate import anchored
from kymograph.engine.rules import outcome

_PARSE_COST = 100  # steps that reading a patch takes, and
_PARSE_COST_PER_CHARACTER = 2


class Patch(Protocol):
    """A compiled patch."""

    def applied(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> dict[str, Any]:
        """Apply it to an object.

        Args:
            resource: The object; never changed.
            context: What its variables search.
            budget: What it may spend.

        Returns:
            The new object; the very same one where nothing changes.

        Raises:
            EvaluationError: In Kyverno's words: a variable cannot be resolved, or the patch does not fit.
        """


class Overlay:
    """`patchStrategicMerge`.

    Args:
        document: The patch as written; kept, and must not change.
        path: Where it stands in the policy.
        around: Where it stands in what is resolved at once, for errors: `/mutate` of a rule, nothing of a loop.

    Raises:
        PolicyInvalid: A variable in it is no expression.
    """

    __slots__ = ("_always", "_is_anchored", "_template")

    def __init__(self, document: Any, path: str, around: str) -> None:
        self._template = variables.compile(document, path, f"{around}/patchStrategicMerge")
        self._always: dict[str, Any] | None = None
        self._is_anchored = True
        if self._template.static and isinstance(document, dict):
            known = self._template.resolve({}, budgets.Budget())
            self._is_anchored = anchored.is_anchored(known)
            if not self._is_anchored:
                self._always = anchored.emptied(anchored.copied(known))

    def applied(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> dict[str, Any]:
        """Apply it; see `Patch`."""
        patch = self._always
        if patch is None:
            patch = anchored.copied(_resolved(self._template, context, budget))
            if not isinstance(patch, dict):
                raise errors.EvaluationError("empty mutate rule" if patch is None else "failed to patch resource")
        try:
            if self._always is None:
                patch = anchored.without_anchors(patch, resource, budget)
            budget.spend(1 + len(patch))
            return strategicmerge.merge(resource, patch)
        except anchored.Unmet:
            return resource
        except strategicmerge.MergeFailed as reason:
            raise errors.EvaluationError(f"failed to patch resource: {reason}") from reason


class Operations:
    """`patchesJson6902`: JSON or YAML, as a string.

    Args:
        text: The patch as written.
        path: Where it stands in the policy.
        around: As for `Overlay`.

    Raises:
        PolicyInvalid: A variable in it is no expression; or it is no patch, and has no variables.
    """

    __slots__ = ("_template",)

    def __init__(self, text: str, path: str, around: str) -> None:
        self._template = variables.compile(text, path, f"{around}/patchesJson6902")
        if self._template.static:
            try:
                _operations(str(self._template.resolve({}, budgets.Budget())))
            except jsonpatch.PatchFailed as reason:
                raise errors.PolicyInvalid((errors.Problem(path, str(reason)),)) from reason

    def applied(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> dict[str, Any]:
        """Apply it; see `Patch`."""
        text = _resolved(self._template, context, budget)
        if not isinstance(text, str) or not text:
            raise errors.EvaluationError("empty mutate rule")
        budget.spend(_PARSE_COST + _PARSE_COST_PER_CHARACTER * len(text))
        try:
            patched = jsonpatch.apply(resource, _operations(text), jsonpatch.LENIENT)
        except (jsonpatch.PatchFailed, RecursionError) as reason:
            raise errors.EvaluationError(f"failed to patch resource: {reason}") from reason
        if not isinstance(patched, dict):
            raise errors.EvaluationError("failed to unmarshal patched resource")
        result: dict[str, Any] = patched
        return resource if jsonpatch.same(resource, result) else result


def _resolved(template: variables.Template, context: outcome.Context, budget: budgets.Budget) -> Any:
    try:
        return template.resolve(context, budget)
    except errors.BudgetExhausted:
        raise
    except errors.EvaluationError as error:
        raise type(error)(f"variable substitution failed: {error}") from error


@functools.lru_cache(maxsize=256)
def _operations(text: str) -> list[dict[str, Any]]:
    """The operations of a patch; what begins with a bracket is JSON, everything else YAML.

    Raises:
        PatchFailed: It is no patch.
    """
    if text.startswith("["):
        try:
            parsed = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise jsonpatch.PatchFailed("failed to decode patches: invalid state detected") from None
    else:
        try:
            found = yamls.Reader().values(text, "patchesJson6902")
        except yamls.YAMLInvalid as reason:
            raise jsonpatch.PatchFailed(f"failed to convert patchesJSON6902 to JSON: {reason}") from reason
        parsed = found[0] if found else None
    operations: list[dict[str, Any]] = anchored.copied(parsed)
    try:
        jsonpatch.check(operations)
    except jsonpatch.PatchFailed as reason:
        raise jsonpatch.PatchFailed(f"failed to decode patches: {reason}") from reason
    return operations
