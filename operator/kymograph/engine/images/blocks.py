"""The entries of `verifyImages`, read: which images, and what is demanded of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kymograph.apimachinery import wildcard
from kymograph.engine import actions, conditions, errors, fields
from kymograph.engine.context import imageregistry

UNSUPPORTED = "not supported by this version of Kymograph"
"""What is said of signatures, when a policy is admitted or when an image comes to one."""

_SIGNED = {"attestors": "attestors are", "attestations": "attestations are", "key": "key is", "issuer": "issuer is"}
_FIELDS = (
    *_SIGNED,
    "failureAction",
    "type",
    "image",
    "imageReferences",
    "skipImageReferences",
    "roots",
    "subject",
    "additionalExtensions",
    "annotations",
    "repository",
    "cosignOCI11",
    "mutateDigest",
    "verifyDigest",
    "validate",
    "required",
    "imageRegistryCredentials",
    "useCache",
)
_TYPES = ("Cosign", "SigstoreBundle", "Notary")


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One entry.

    Attributes:
        action: Enforce or Audit; empty where it says nothing.
        references: The images that it is about: it matches one of these patterns.
        required: The image must have been verified, as its annotations say.
        verifies_digest: The image must be named by its digest.
        changes_to_digest: An image named by a tag gets the digest that the tag has in its registry.
        signed: It demands signatures or attestations.
        credentials: By which its registry is asked.
    """

    action: str
    references: tuple[Callable[[str], bool], ...]
    required: bool
    verifies_digest: bool
    changes_to_digest: bool
    signed: bool
    credentials: imageregistry.Credentials

    def is_about(self, image: str) -> bool:
        """Whether it is about an image, given as a full reference."""
        return any(matches(image) for matches in self.references)


def read(items: Sequence[tuple[Any, str]], problems: fields.Problems, *, admits_signed: bool) -> tuple[Block, ...]:
    """Read the entries.

    Args:
        items: The entries as written, each with its path in the policy.
        problems: Where to note what is wrong.
        admits_signed: An entry that demands signatures is none of it.
    """
    return tuple(_read(entry, path, problems, admits_signed=admits_signed) for entry, path in items)


def action(blocks: Sequence[Block]) -> actions.Declared:
    """What the entries of a rule say of its action: Enforce if one does, else what the first one says."""
    said = [each.action for each in blocks if each.action]
    return actions.Declared(actions.ENFORCE if actions.ENFORCE in said else next(iter(said), ""), ())


def without_conditions(document: Any) -> Any:
    """The entries without what is evaluated on an attestation: its variables mean something only there."""
    if not isinstance(document, list):
        return document
    return [_without_conditions(entry) if isinstance(entry, Mapping) else entry for entry in document]


def _without_conditions(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = {field: value for field, value in entry.items() if field != "validate"}
    attestations = entry.get("attestations")
    if isinstance(attestations, list):
        kept["attestations"] = [
            {field: value for field, value in each.items() if field != "conditions"}
            for each in attestations
            if isinstance(each, Mapping)
        ]
    return kept


def _read(entry: Any, path: str, problems: fields.Problems, *, admits_signed: bool) -> Block:
    block = fields.Fields(entry, path, problems, _FIELDS)
    signed = [field for field in _SIGNED if block.raw(field)]
    for field in () if admits_signed else signed:
        block.wrong(field, f"{_SIGNED[field]} {UNSUPPORTED}")
    block.text("type", among=_TYPES)
    block.boolean("useCache", default=True)
    block.boolean("cosignOCI11", default=False)
    block.texts("skipImageReferences")
    _check_conditions(block)
    references = [*block.texts("imageReferences"), *filter(None, [block.text("image")])]
    return Block(
        action=block.text("failureAction", among=(actions.AUDIT, actions.ENFORCE)),
        references=tuple(wildcard.compile(each) for each in references),
        required=block.boolean("required", default=True),
        verifies_digest=block.boolean("verifyDigest", default=True),
        changes_to_digest=block.boolean("mutateDigest", default=True),
        signed=bool(signed),
        credentials=imageregistry.credentials(block),
    )


def _check_conditions(block: fields.Fields) -> None:
    """Look whether the conditions of `validate` are some; they are evaluated on attestations only."""
    validate = fields.Fields(block.raw("validate"), block.at("validate"), block.problems, ("message", "deny"))
    validate.text("message")
    deny = fields.Fields(validate.raw("deny"), validate.at("deny"), block.problems, ("conditions",))
    if "conditions" in deny:
        try:
            conditions.compile(deny.raw("conditions"), deny.at("conditions"))
        except errors.PolicyInvalid as invalid:
            block.problems.absorb(invalid)
