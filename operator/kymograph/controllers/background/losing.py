"""Whether an object that was a trigger is none any more, told by what it is now.

While an operator runs, the update that makes it so tells: admission sees the object before and after. What changed
while none ran is seen by whoever leads next, who has only the object. So this says yes only of rules that judge by the
object alone, and by anything that an update may show: not by who asks, by another operation than an update, by the
time, or by what is loaded from elsewhere. All others keep what they have generated.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kymograph.controllers.background import facts
from kymograph.engine import budget as budgets
from kymograph.engine import errors as engine_errors
from kymograph.engine import exceptions, needs
from kymograph.engine import policy as policies
from kymograph.engine.generate import planning
from kymograph.engine.rules import outcome

STEPS = 200_000
"""Steps that it may take."""

_WHO = frozenset({"subjects", "roles", "clusterRoles"})
"""Fields of filters that are about users."""

_ELSEWHERE = re.compile(
    r"\brequest\b(?!\s*\.\s*(?:object|name|namespace)\b)|serviceAccount|oldObject|\btime_|\brandom\b"
)
"""What variables name, besides the object, and functions that say something else each time."""


def is_told_by_object(policy: policies.CompiledPolicy, rule: policies.CompiledRule) -> bool:
    """Whether the trigger alone says whether a rule is about it."""
    written: Mapping[str, Any] = next(
        (each for each in policy.document["spec"]["rules"] if each["name"] == rule.base_name), {}
    )
    judging = [written.get("match"), written.get("exclude"), written.get("preconditions")]
    return not (
        policy.match_conditions
        or rule.context
        or planning.is_about_deletion(rule)
        or any("UPDATE" not in scope.operations for scope in rule.match.scopes)
        or any(selector.subresource for scope in rule.match.scopes for selector in scope.kinds)
        or any(key in _WHO for each in judging for key, _ in _fields(each))
        or any(key == "operations" for key, _ in _fields(written.get("exclude")))
        or any(_ELSEWHERE.search(text) for each in judging for _, text in _fields(each))
    )


async def has_lost(
    policy: policies.CompiledPolicy,
    rule: policies.CompiledRule,
    request: Mapping[str, Any],
    answers: facts.Facts,
    clock: Callable[[], int],
    excepted: exceptions.Exceptions,
) -> bool:
    """Whether a rule that judges by the object alone is not about an object; no where that cannot be said.

    Args:
        policy: The policy.
        rule: Its rule.
        request: A request about the object as it is (`triggers.about`).
        answers: Answers what the rule asks for.
        clock: Monotonic nanoseconds.
        excepted: The PolicyExceptions of the moment: what they except has not lost its reason.
    """
    if not is_told_by_object(policy, rule):
        return False
    known, budget = needs.Facts(), budgets.Budget(steps=STEPS)
    alone = dataclasses.replace(policy, generate=policies.RuleTable(written=(rule,), every=(rule,)))
    updated = {**request, "operation": "UPDATE"}
    work = planning.Planning((alone,), updated, known, budget, clock, None, excepted, describes=False)
    try:
        planned = await answers.complete(work.run, known)
    except engine_errors.EvaluationError:
        return False
    found = [each for one in planned for each in one.result.rules]
    return all(each.status == outcome.SKIP and "exceptions" not in each.properties for each in found)


def _fields(document: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a document, keys included, with the field that it is in; a field without texts has an empty one."""
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield name, name
            yield from _fields(value, name)
    elif isinstance(document, list):
        for each in document:
            yield from _fields(each, key)
    elif isinstance(document, str):
        yield key, document
