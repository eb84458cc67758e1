"""What a review counts: cells bound once per set of labels, found again by one look-up."""

from collections.abc import Mapping
from typing import Any

from kymograph.controllers import policies
from kymograph.engine.evaluate import PolicyResult
from kymograph.telemetry.instruments import Instruments

WEBHOOK = "ValidatingWebhookConfiguration"
"""The value of `request_webhook`, Kyverno's label for the kind of webhook."""

MOST_BOUND = 50_000
"""Sets of labels kept bound; past that all are bound anew, so that the look-up cannot grow without end."""

_OPERATIONS = {"CREATE": "create", "UPDATE": "update", "DELETE": "delete", "CONNECT": "connect"}


class ReviewMetrics:
    """Counts reviews and what policies made of them.

    Args:
        instruments: The instruments of the process.
        store: Whose policies; cells of a policy that changed are forgotten.
    """

    def __init__(self, instruments: Instruments, store: policies.PolicyStore) -> None:
        self._instruments = instruments
        self._requests: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        self._rules: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        store.listen(lambda _key, _held: self._rules.clear())

    def refused(self, reason: str) -> None:
        """A request was refused before it was a review."""
        self._instruments.admission_refused.bind((reason,)).add(1)

    def reviewed(
        self,
        request: Mapping[str, Any],
        allowed: bool,  # noqa: FBT001  # hot path
        results: tuple[PolicyResult, ...],
        duration: int,
    ) -> None:
        """A review was answered after so many nanoseconds."""
        kind, namespace, operation = request["kind"]["kind"], request.get("namespace") or "", request["operation"]
        cells = self._requests.get((kind, namespace, operation, allowed))
        if cells is None:
            cells = self._bind_request(kind, namespace, operation, allowed=allowed)
        cells[0].add(1)
        cells[1].record(duration / 1e9)
        dry_run = bool(request.get("dryRun"))
        for result in results:
            for rule in result.rules:
                key = (rule.rule, rule.status, rule.action, kind, namespace, operation, dry_run)
                cells = self._rules.get(key)
                if cells is None:
                    cells = self._bind_rule(key, result)
                cells[0].add(1)
                cells[1].record((rule.ended - rule.started) / 1e9)

    def _bind_request(self, kind: str, namespace: str, operation: str, *, allowed: bool) -> tuple[Any, Any]:
        if len(self._requests) >= MOST_BOUND:
            self._requests.clear()
        labels = (kind, namespace, _OPERATIONS[operation], "true" if allowed else "false", WEBHOOK)
        cells = (
            self._instruments.admission_requests.bind(labels),
            self._instruments.admission_review_duration.bind(labels),
        )
        self._requests[(kind, namespace, operation, allowed)] = cells
        return cells

    def _bind_rule(self, key: tuple[Any, ...], result: PolicyResult) -> tuple[Any, Any]:
        if len(self._rules) >= MOST_BOUND:
            self._rules.clear()
        rule, status, action, kind, namespace, operation, dry_run = key
        policy = result.policy
        labels = (
            action.lower(),
            "namespaced" if policy.namespace else "cluster",
            "true" if policy.background else "false",
            policy.namespace or "-",
            policy.name,
            kind,
            namespace,
            _OPERATIONS[operation],
            rule.name,
            status,
            rule.type,
            "admission_request",
            "true" if dry_run else "false",
        )
        cells = (
            self._instruments.policy_results.bind(labels),
            self._instruments.policy_execution_duration.bind(labels),
        )
        self._rules[key] = cells
        return cells
