"""What the results of policies count: bound in one place, so that policies of every kind feed the same metrics.

Kyverno counts what its CEL policies do in metrics of their own, with other labels for each kind: who moves a policy to
CEL loses it from every dashboard. Here it stays where it was, in `policy_results_total` and
`policy_execution_duration_seconds`, with its kind as `policy_type`; Kyverno's are fed beside them. Which of them show
is for views to say.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import Instruments, labels

CLASSIC = {"ClusterPolicy": "cluster", "Policy": "namespaced"}
"""The values of `policy_type` for kinds whose types have names in Kyverno; of others it is the kind."""

_MODES = {"enforce": "Deny", "audit": "Audit"}


class Counter(Protocol):
    """Counts results."""

    def add(self, amount: int = 1) -> None:
        """Count."""

    def exemplify(self, mark: cells.Mark) -> None:
        """Point at a trace that was counted here."""


class Histogram(Protocol):
    """Takes durations."""

    def record(self, value: float) -> None:
        """Observe so many seconds."""

    def exemplify(self, mark: cells.Mark) -> None:
        """Point at a trace that was observed here."""


class Bound(NamedTuple):
    """What one result of a rule is counted by."""

    results: Counter
    durations: Histogram


NOWHERE = Bound(cells.CounterCell(()), cells.HistogramCell((), ()))
"""For what is not to be counted."""


def policy_type(kind: str) -> str:
    """The value of the label `policy_type` for policies of a kind."""
    return CLASSIC.get(kind, kind)


def bind(made: Instruments, rule: labels.Rule) -> Bound:
    """Find or make what counts results with these labels; see `series.Instrument.bind`."""
    results, durations = made.policy_results.bind(rule), made.policy_execution_duration.bind(rule)
    kyvernos = _FAMILIES.get(rule.policy_type.removeprefix("Namespaced"))
    if kyvernos is None:
        return Bound(results, durations)
    counter, histogram, relabelled = kyvernos(made)
    told = relabelled(rule)
    return Bound(_BothCounters(results, counter.bind(told)), _BothHistograms(durations, histogram.bind(told)))


class _BothCounters:
    """A series of ours and the same of Kyverno's."""

    __slots__ = ("_kyvernos", "_ours")

    def __init__(self, ours: cells.CounterCell, kyvernos: cells.CounterCell) -> None:
        self._ours = ours
        self._kyvernos = kyvernos

    def add(self, amount: int = 1) -> None:
        self._ours.add(amount)
        self._kyvernos.add(amount)

    def exemplify(self, mark: cells.Mark) -> None:
        self._ours.exemplify(mark)
        self._kyvernos.exemplify(mark)


class _BothHistograms:
    """A series of ours and the same of Kyverno's."""

    __slots__ = ("_kyvernos", "_ours")

    def __init__(self, ours: cells.HistogramCell, kyvernos: cells.HistogramCell) -> None:
        self._ours = ours
        self._kyvernos = kyvernos

    def record(self, value: float) -> None:
        self._ours.record(value)
        self._kyvernos.record(value)

    def exemplify(self, mark: cells.Mark) -> None:
        self._ours.exemplify(mark)
        self._kyvernos.exemplify(mark)


def _namespace(rule: labels.Rule) -> str:
    return "" if rule.policy_namespace == "-" else rule.policy_namespace


def _judged(rule: labels.Rule) -> labels.Judged:
    mode = _MODES.get(rule.policy_validation_mode, rule.policy_validation_mode)
    return labels.Judged(mode, *_mutated(rule))


def _mutated(rule: labels.Rule) -> labels.Mutated:
    return labels.Mutated(rule.policy_background_mode, *_generated(rule))


def _generated(rule: labels.Rule) -> labels.Generated:
    return labels.Generated(
        rule.policy_name,
        _namespace(rule),
        rule.resource_kind,
        rule.resource_namespace,
        rule.resource_request_operation,
        rule.rule_execution_cause,
        rule.rule_result,
    )


_Family = tuple[cells.Counter, cells.Histogram, Callable[[labels.Rule], tuple[str, ...]]]

_FAMILIES: dict[str, Callable[[Instruments], _Family]] = {
    "ValidatingPolicy": lambda made: (made.validating_results, made.validating_duration, _judged),
    "ImageValidatingPolicy": lambda made: (made.image_validating_results, made.image_validating_duration, _judged),
    "MutatingPolicy": lambda made: (made.mutating_results, made.mutating_duration, _mutated),
    "GeneratingPolicy": lambda made: (made.generating_results, made.generating_duration, _generated),
}
"""Kyverno's metrics of a kind, and its labels for a result; of a kind and its namespaced form alike."""
