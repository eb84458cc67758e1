"""From the results of an evaluation to the answer: blocked or not, and what the user is told.

A policy without any rule that may enforce never blocks, not even by errors, and warns only if it says so. In the
others a failed rule blocks if its action is Enforce, and an error blocks if the policy's failure policy is Fail.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from kymograph.engine import actions, evaluate
from kymograph.engine.rules import outcome

_UNBROKEN = 2**30  # columns: messages are never folded
_UNTROUBLED = (outcome.PASS, outcome.SKIP)
_NUMBER = re.compile(r"(\d+)")


class Verdict(NamedTuple):
    """The answer to a request.

    Attributes:
        blocked: The request is denied.
        message: Why it is denied, in Kyverno's wording; empty if it is allowed.
        warnings: What to warn the user of; only where the request is allowed.
    """

    blocked: bool
    message: str
    warnings: tuple[str, ...]


ALLOWED = Verdict(blocked=False, message="", warnings=())
"""Nothing to object to and nothing to say."""


def of(results: Sequence[evaluate.PolicyResult], request: Mapping[str, Any]) -> Verdict:
    """Judge a request by the results of its policies.

    Args:
        results: The results, of policies for one webhook.
        request: The AdmissionRequest; names the object in the message.
    """
    troubled = [result for result in results if _is_troubled(result)]
    if not troubled:
        return ALLOWED
    if any(_blocks(result) for result in troubled):
        return Verdict(blocked=True, message=_denial(troubled, request), warnings=())
    warnings = [
        f"policy {result.policy.name}.{rule.rule.name}: {rule.message}"
        for may_enforce in (True, False)
        for result in troubled
        if result.policy.may_enforce == may_enforce and (may_enforce or result.policy.emits_warnings)
        for rule in result.rules
        if rule.status not in _UNTROUBLED
    ]
    return Verdict(blocked=False, message="", warnings=tuple(warnings))


def of_mutations(results: Sequence[evaluate.PolicyResult]) -> Verdict:
    """Judge a request by what became of the policies that change it.

    A rule that could not be applied denies the request if its policy's failure policy is Fail; with Ignore the user is
    warned. A policy with `emitWarning` tells of what it changed, too.
    """
    warnings: list[str] = []
    for result in results:
        failed = [rule for rule in result.rules if rule.status not in _UNTROUBLED]
        if failed and result.policy.failure_policy == "Fail":
            name, reasons = result.policy.name, " ".join(f"{rule.rule.name}: {rule.message}" for rule in failed)
            message = f"mutation policy {name} error: failed to apply policy {name} rules [{reasons}]"
            return Verdict(blocked=True, message=message, warnings=())
        told = (
            [rule for rule in result.rules if rule.status != outcome.SKIP] if result.policy.emits_warnings else failed
        )
        warnings += [f"policy {result.policy.name}.{rule.rule.name}: {rule.message}" for rule in told]
    return Verdict(blocked=False, message="", warnings=tuple(warnings)) if warnings else ALLOWED


def _is_troubled(result: evaluate.PolicyResult) -> bool:
    for rule in result.rules:  # noqa: SIM110 - a generator costs three times the loop on the hot path
        if rule.status not in _UNTROUBLED:
            return True
    return False


def _blocks(result: evaluate.PolicyResult) -> bool:
    if not result.policy.may_enforce:
        return False
    return any(
        (rule.status == outcome.FAIL and rule.action == actions.ENFORCE)
        or (rule.status == outcome.ERROR and result.policy.failure_policy == "Fail")
        for rule in result.rules
    )


def _denial(troubled: Sequence[evaluate.PolicyResult], request: Mapping[str, Any]) -> str:
    reasons: dict[str, dict[str, str]] = {}
    for result in troubled:
        if result.policy.may_enforce:
            rules = {each.rule.name: _Text(each.message) for each in result.rules if each.status not in _UNTROUBLED}
            reasons[result.policy.name] = {name: rules[name] for name in sorted(rules, key=_natural)}
    in_order = {name: reasons[name] for name in sorted(reasons, key=_natural)}
    listing = yaml.dump(
        in_order, Dumper=_Dumper, allow_unicode=True, default_flow_style=False, sort_keys=False, width=_UNBROKEN
    )
    return f"\n\nresource {_name(request)} was blocked due to the following policies \n\n{listing}"


def _name(request: Mapping[str, Any]) -> str:
    new = request.get("object")
    resource = (new if new is not None else request.get("oldObject")) or {}
    kind = request["kind"]["kind"]
    namespace = "" if kind == "Namespace" else request.get("namespace") or ""
    return f"{kind}/{namespace}/{(resource.get('metadata') or {}).get('name') or ''}"


def _natural(text: str) -> list[Any]:
    """Sorts `rule-2` before `rule-10`, as Kyverno's YAML encoder does."""
    return [int(part) if part.isdigit() else part for part in _NUMBER.split(text)]


class _Text(str):
    """A message; one with several lines is written as a block, as Kyverno's YAML encoder does."""

    __slots__ = ()


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # the C one is missing where PyYAML has no libyaml
    """Writes the listing of a denial."""


def _represent(dumper: Any, text: _Text) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|" if "\n" in text else None)


_Dumper.add_representer(_Text, _represent)
