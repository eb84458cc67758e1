"""`images`: the images of a Pod, or of what makes Pods, taken apart when an expression first names them."""

from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import values
from kymograph.engine.context.entry import Entry
from kymograph.engine.images import extraction


def by(extractors: extraction.ByKind | None) -> Entry:
    """What a rule that names `images` has before its own entries.

    Args:
        extractors: The `imageExtractors` of the rule; None for none.
    """

    def load(context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        request = context.get("request")
        return _loaded(request.get("object") if isinstance(request, dict) else None, budget, extractors)

    return Entry("images", load, asks=None, merges=False, counts=False, expressions=())


def _load_of_target(context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
    return _loaded(context.get("target"), budget)


def _loaded(resource: values.JSON, budget: budgets.Budget, extractors: extraction.ByKind | None = None) -> values.JSON:
    found = extraction.extracted(resource, budget, extractors) if isinstance(resource, dict) else {}
    if not found:
        raise KeyError("images")
    return {group: {name: _described(each) for name, each in images.items()} for group, images in found.items()}


def _described(found: extraction.Found) -> dict[str, Any]:
    image = found.image
    described = {
        "registry": image.registry,
        "name": image.name,
        "path": image.path,
        "tag": image.tag,
        "digest": image.digest,
        "reference": image.reference,
        "referenceWithTag": image.reference_with_tag,
    }
    always = ("name", "path")
    return {key: value for key, value in described.items() if value or key in always} | {"jsonPointer": found.pointer}


IMAGES = by(None)
"""The entry of a rule without extractors."""

OF_TARGET = Entry("images", _load_of_target, asks=None, merges=False, counts=False, expressions=())
"""The same where the object that is looked at is `target`."""
