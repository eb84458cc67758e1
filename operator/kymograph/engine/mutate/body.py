"""The body `mutate` of a rule, compiled: what is changed, and how."""

from typing import Any, NamedTuple

from kymograph.apimachinery import jsonpatch
from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields
from kymograph.engine.mutate import loops, patches, targets
from kymograph.engine.rules import outcome

_FIELDS = ("patchStrategicMerge", "patchesJson6902", "foreach", "targets", "mutateExistingOnPolicyUpdate")


class Changed(NamedTuple):
    """What became of an object.

    Attributes:
        outcome: The outcome of the rule.
        resource: The object as it is now; the very same one where nothing has changed.
    """

    outcome: outcome.Outcome
    resource: dict[str, Any]


class Body:
    """What a rule changes.

    Args:
        block: The field `mutate`.
        namespace: Namespace of the policy; empty for a policy of the cluster.

    Attributes:
        targets: The existing objects to be changed; empty for a rule that changes the object of the request.
        on_policy_update: Whether they are changed when the policy is written; None where the policy decides.
    """

    __slots__ = ("_loops", "_patch", "on_policy_update", "targets")

    def __init__(self, block: fields.Fields, *, namespace: str) -> None:
        self.targets = tuple(
            targets.Target(entry, path, block.problems, namespace=namespace) for entry, path in block.items("targets")
        )
        self.on_policy_update = (
            block.boolean("mutateExistingOnPolicyUpdate", default=False)
            if "mutateExistingOnPolicyUpdate" in block
            else None
        )
        self._patch: patches.Patch | None = None
        self._loops: loops.Loops | None = None
        if block.items("foreach"):
            changes = "target" if self.targets else "object"
            self._loops = loops.Loops(block, namespace=namespace, changes=changes)
        else:
            self._patch = loops.compiled(block, "/mutate")

    def change(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> Changed:
        """Change an object.

        Args:
            resource: The object; never changed.
            context: What expressions see.
            budget: What the change may spend.

        Raises:
            EvaluationError: The budget is exhausted. Other failures are outcomes.
        """
        try:
            if self._loops is not None:
                changed, count = self._loops.applied(resource, context, budget)
                if not count:
                    return Changed(outcome.Outcome(outcome.SKIP, "0 elements processed"), resource)
            else:
                changed = self._patch.applied(resource, context, budget) if self._patch is not None else resource
                if jsonpatch.same(resource, changed):  # merging may copy what it leaves as it was
                    return Changed(outcome.Outcome(outcome.SKIP, "no patches applied"), resource)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            return Changed(outcome.Outcome(outcome.ERROR, str(error)), resource)
        return Changed(outcome.Outcome(outcome.PASS, _message(changed)), changed)


def compile(  # noqa: A001 - the field's word
    document: Any, rule: str, path: str, problems: fields.Problems, *, namespace: str
) -> Body | None:
    """Compile a body; None if anything is wrong with it.

    Args:
        document: The body as written; kept, and must not change.
        rule: Name of the rule.
        path: Path of the body in the policy.
        problems: Where to note what is wrong with it.
        namespace: Namespace of the policy; empty for a policy of the cluster.
    """
    del rule  # a mutation's messages name the object
    before = len(problems)
    body = Body(fields.Fields(document, path, problems, _FIELDS), namespace=namespace)
    return body if len(problems) == before else None


def _message(resource: dict[str, Any]) -> str:
    metadata = resource.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    name = f"mutated {resource.get('kind') or ''}/{metadata.get('name') or ''}"
    namespace = metadata.get("namespace")
    return f"{name} in namespace {namespace}" if namespace else name
