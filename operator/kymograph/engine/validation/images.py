"""verifyImages rules: which images, by whom signed. The words for rules that are not verified yet all the same."""

from collections.abc import Mapping
from typing import Any

from kymograph.engine import fields
from kymograph.engine.validation import subject

_IDENTITIES = ("keys", "certificates", "keyless", "attestor")
_ALGORITHMS = ("", "sha224", "sha256", "sha384", "sha512")


def check(policy: subject.Policy, problems: fields.Problems) -> None:
    """Check the `verifyImages` of every rule."""
    audit = subject.text(policy.spec.get("validationFailureAction")).lower() != "enforce"
    for rule in policy.rules:
        images = subject.items(rule.document.get("verifyImages"))
        if rule.document.get("imageExtractors") and not images:
            problems.add(
                f"{rule.path}.imageExtractors",
                f"Invalid rule spec for rule '{rule.name}', imageExtractors can only be defined for verifyImages rule",
            )
        audits = audit
        for index, image in enumerate(map(subject.table, images)):
            action = subject.text(image.get("failureAction"))
            audits = action.lower() != "enforce" if action else audits
            _check_image(image, f"{rule.path}.verifyImages[{index}]", rule.name, problems, audits=audits)
        _check_extractors(rule, images, problems)


def _check_image(image: Mapping[str, Any], path: str, rule: str, problems: fields.Problems, *, audits: bool) -> None:
    if audits and _changes_to_digest(image):
        problems.add(f"{path}.mutateDigest", "mutateDigest must be set to false for \u2018Audit\u2019 failure action")
    references = [*subject.texts(image.get("imageReferences")), *filter(None, [subject.text(image.get("image"))])]
    if not references:
        problems.add(path, "An image reference is required")
    if any("{{" in reference for reference in references):
        problems.add(path, f'rule "{rule}" should not have variables in image reference section')
    for index, attestation in enumerate(map(subject.table, subject.items(image.get("attestations")))):
        _check_sets(attestation.get("attestors"), f"{path}.attestations[{index}].attestors", problems)
    _check_sets(image.get("attestors"), f"{path}.attestors", problems)
    if image.get("type") == "Notary":
        entries = [
            subject.table(entry)
            for each in subject.items(image.get("attestors"))
            for entry in subject.items(subject.table(each).get("entries"))
        ]
        for field in ("keyless", "keys"):
            if any(entry.get(field) is not None for entry in entries):
                problems.add(f"{path}.attestors", f"{field.capitalize()} field is not allowed for type notary")


def _changes_to_digest(image: Mapping[str, Any]) -> bool:
    return image.get("mutateDigest") is not False  # the default is true


def _check_sets(sets: Any, path: str, problems: fields.Problems) -> None:
    for index, attestors in enumerate(subject.items(sets)):
        _check_set(subject.table(attestors), f"{path}[{index}]", problems)


def _check_set(attestors: Mapping[str, Any], path: str, problems: fields.Problems) -> None:
    entries, count = subject.items(attestors.get("entries")), attestors.get("count")
    if isinstance(count, int) and count > len(entries):
        problems.add(path, "Count cannot exceed length of entries")
    if not entries:
        problems.add(path, "An entry is required")
    for index, entry in enumerate(map(subject.table, entries)):
        where = f"{path}.entries[{index}]"
        if sum(entry.get(field) is not None for field in _IDENTITIES) != 1:
            problems.add(where, "keys, certificates, keyless, or a nested attestor is required")
            continue
        _check_identity(entry, where, problems)


def _check_identity(entry: Mapping[str, Any], path: str, problems: fields.Problems) -> None:
    if entry.get("keys") is not None:
        keys = subject.table(entry["keys"])
        if not any(keys.get(field) for field in ("publicKeys", "kms", "secret")):
            problems.add(f"{path}.keys", "A public key, kms key or secret is required")
        if keys.get("publicKeys") and (keys.get("signatureAlgorithm") or "") not in _ALGORITHMS:
            problems.add(f"{path}.keys", "Invalid signature algorithm provided")
    elif entry.get("certificates") is not None:
        certificates = subject.table(entry["certificates"])
        if not certificates.get("cert") and not certificates.get("certChain"):
            problems.add(f"{path}.certificates", "cert or certChain required")
    elif entry.get("keyless") is not None:
        keyless = subject.table(entry["keyless"])
        if keyless.get("rekor") is None and not keyless.get("roots"):
            problems.add(f"{path}.keyless", "Either Rekor URL or roots are required")
        if keyless.get("rekor") is not None and not subject.table(keyless["rekor"]).get("url"):
            problems.add(f"{path}.keyless", "An URL is required")
    else:
        _check_set(subject.table(entry["attestor"]), f"{path}.attestor", problems)


def _check_extractors(rule: subject.Rule, images: list[Any], problems: fields.Problems) -> None:
    if not any(_changes_to_digest(subject.table(image)) for image in images):
        return
    for kind, extractors in rule.table("imageExtractors").items():
        for index, extractor in enumerate(map(subject.table, subject.items(extractors))):
            if extractor.get("jmesPath"):
                problems.add(
                    f"{rule.path}.imageExtractors.{kind}[{index}].jmesPath",
                    "jmespath may not be used in an image extractor when mutating digests with verify images",
                )
