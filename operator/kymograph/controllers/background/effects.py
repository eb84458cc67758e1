"""What applying one rule has done: noted as it goes, because a failure leaves what was done before it."""

import dataclasses
from collections.abc import Callable

from kymograph.apimachinery import gvk
from kymograph.controllers import updaterequests
from kymograph.engine.results import RuleResult


@dataclasses.dataclass(slots=True)
class Effects:
    """What has been done so far.

    Attributes:
        writing: Is told of each object right before it is written or deleted.
        objects: What was made, changed or deleted, or was as it should be: `generatedResources` of the status.
        created: Those of them that did not exist before.
        changed: Existing ones that were changed because a rule has them as targets.
        contested: Those that another rule has generated as well, with its policy (`name` or `namespace/name`) and name.
        failures: What could not be changed, and why.
        results: What the report on the trigger is to say of the rule; None where nothing is known (yet).
    """

    writing: Callable[[updaterequests.Reference], None]
    objects: list[updaterequests.Reference] = dataclasses.field(default_factory=list)
    created: list[updaterequests.Reference] = dataclasses.field(default_factory=list)
    changed: list[updaterequests.Reference] = dataclasses.field(default_factory=list)
    contested: list[tuple[updaterequests.Reference, str, str]] = dataclasses.field(default_factory=list)
    failures: list[tuple[updaterequests.Reference, str]] = dataclasses.field(default_factory=list)
    results: list[RuleResult] | None = None


def described(each: updaterequests.Reference) -> str:
    """An object as the properties of Kyverno's reports name it: `apps/v1, Kind=Deployment Name=a Namespace=b`."""
    group, version = gvk.split_api_version(each.api_version)
    where = f" Namespace={each.namespace}" if each.namespace else ""
    return f"{group}/{version}, Kind={each.kind} Name={each.name}{where}"
