"""The body `podSecurity`: the object's Pod must keep to a level of the Pod Security Standards."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kymograph.apimachinery import imageref
from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields
from kymograph.engine.podsecurity import exclusions, pods, standards, violations
from kymograph.engine.rules import outcome


class PodSecurity:
    """`podSecurity`: a level and version of the standards, less what is excluded.

    It has its own wording; the `message` of the rule is not shown.

    Args:
        document: The field as written.
        rule: Name of the rule.
        path: Path of the field in the policy.
        problems: Where to note what is wrong with it.
    """

    __slots__ = ("_checks", "_excluded", "_failed", "_level", "_passed", "_version")
    looks_at_deleted = False

    def __init__(self, document: Any, rule: str, path: str, problems: fields.Problems) -> None:
        block = fields.Fields(document, path, problems, ("level", "version", "exclude"))
        self._level = block.text("level", among=standards.LEVELS)
        self._version = block.text("version")
        if not any(name in block for name in ("level", "version", "exclude")):
            block.wrong("level", f"one of {', '.join(standards.LEVELS)} must be specified")
        minor = standards.version(self._version)
        if minor is None:
            block.wrong("version", 'must be "latest" or "v1.x"')
        self._checks = standards.checks(self._level, minor or 0)
        self._excluded = exclusions.read(block.items("exclude"), problems, self._level)
        self._passed = outcome.Outcome(outcome.PASS, f"Validation rule '{rule}' passed.")
        self._failed = f"Validation rule '{rule}' failed. It violates PodSecurity \"{self._level}:{self._version}\": "

    def check(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> outcome.Outcome:  # noqa: ARG002 - it has no expressions
        """Check an object; see `outcome.Body`."""
        return self.check_except(resource, (), "", budget)

    def check_except(
        self, resource: Mapping[str, Any], excused: Sequence[exclusions.Exclusion], names: str, budget: budgets.Budget
    ) -> outcome.Outcome:
        """Check an object for which there are exceptions that exclude controls.

        Args:
            resource: The object; never changed.
            excused: What the exceptions exclude, one after the other.
            names: The exceptions, as `namespace/name, namespace/name`.
            budget: What the check may spend.

        Returns:
            `skip` where the exceptions, and not the policy itself, exclude all that is wrong.
        """
        try:
            pod = pods.of(resource)
            budget.spend(len(pod.containers) + 1)
            found = standards.violations(self._checks, pod)
            if found and self._excluded:
                found = exclusions.apply(self._excluded, self._checks, found, pod, budget)
            if not found:
                return self._passed
            if excused:
                found = exclusions.apply(excused, self._checks, found, pod, budget)
                if not found:
                    return outcome.Outcome(outcome.SKIP, f"rule is skipped due to policy exceptions {names}")
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            return outcome.Outcome(outcome.ERROR, f"Error while getting new resource: {error}")
        message = self._failed + violations.describe(found, resource.get("kind") or "")
        return outcome.Outcome(outcome.FAIL, message, self._properties(found, pod, budget))

    def _properties(
        self, found: Sequence[violations.Violation], pod: pods.Pod, budget: budgets.Budget
    ) -> Mapping[str, str]:
        """What reports say beside the message, under Kyverno's names."""
        images = {each.name: _reference(each, budget) for each in reversed(pod.containers)} if found else {}
        controls = [
            {
                "ID": each.check,
                "Name": standards.CONTROL_OF.get(each.check, ""),
                "Images": None if each.named is None else [images.get(name) or name for name in each.named],
            }
            for each in found
        ]
        return {
            "standard": self._level,
            "version": self._version,
            "controls": ",".join(each.check for each in found),
            "controlsJSON": orjson.dumps(controls).decode(),
        }


def _reference(container: pods.Container, budget: budgets.Budget) -> str:
    """The whole reference of a container's image; empty where it has none that can be read."""
    image = container.fields.get("image")
    if not isinstance(image, str) or not image:
        return ""
    try:
        return imageref.parse(image, budget.installation.images).reference
    except imageref.ReferenceInvalid:
        return ""
