"""How results add up in the last line of `kyverno apply`.

Failures count as warnings where the policy is unscored, and with `--audit-warn` where its action is Audit. This holds
for rules that validate; a mutate rule counts as it is, without warnings, and a generate rule that neither passed, was
skipped, warned nor erred counts as failed.
"""

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

from kymograph.apimachinery import gvk
from kymograph.cli.offline import answers, judge, simulated
from kymograph.engine import policy
from kymograph.engine.match import target
from kymograph.engine.rules import outcome


class Counts(NamedTuple):
    """How many results of each status there are."""

    passed: int = 0
    failed: int = 0
    warned: int = 0
    erred: int = 0
    skipped: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """The sum of two counts."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def __str__(self) -> str:
        return (
            f"pass: {self.passed}, fail: {self.failed}, warn: {self.warned}, error: {self.erred}, skip: {self.skipped} "
        )


STATUSES = (outcome.PASS, outcome.FAIL, outcome.WARN, outcome.ERROR, outcome.SKIP)
_INDEX = {status: index for index, status in enumerate(STATUSES)}


def add(counts: list[int], response: judge.Response, *, softened: bool) -> None:
    """Count the results of a policy on an object.

    Args:
        counts: How many there are, in the order of `Counts`; changed.
        response: The results.
        softened: Failures are warnings (`softens`).
    """
    for result in response.results:
        status = result.status
        if status == outcome.FAIL and response.type == judge.VALIDATE:
            status = shown(response.policy, status, softened=softened)
        elif status == outcome.WARN and response.type == judge.MUTATE:
            continue
        counts[_INDEX[status]] += 1


def shown(each: policy.CompiledPolicy, status: str, *, softened: bool) -> str:
    """The status of a result as tables show it."""
    return outcome.WARN if status == outcome.FAIL and (softened or not each.scored) else status


def softens(response: judge.Response, world: answers.Answers) -> bool:
    """Whether the policy only audits the object, so that `--audit-warn` turns its failures into warnings.

    Args:
        response: The results of the policy on the object.
        world: Knows the labels of namespaces, which overrides of the action may ask for.
    """
    action = response.policy.fixed_action
    if not action:
        resource = response.resource
        group, version = gvk.split_api_version(str(resource.get("apiVersion") or ""))
        namespace = str((resource.get("metadata") or {}).get("namespace") or "")
        kind = (group, version, str(resource.get("kind")), "")
        labels: Mapping[str, str] = {}
        if namespace and response.policy.needs_namespace_labels:
            with contextlib.suppress(simulated.NotThere):  # then the rule has erred, and nothing failed
                labels = world.namespace_labels(namespace)
        action = response.policy.action(target.of(resource, kind, "CREATE", namespace, labels, None))
    return action == "Audit"
