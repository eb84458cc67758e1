"""How the rules of a policy fit what the policy says of itself, and CEL what is around it."""

from kymograph.engine import fields
from kymograph.engine.validation import subject

_NOT_VALIDATING = ("mutate", "generate", "verifyImages")


def check(policy: subject.Policy, problems: fields.Problems) -> None:
    """Check what belongs to no single concern."""
    if not policy.admission and any(rule.has(operation) for rule in policy.rules for operation in _NOT_VALIDATING):
        problems.add("spec.admission", "disabling admission processing is only allowed with validation policies")
    for rule in policy.rules:
        judges_by_cel = bool(rule.table("validate").get("cel"))
        if rule.document.get("celPreconditions") and not judges_by_cel:
            problems.add(f"{rule.path}.celPreconditions", "celPrecondition can only be used with validate.cel")
        if rule.document.get("context") and judges_by_cel:
            problems.add(
                f"{rule.path}.context", "context variables are not supported for CEL expressions in validate rules"
            )
