"""Names of Kyverno's own objects that cases look at, and what stands for them here.

Webhook configurations are called differently here on purpose: both operators can be in one cluster while users change
over. A case that asserts one is read with our name in place of Kyverno's; its result says so.
"""

import pathlib

from kymograph.controllers.admission import webhooks

_MANAGED_BY = ", ".join(f"{key}: {value}" for key, value in webhooks.MANAGED_BY.items())

TRANSLATIONS = {
    "kyverno-resource-validating-webhook-cfg": webhooks.RESOURCE_CONFIGURATION,
    "kyverno-resource-mutating-webhook-cfg": webhooks.MUTATION_CONFIGURATION,
    "webhook.kyverno.io/managed-by: kyverno": _MANAGED_BY,
    "mutate.kyverno.svc-fail": "fail.mutate.kymograph.dev",
    "mutate.kyverno.svc-ignore": "ignore.mutate.kymograph.dev",
    "validate.kyverno.svc-fail": "fail.validate.kymograph.dev",
    "validate.kyverno.svc-ignore": "ignore.validate.kymograph.dev",
}


def translate(folder: pathlib.Path) -> tuple[str, ...]:
    """Put our names into the files of a case; returns Kyverno's names that were there."""
    seen: set[str] = set()
    for path in folder.rglob("*"):
        if path.suffix not in {".yaml", ".yml", ".sh"}:
            continue
        text = translated = path.read_text()
        for theirs, ours in TRANSLATIONS.items():
            if theirs in translated:
                seen.add(theirs)
                translated = translated.replace(theirs, ours)
        if translated != text:
            path.write_text(translated)
    return tuple(sorted(seen))
