"""What there is to say in Events about results of policies. Pure.

Reasons, actions, sources and texts are Kyverno's (`pkg/event`), because alerts and dashboards look for them: a rule
that fails or cannot be evaluated is a `PolicyViolation` of the policy and, unless the request was blocked, of the
object; an exception that applies is `PolicySkipped`; a policy without a failure is `PolicyApplied`.
"""

import enum
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from kymograph.apimachinery import objectkey
from kymograph.engine import exceptions, results
from kymograph.engine.policy import CompiledPolicy
from kymograph.engine.rules import outcome


class Reason(enum.StrEnum):
    """Why there is an Event."""

    POLICY_VIOLATION = "PolicyViolation"
    POLICY_APPLIED = "PolicyApplied"
    POLICY_ERROR = "PolicyError"
    POLICY_SKIPPED = "PolicySkipped"
    CONFIGURATION_INVALID = "ConfigurationInvalid"


class Action(enum.StrEnum):
    """What was done."""

    BLOCKED = "Resource Blocked"
    PASSED = "Resource Passed"
    GENERATED = "Resource Generated"
    MUTATED = "Resource Mutated"
    CLEANED_UP = "Resource Cleaned Up"
    RETRYING = "Retrying"
    NONE = "None"


class Source(enum.StrEnum):
    """Who says it: `reportingController`."""

    ADMISSION = "kyverno-admission"
    SCAN = "kyverno-scan"
    GENERATE = "kyverno-generate"
    MUTATE = "kyverno-mutate"
    CLEANUP = "kyverno-cleanup"
    GLOBAL_CONTEXT = "globalcontext-controller"


NORMAL = frozenset({Reason.POLICY_APPLIED, Reason.POLICY_SKIPPED})
"""Reasons of Events of the type `Normal`; the others are warnings."""


class Reference(NamedTuple):
    """An object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""

    @property
    def path(self) -> str:
        """`namespace/name`, or the name alone."""
        return objectkey.of(self.namespace, self.name)


class Note(NamedTuple):
    """One Event to be: two that are equal are one, seen twice.

    Attributes:
        regarding: What it is about.
        related: What else has to do with it; None for nothing.
        reason: Why.
        action: What was done.
        source: Who says it.
        text: The note itself.
    """

    regarding: Reference
    related: Reference | None
    reason: Reason
    action: Action
    source: Source
    text: str


def of_policy(policy: CompiledPolicy) -> Reference:
    """The reference to a policy."""
    return Reference(f"{policy.group}/{policy.version}", policy.kind, policy.namespace, policy.name, policy.uid)


def of_review(
    subject: Reference,
    found: Sequence[results.PolicyResult],
    *,
    blocked: bool,
    excepted: exceptions.Exceptions = exceptions.NONE,
    omitted: Collection[str] = (),
) -> Iterator[Note]:
    """What to say about a review.

    Args:
        subject: The object of the request.
        found: What policies found.
        blocked: The request was denied.
        excepted: The exceptions that counted.
        omitted: Reasons that are not wanted.
    """
    for result in found:
        if result.rules[0].rule.type == "generate":
            continue  # what came of these is told by whoever makes the objects
        failed = [rule for rule in result.rules if rule.status in (outcome.FAIL, outcome.ERROR)]
        if failed:
            for rule in failed:
                yield _of_failed(subject, result, rule, Source.ADMISSION, blocked=blocked)
                if not blocked:
                    yield _of_violation(subject, result, rule, Source.ADMISSION)
        elif any(rule.status == outcome.SKIP for rule in result.rules):
            if not blocked and Reason.POLICY_SKIPPED not in omitted:
                yield from _of_exceptions(subject, result, excepted, Source.ADMISSION)
        elif Reason.POLICY_APPLIED not in omitted:
            yield _of_applied(subject, result, Source.ADMISSION)


def of_scan(
    subject: Reference,
    found: Sequence[results.PolicyResult],
    *,
    excepted: exceptions.Exceptions = exceptions.NONE,
    omitted: Collection[str] = (),
) -> Iterator[Note]:
    """What to say about a scan of an object; see `of_review`."""
    for result in found:
        failed = [rule for rule in result.rules if rule.status not in (outcome.PASS, outcome.SKIP)]
        for rule in failed:
            yield _of_violation(subject, result, rule, Source.SCAN)
            yield _of_failed(subject, result, rule, Source.SCAN, blocked=False)
        if Reason.POLICY_SKIPPED not in omitted:
            yield from _of_exceptions(subject, result, excepted, Source.SCAN)
        if not failed and Reason.POLICY_APPLIED not in omitted:
            yield _of_applied(subject, result, Source.SCAN)


def _of_failed(
    subject: Reference, result: results.PolicyResult, rule: results.RuleResult, source: Source, *, blocked: bool
) -> Note:
    said = f"; {rule.message}" if rule.message else ""
    text = f"{subject.kind} {subject.path}: [{rule.rule.name}] {rule.status}{' (blocked)' if blocked else ''}{said}"
    action = Action.BLOCKED if blocked else Action.PASSED
    return Note(of_policy(result.policy), subject, Reason.POLICY_VIOLATION, action, source, text)


def _of_violation(subject: Reference, result: results.PolicyResult, rule: results.RuleResult, source: Source) -> Note:
    text = f"policy {result.policy.name}/{rule.rule.name} {rule.status}: {rule.message}"
    return Note(subject, None, Reason.POLICY_VIOLATION, Action.PASSED, source, text)


def _of_applied(subject: Reference, result: results.PolicyResult, source: Source) -> Note:
    policy = result.policy
    about = f"{subject.kind} {subject.path}"
    if policy.validate.every:
        text, action = f"{about}: pass", Action.PASSED
    else:
        text, action = f"{about} is successfully mutated", Action.MUTATED
    return Note(of_policy(policy), subject, Reason.POLICY_APPLIED, action, source, text)


def _of_exceptions(
    subject: Reference, result: results.PolicyResult, excepted: exceptions.Exceptions, source: Source
) -> Iterator[Note]:
    policy = result.policy
    about = f"resource {subject.kind}/{subject.path}"
    for rule in result.rules:
        names = rule.properties.get("exceptions")
        if rule.status != outcome.SKIP or not names:
            continue
        named = frozenset(names.split(","))
        applied = [each for each in excepted.of(policy.key) if each.name in named]
        for each in applied:
            uid = (each.document.get("metadata") or {}).get("uid") or ""
            exception = Reference("kyverno.io/v2", exceptions.KIND, each.namespace, each.name, uid)
            text = f"{about} was skipped from policy rule {policy.key}/{rule.rule.name}"
            yield Note(exception, subject, Reason.POLICY_SKIPPED, Action.PASSED, source, text)
        keys = ", ".join(each.key for each in applied)
        text = f"{about} was skipped from rule {rule.rule.name} due to policy exceptions {keys}"
        yield Note(of_policy(policy), subject, Reason.POLICY_SKIPPED, Action.PASSED, source, text)
