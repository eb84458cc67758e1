"""What a review counts: cells bound once per set of labels, found again by one look-up."""

from collections.abc import Iterable, Mapping
from typing import Any

from kymograph.controllers import policies
from kymograph.engine.evaluate import PolicyResult
from kymograph.engine.policy import CompiledRule
from kymograph.telemetry import policyresults
from kymograph.telemetry.cells import Mark
from kymograph.telemetry.instruments import Instruments, labels
from kymograph.telemetry.recorder import Recorder

VALIDATING, MUTATING = "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"
"""The values of `request_webhook`, Kyverno's label for the kind of webhook."""

MOST_BOUND = 20_000
"""Sets of labels kept bound; past that all are bound anew, so that the look-up cannot grow without end."""

_OPERATIONS = {"CREATE": "create", "UPDATE": "update", "DELETE": "delete", "CONNECT": "connect"}


class ReviewMetrics:
    """Counts reviews and what policies made of them.

    Args:
        instruments: The instruments of the process.
        store: Whose policies; cells of a policy that changed are bound anew.
    """

    def __init__(self, instruments: Instruments, store: policies.PolicyStore) -> None:
        self._instruments = instruments
        self._store = store
        self._requests: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        self._rules: dict[tuple[Any, ...], dict[tuple[Any, ...], tuple[Any, Any]]] = {}
        self._bound_rules = 0
        store.listen(lambda _key, _held: self._forget_rules())
        instruments.registry.on_rebinding(self._forget)

    def refused(self, reason: str) -> None:
        """A request was refused before it was a review."""
        self._instruments.admission_refused.bind((reason,)).add(1)

    def deprecated(self, found: Iterable[labels.Deprecated]) -> None:
        """A review was about something that Kyverno has deprecated."""
        for each in found:
            self._instruments.deprecated_api_requests.bind(each).add()

    def reviewed(
        self,
        request: Mapping[str, Any],
        allowed: bool,  # noqa: FBT001  # hot path
        results: tuple[PolicyResult, ...],
        duration: int,
        kept: Recorder | None = None,
        webhook: str = VALIDATING,
    ) -> None:
        """A review was answered after so many nanoseconds; `kept` is its record if its trace is kept."""
        kind, namespace, operation = request["kind"]["kind"], request.get("namespace") or "", request["operation"]
        cells = self._requests.get((kind, namespace, operation, allowed, webhook))
        if cells is None:
            cells = self._bind_request(kind, namespace, operation, webhook, allowed=allowed)
        cells[0].add(1)
        cells[1].record(duration / 1e9)
        if kept is not None and not self._instruments.registry.exemplars:
            kept = None
        if kept is not None:
            when, trace_id, span_id = kept.wall_ns + duration, kept.decision.trace_id, kept.decision.span_id
            one = Mark(1, when, trace_id, span_id)
            cells[0].exemplify(one)
            cells[1].exemplify(Mark(duration / 1e9, when, trace_id, span_id))
        if not results:
            return
        about = (kind, namespace, operation, bool(request.get("dryRun")))
        known = self._rules.get(about)
        if known is None:
            known = self._rules[about] = {}
        for result in results:
            for rule, status, _, action, started, ended, _, _ in result.rules:
                cells = known.get((rule, status, action))
                if cells is None:
                    cells = known[rule, status, action] = self._bind_rule(about, result, rule, status, action)
                counter, histogram = cells
                counter.add()
                histogram.record((ended - started) / 1e9)
                if kept is not None:
                    counter.exemplify(one)
                    histogram.exemplify(Mark((ended - started) / 1e9, when, trace_id, span_id))

    def _bind_request(
        self, kind: str, namespace: str, operation: str, webhook: str, *, allowed: bool
    ) -> tuple[Any, Any]:
        if len(self._requests) >= MOST_BOUND:
            self._requests.clear()
        told = (kind, namespace, _OPERATIONS[operation], "true" if allowed else "false", webhook)
        cells = (
            self._instruments.admission_requests.bind(told),
            self._instruments.admission_review_duration.bind(told),
        )
        self._requests[(kind, namespace, operation, allowed, webhook)] = cells
        return cells

    def _bind_rule(
        self, about: tuple[Any, ...], result: PolicyResult, rule: CompiledRule, status: str, action: str
    ) -> policyresults.Bound:
        if self._bound_rules >= MOST_BOUND:
            self._forget_rules()
        self._bound_rules += 1
        kind, namespace, operation, dry_run = about
        policy = result.policy
        if not self._store.knows(policy):  # deleted while it was evaluated: its series are gone, and stay so
            return policyresults.NOWHERE
        told = labels.Rule(
            action.lower(),
            policyresults.policy_type(policy.kind),
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
        return policyresults.bind(self._instruments, told)

    def _forget(self) -> None:
        self._requests.clear()
        self._forget_rules()

    def _forget_rules(self) -> None:
        self._rules.clear()
        self._bound_rules = 0
