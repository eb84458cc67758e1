"""What may not change of generate rules: what they have generated would be found by nobody any more."""

from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.engine import errors
from kymograph.engine.validation import subject

_MUTABLE = ("synchronize", "data", "foreach", "orphanDownstreamOnPolicyDelete", "generateExisting")
_STALE = (
    "no synchronization will be performed to the old target resource upon policy updates: "
    "changes in the generate rule pattern could result in stale targets"
)


def problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[errors.Problem, ...]:
    """Why a policy may not be replaced by another.

    Everything of a generate rule but its `generate` stays as it is; its `match` may change as long as no rule of the
    old policy synchronizes.
    """
    synchronizes = any(rule.table("generate").get("synchronize") is True for rule in _generating(old))
    mutable = ("generate",) if synchronizes else ("generate", "match")
    if warnings(old, new) or _rest(old, mutable) <= _rest(new, mutable):
        return ()
    reason = "changes of immutable fields of a rule spec in a generate rule is disallowed"
    return (errors.Problem("spec.rules", reason),)


def warnings(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """What replacing a policy leaves behind."""
    return () if _patterns(old) <= _patterns(new) else (_STALE,)


def _generating(document: Mapping[str, Any]) -> Iterator[subject.Rule]:
    return (rule for rule in subject.of(document).rules if rule.has("generate"))


def _patterns(document: Mapping[str, Any]) -> set[str]:
    return {
        subject.digest({field: value for field, value in rule.table("generate").items() if field not in _MUTABLE})
        for rule in _generating(document)
    }


def _rest(document: Mapping[str, Any], mutable: tuple[str, ...]) -> set[str]:
    return {
        subject.digest({field: value for field, value in rule.document.items() if field not in mutable})
        for rule in _generating(document)
    }
