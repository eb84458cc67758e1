"""What Kyverno counts of its CEL policies: two metrics for each kind, each kind with labels of its own.

Under our names they do not show: `policy_results_total` and `policy_execution_duration_seconds` are about policies of
every kind, so that a query outlives the move from one kind to another (`policyresults`).
"""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

_LATENCIES = (
    "can be used to track the latencies (in seconds) associated with the execution/processing of individual"
    " {} policies when they evaluate incoming resource requests."
)
_RESULTS = (
    "can be used to track the results associated with the {} policies applied in the user's cluster, at the level from"
    " rule to policy to admission requests."
)


def _results(kind: str, label_names: tuple[str, ...]) -> cells.Description:
    return cells.Description(
        name=f"{kind}_policy_results_total",
        description=_RESULTS.format(kind.replace("_", " ")),
        unit="{result}",
        labels=label_names,
        kyverno=True,
        optional=views.BY_NAMESPACE,
        unified=True,
    )


def _durations(kind: str, called: str, label_names: tuple[str, ...]) -> cells.Description:
    return cells.Description(
        name=f"{kind}_policy_execution_duration_seconds",
        description=_LATENCIES.format(called),
        unit="s",
        labels=label_names,
        kyverno=True,
        optional=views.BY_NAMESPACE,
        unified=True,
    )


VALIDATING = _results("validating", labels.Judged._fields)
VALIDATING_DURATION = _durations("validating", "validation", labels.Judged._fields)
IMAGE_VALIDATING = _results("image_validating", labels.Judged._fields)
IMAGE_VALIDATING_DURATION = _durations("image_validating", "validation", labels.Judged._fields)
MUTATING = _results("mutating", labels.Mutated._fields)
MUTATING_DURATION = _durations("mutating", "mutating", labels.Mutated._fields)
GENERATING = _results("generating", labels.Generated._fields)
GENERATING_DURATION = _durations("generating", "generating", labels.Generated._fields)
