"""The body `verifyImages` of a rule, compiled. It has two parts, for the two reviews that an object goes through.

The mutating review verifies images, turns their tags into digests and notes on the object what it has verified; the
validating one looks at the notes and the digests. As in Kyverno a rule without signatures verifies nothing: `required`
then holds for nothing but images that a rule of the same name has verified before.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.apimachinery import imageref, jsonpatch, wildcard
from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields, needs, values, variables
from kymograph.engine.images import annotations, blocks, extraction
from kymograph.engine.rules import outcome

_STATUSES = {outcome.PASS: annotations.PASS, outcome.SKIP: annotations.SKIP, outcome.WARN: annotations.SKIP}


class Verified(NamedTuple):
    """What the mutating review made of an object.

    Attributes:
        outcomes: One for each thing that there is to say of an image; empty for most objects.
        resource: The object with digests; the very same one where nothing has changed.
        notes: Which images have been verified.
    """

    outcomes: tuple[outcome.Outcome, ...]
    resource: dict[str, Any]
    notes: annotations.Notes


@dataclasses.dataclass(frozen=True, slots=True)
class _Resolved:
    """What the variables of an entry have been replaced in."""

    skipped: tuple[str, ...]
    secrets: tuple[str, ...]


class Body:
    """What a rule demands of images.

    Args:
        read: The entries.
        template: `{"verifyImages": ...}` as written, but for conditions, with its variables.
        extractors: The `imageExtractors` of the rule; None for none.
        scope: The rule, as notes name it.

    Attributes:
        declared: What the entries say of the rule's action.
        judges: It has something to say in the validating review.
    """

    __slots__ = ("_blocks", "_extractors", "_scope", "_template", "declared", "judges")
    looks_at_deleted = False

    def __init__(
        self,
        read: Sequence[blocks.Block],
        template: variables.Template,
        extractors: extraction.ByKind | None,
        scope: annotations.Scope,
    ) -> None:
        self._blocks = tuple(read)
        self._template = template
        self._extractors = extractors
        self._scope = scope
        self.declared = blocks.action(read)
        self.judges = any(each.required or each.verifies_digest for each in read)

    def concerns(self, resource: dict[str, Any], budget: budgets.Budget) -> bool:
        """Whether an object has images that the rule is about; asked before the context and preconditions of the rule.

        Raises:
            EvaluationError: The images of a rule with extractors cannot be read.
        """
        return any(True for _ in self._matched(resource, budget))

    def check(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> outcome.Outcome:  # noqa: ARG002 - the signature of all bodies
        """Judge an object in the validating review; see `outcome.Body`."""
        verified, skipped = 0, []
        found = self._images(resource, budget)
        for block in self._blocks:
            for image in (each.image for group in found.values() for each in group.values()):
                name = image.reference
                if not block.is_about(name):
                    continue
                if block.verifies_digest and not image.digest:
                    return outcome.Outcome(outcome.FAIL, f"missing digest for {name}")
                if not block.required:
                    continue
                try:
                    status = annotations.status(resource, self._scope, name)
                except errors.EvaluationError as unreadable:
                    return outcome.Outcome(outcome.FAIL, str(unreadable))
                if status == annotations.FAIL:
                    return outcome.Outcome(outcome.FAIL, f"unverified image {name}")
                verified += status == annotations.PASS
                skipped += [name] if status == annotations.SKIP else []
        if verified or not skipped:
            return outcome.Outcome(
                outcome.PASS, " ".join(["image verified, skipped images:", *skipped]) if skipped else "image verified"
            )
        return outcome.Outcome(outcome.SKIP, " ".join(["image skipped, skipped images:", *skipped]))

    def verify(self, resource: dict[str, Any], context: outcome.Context, budget: budgets.Budget) -> Verified:
        """Verify the images of an object, and name them by their digests, in the mutating review.

        As in Kyverno every entry looks at each image that any entry of the rule is about.

        Args:
            resource: The object; never changed.
            context: What its variables search; `request.oldObject` says what has been verified before.
            budget: What this may spend.

        Raises:
            Needed: The digest of an image is not known.
            EvaluationError: The budget is exhausted. Other failures are outcomes.
        """
        notes: dict[tuple[annotations.Scope, str], str] = {}
        try:
            resolved = self._resolved(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            failure = outcome.Outcome(outcome.ERROR, f"failed to substitute variables: {cause}")
            return Verified((failure,), resource, notes)
        old = (context.get("request") or {}).get("oldObject")
        images = list(self._matched(resource, budget))
        outcomes: list[outcome.Outcome] = []
        operations = []
        for block, known in zip(self._blocks, resolved, strict=True):
            for found in images:
                image = found.image
                if self._was_verified(found, resource, old):
                    notes[self._scope, image.reference] = annotations.PASS
                    continue
                said = self._judged(block, known, image.reference) if block.signed else None
                if block.changes_to_digest and not image.digest:
                    try:
                        digest = _digest(block, known, image, budget)
                    except errors.BudgetExhausted:
                        raise
                    except errors.EvaluationError as cause:
                        outcomes.append(outcome.Outcome(outcome.ERROR, f"failed to update digest: {cause}"))
                    else:
                        said = said or outcome.Outcome(outcome.PASS, "mutated image digest")
                        value = f"{image.reference}@{digest}"
                        operations.append({"op": "replace", "path": found.pointer, "value": value})
                        image = image._replace(digest=digest)
                if said is not None:
                    if block.signed:
                        notes[self._scope, image.reference] = _STATUSES.get(said.status, annotations.FAIL)
                    outcomes.append(said)
        try:
            changed = jsonpatch.apply(resource, operations, jsonpatch.LENIENT) if operations else resource
        except jsonpatch.PatchFailed as cause:
            failure = outcome.Outcome(outcome.ERROR, f"failed to apply patch: {cause}")
            return Verified((failure,), resource, notes)
        return Verified(tuple(outcomes), changed, notes)

    def _images(self, resource: dict[str, Any], budget: budgets.Budget) -> extraction.ByName:
        try:
            return extraction.extracted(resource, budget, self._extractors)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            if self._extractors is None:  # the API server refuses such a Pod in better words
                return {}
            raise errors.EvaluationError(f"failed to instantiate handler: failed to extract images: {cause}") from cause

    def _matched(self, resource: dict[str, Any], budget: budgets.Budget) -> Iterator[extraction.Found]:
        """The images that the rule is about, each once for every entry that is about it."""
        for group in self._images(resource, budget).values():
            for found in group.values():
                for block in self._blocks:
                    if block.is_about(found.image.reference):
                        yield found

    def _resolved(self, context: outcome.Context, budget: budgets.Budget) -> list[_Resolved]:
        """What the entries say once their variables are replaced."""
        resolved = []
        for entry in self._template.resolve(context, budget)["verifyImages"]:
            skipped = entry.get("skipImageReferences") or []
            secrets = (entry.get("imageRegistryCredentials") or {}).get("secrets") or []
            for each in (*skipped, *secrets):
                if not isinstance(each, str):
                    raise errors.EvaluationError(f"{values.to_text(each, budget)} is no string")
            resolved.append(_Resolved(tuple(skipped), tuple(secrets)))
        return resolved

    def _was_verified(self, found: extraction.Found, resource: dict[str, Any], old: Any) -> bool:
        """Whether an image is what it was before an update, and had been verified then."""
        if not isinstance(old, dict):
            return False
        now = _at(resource, found.path)
        if now is None or _at(old, found.path) != now:
            return False
        try:
            return annotations.status(old, self._scope, found.image.reference) in (annotations.PASS, annotations.SKIP)
        except errors.EvaluationError:
            return False

    def _judged(self, block: blocks.Block, known: _Resolved, image: str) -> outcome.Outcome:
        """The outcome of an entry that demands signatures: only images that it passes over need none."""
        if not block.is_about(image) or _matches_any(known.skipped, image):
            policy = self._scope.policy.rpartition("/")[2]
            message = f"skipping image reference image {image}, policy {policy} ruleName {self._scope.rule}"
            return outcome.Outcome(outcome.SKIP, message)
        return outcome.Outcome(outcome.ERROR, f"failed to verify image {image}: signatures are {blocks.UNSUPPORTED}")


def compile(  # noqa: A001 - the field's word
    rule: fields.Fields, name: str, extractors: extraction.ByKind | None, *, policy: str, admits_signed: bool
) -> Body | None:
    """Compile the body of a rule; None if anything is wrong with it.

    Args:
        rule: The rule, with `verifyImages`; kept, and must not change.
        name: Name of the rule.
        extractors: Its `imageExtractors`; None for none.
        policy: Key of the policy.
        admits_signed: Entries that demand signatures are compiled too.
    """
    problems = rule.problems
    before = len(problems)
    read = blocks.read(rule.items("verifyImages"), problems, admits_signed=admits_signed)
    try:
        written = {"verifyImages": blocks.without_conditions(rule.raw("verifyImages"))}
        template = variables.compile(written, rule.path)
    except errors.PolicyInvalid as invalid:
        problems.absorb(invalid)
    if len(problems) > before:
        return None
    scope = annotations.Scope(policy if "/" in policy else f"/{policy}", name)
    return Body(read, template, extractors, scope)


def _digest(block: blocks.Block, known: _Resolved, image: imageref.Image, budget: budgets.Budget) -> str:
    """The digest that an image has in its registry.

    Raises:
        Needed: It is not known.
        EvaluationError: The registry could not be asked, or does not know it.
    """
    allowed = block.credentials
    need = needs.ImageData(image.reference, known.secrets, allowed.providers, allowed.insecure)
    failure = f"failed to fetch image reference: {image.reference}, error"
    try:
        data: Mapping[str, Any] = budget.ask(need)
    except errors.BudgetExhausted:
        raise
    except errors.Unavailable as cause:
        raise errors.EvaluationError(f"{failure}: no image registry may be asked here") from cause
    except errors.EvaluationError as cause:
        raise errors.EvaluationError(f"{failure}: {cause}") from cause
    return str(data["resolvedImage"]).rpartition("@")[2]


def _matches_any(patterns: Sequence[str], image: str) -> bool:
    return any(wildcard.match(pattern, image) for pattern in patterns)


def _at(document: values.JSON, path: Sequence[str]) -> values.JSON:
    """What an object holds at a path; None where there is nothing."""
    for step in path:
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document
