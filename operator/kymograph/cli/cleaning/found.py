"""What a look at the objects found, and the same look at objects from files."""

import dataclasses
from collections.abc import Iterable

from kymograph.cli.offline import answers, files
from kymograph.engine import budget as budgets
from kymograph.engine import cleanup, needs


@dataclasses.dataclass(slots=True)
class Found:
    """What a policy would delete now.

    Attributes:
        looked: Objects looked at.
        deleted: What would be deleted: kind, namespace, name, what the conditions say.
        problems: What could not be decided or listed.
    """

    looked: int = 0
    deleted: list[tuple[str, str, str, str]] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


def in_files(policy: cleanup.CleanupPolicy, documents: Iterable[files.Document], world: answers.Answers) -> Found:
    """Look at objects from files; without a cluster what contexts call is not there."""
    found = Found()
    for document in documents:
        value = document.value
        metadata = value.get("metadata") if isinstance(value, dict) else None
        described = isinstance(value, dict) and all(isinstance(value.get(each), str) for each in ("apiVersion", "kind"))
        if not described or not isinstance(metadata, dict):
            found.problems.append(str(document.problem("", "no object: it has no apiVersion, kind or metadata")))
            continue
        found.looked += 1
        outcome, reason = _decided(policy, value, world)
        name = (value["kind"], metadata.get("namespace") or "", metadata.get("name") or "")
        if outcome == cleanup.DELETE:
            found.deleted.append((*name, reason))
        elif outcome == cleanup.ERROR:
            found.problems.append(f"{'/'.join(name)}: {reason}")
    return found


def _decided(policy: cleanup.CleanupPolicy, resource: dict[str, object], world: answers.Answers) -> cleanup.Decision:
    facts = needs.Facts(world.without)
    while True:
        try:
            return cleanup.decide(policy, resource, budgets.Budget(facts=facts))
        except needs.Needed as lacking:
            world.tell(lacking.need, facts)
