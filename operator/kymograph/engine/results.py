"""What became of rules and policies on one object."""

from collections.abc import Mapping
from typing import NamedTuple

from kymograph.engine import policy


class RuleResult(NamedTuple):
    """What became of one rule. A tuple, because one is made per rule and request.

    Attributes:
        rule: The rule.
        status: `pass`, `fail`, `skip`, `error` or `warn`.
        message: Why, in Kyverno's wording.
        action: `Enforce` or `Audit`: what a failure of this rule leads to for this object.
        started: Nanoseconds of the clock when the rule began.
        ended: Nanoseconds of the clock when it ended.
        properties: The rule's `reportProperties` with their variables resolved, and what its body says in addition.
        exception: The unexpected exception behind an error, to be logged by the caller.
    """

    rule: policy.CompiledRule
    status: str
    message: str
    action: str
    started: int
    ended: int
    properties: Mapping[str, str]
    exception: Exception | None


class PolicyResult(NamedTuple):
    """What became of one policy.

    Attributes:
        policy: The policy.
        action: `Enforce` or `Audit`: the action of the policy as a whole for this object.
        rules: The results of the rules that matched, in the order of their evaluation; never empty.
    """

    policy: policy.CompiledPolicy
    action: str
    rules: tuple[RuleResult, ...]
