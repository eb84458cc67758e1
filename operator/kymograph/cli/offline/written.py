"""The rules of a policy as documents, those rewritten for the controllers of Pods among them.

Compiled rules are closures; who wants to show a rule needs what it was compiled from.
"""

from collections.abc import Mapping
from typing import Any

from kymograph.engine.autogen import controllers, rewrite


def rules(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The rules by name: as written, then as rewritten.

    Args:
        document: A policy that compiles.
    """
    as_written: list[Mapping[str, Any]] = document["spec"]["rules"]
    annotations = document["metadata"].get("annotations") or {}
    wanted = controllers.wanted(as_written, annotations)
    others = tuple(kind for kind in wanted if kind != controllers.CRON_JOB)
    made: list[Mapping[str, Any] | None] = list(as_written)
    for each in as_written:
        if others:
            made.append(rewrite.for_controllers(each, others))
        if len(others) < len(wanted):
            made.append(rewrite.for_cron_jobs(each, wanted))
    return {str(each["name"]): each for each in reversed(made) if each is not None}
