"""What the status of a cleanup policy says: whether it is followed, when it ran last and what came of that."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from kymograph.controllers.cleanup import held, runs

READY, RAN = "Ready", "Ran"
MOST_MESSAGE = 32_768
"""Characters of a condition's message that the CRD takes."""

_COMPARED = ("type", "status", "reason", "message", "observedGeneration")


def ready(policy: held.Held, now: dt.datetime) -> dict[str, Any]:
    """The status of a policy that was written; a run that came before stays in it."""
    if policy.compiled is None:
        problems = "; ".join(map(str, policy.problems))
        condition = _condition(policy, READY, problems, ("Failed", problems), now)
    else:
        never = policy.due(None, now) is None
        message = "its schedule never comes" if never else "Ready"
        condition = _condition(policy, READY, "", ("Succeeded", message), now)
    others = [each for each in policy.status.get("conditions") or () if each.get("type") == RAN]
    return {"conditions": [condition, *others]}


def ran(policy: held.Held, outcome: runs.Outcome, started: dt.datetime, now: dt.datetime) -> dict[str, Any]:
    """The status of a policy that has run, with Kyverno's `lastExecutionTime` where it need not run again.

    A run that began before the last one that is written, which another leader made, says nothing.
    """
    if policy.last is not None and started < policy.last <= now:
        return ready(policy, now)
    said = f"looked at {outcome.looked} objects, deleted {outcome.deleted}"
    problem = ""
    if outcome.failed:
        more = outcome.failed - len(outcome.problems)
        told = [*outcome.problems, *([f"and {more} more"] if more > 0 else [])]
        problem = f"{said}, {outcome.failed} failures: {'; '.join(told)}"
    reason = "Failed" if problem else "Succeeded"
    status = ready(policy, started)
    status["conditions"] = [
        status["conditions"][0],
        _condition(policy, RAN, problem, (reason, problem or said), started),
    ]
    if outcome.complete:
        status["lastExecutionTime"] = _written(started)
    return status


def says(written: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether a written status says the same, times of transitions aside."""
    before, after = (
        [{name: each.get(name) for name in _COMPARED} for each in conditions or ()]
        for conditions in (written.get("conditions"), status["conditions"])
    )
    return before == after and status.get("lastExecutionTime") in (None, written.get("lastExecutionTime"))


def _condition(policy: held.Held, type_: str, problem: str, why: tuple[str, str], now: dt.datetime) -> dict[str, Any]:
    state = "False" if problem else "True"
    before: Mapping[str, Any] = next(
        (each for each in policy.status.get("conditions") or () if each.get("type") == type_), {}
    )
    reason, message = why
    return {
        "type": type_,
        "status": state,
        "reason": reason,
        "message": message[:MOST_MESSAGE],
        "lastTransitionTime": (before.get("status") == state and before.get("lastTransitionTime")) or _written(now),
        "observedGeneration": policy.generation,
    }


def _written(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
