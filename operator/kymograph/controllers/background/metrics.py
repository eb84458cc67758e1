"""What rules count that are applied after a request, under the names that reviews and scans count theirs by."""

import time
from collections.abc import Callable

from kymograph.controllers import policies, updaterequests
from kymograph.controllers.background import triggers
from kymograph.engine.policy import CompiledPolicy, CompiledRule
from kymograph.telemetry import policyresults
from kymograph.telemetry.instruments import Instruments, labels

CAUSE = "background_scan"
"""Kyverno's `rule_execution_cause` of all that no webhook does."""


class RuleMetrics:
    """Counts.

    Args:
        made: The instruments of the process.
        store: Whose policies: series of one that is gone must not come back.
        clock: Monotonic seconds.
    """

    def __init__(
        self, made: Instruments, store: policies.PolicyStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._made = made
        self._store = store
        self._clock = clock

    def now(self) -> float:
        """The moment, for `applied`."""
        return self._clock()

    def applied(
        self,
        policy: CompiledPolicy,
        rule: CompiledRule,
        because_of: updaterequests.Reference,
        trigger: triggers.Trigger,
        result: str,
        began: float,
    ) -> None:
        """A rule was applied.

        Args:
            policy: Its policy.
            rule: The rule.
            because_of: The object that it was applied for.
            trigger: The same, as it is.
            result: `pass`, `skip` or `error`.
            began: When that began.
        """
        if not self._store.knows(policy):
            return
        told = labels.Rule(
            policy_validation_mode=(rule.fixed_action or policy.validation_action).lower(),
            policy_type=policyresults.policy_type(policy.kind),
            policy_background_mode=labels.boolean(value=policy.background),
            policy_namespace=policy.namespace or "-",
            policy_name=policy.name,
            resource_kind=because_of.kind,
            resource_namespace=because_of.namespace,
            resource_request_operation=str((trigger.request or {}).get("operation") or "").lower(),
            rule_name=rule.name,
            rule_result=result,
            rule_type=rule.type,
            rule_execution_cause=CAUSE,
            dry_run="false",
        )
        bound = policyresults.bind(self._made, told)
        bound.results.add()
        bound.durations.record(self._clock() - began)
