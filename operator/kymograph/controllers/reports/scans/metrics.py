"""What scans count: objects, and the results of rules under the name that admission counts them by."""

from collections.abc import Sequence
from typing import Any

from kymograph.controllers import policies
from kymograph.engine.evaluate import PolicyResult
from kymograph.telemetry import instruments, policyresults, work
from kymograph.telemetry.instruments import labels

CAUSE = "background_scan"
"""Kyverno's `rule_execution_cause` of a scan."""

OPERATION = "create"
"""The operation under which objects are looked at, as in Kyverno."""

MOST_BOUND = 20_000
"""Sets of labels kept bound; past that all are bound anew, so that the look-up cannot grow without end."""


class ScanMetrics:
    """Counts.

    Args:
        made: The instruments of the process.
        store: Whose policies: series of one that is gone must not come back.

    Attributes:
        work: Counts scans.
    """

    def __init__(self, made: instruments.Instruments, store: policies.PolicyStore) -> None:
        self._instruments = made
        self._store = store
        self.work = work.Work(made, "background-scan-controller")
        self._bound: dict[tuple[Any, ...], policyresults.Bound] = {}
        store.listen(lambda _key, _held: self._bound.clear())
        made.registry.on_rebinding(self._bound.clear)

    def judged(self, kind: str, namespace: str, results: Sequence[PolicyResult]) -> None:
        """Policies were asked about an object."""
        for result in results:
            for each in result.rules:
                key = (each.rule, each.status, each.action, namespace, kind)
                cells = self._bound.get(key)
                if cells is None:
                    if not self._store.knows(result.policy):
                        continue
                    if len(self._bound) >= MOST_BOUND:
                        self._bound.clear()
                    told = _labels(result, each.rule, each.status, each.action, kind, namespace)
                    cells = self._bound[key] = policyresults.bind(self._instruments, told)
                cells.results.add()
                cells.durations.record((each.ended - each.started) / 1e9)

    def looked_at(self, kind: str, outcome: str) -> None:
        """An object was looked at: `news`, `unchanged` or `disabled`."""
        self._instruments.scanned_objects.bind((kind, outcome)).add()

    def lasted(self, kind: str, seconds: float) -> None:
        """All objects of a kind were looked at."""
        self._instruments.scan_duration.bind((kind,)).record(seconds)


def _labels(result: PolicyResult, rule: Any, status: str, action: str, kind: str, namespace: str) -> labels.Rule:
    policy = result.policy
    return labels.Rule(
        policy_validation_mode=action.lower(),
        policy_type=policyresults.policy_type(policy.kind),
        policy_background_mode=labels.boolean(value=policy.background),
        policy_namespace=policy.namespace or "-",
        policy_name=policy.name,
        resource_kind=kind,
        resource_namespace=namespace,
        resource_request_operation=OPERATION,
        rule_name=rule.name,
        rule_result=status,
        rule_type=rule.type,
        rule_execution_cause=CAUSE,
        dry_run="false",
    )
