"""Kyverno's `image_normalize`: the full name of an image, with registry and tag."""

from kymograph.apimachinery import imageref
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath.functions import STRING, failure, register

_LONGEST = 4096


@register("image_normalize", STRING, returns=STRING, note="an image reference with its registry, and a tag or digest")
def _image_normalize(budget: Budget, reference: str) -> str:
    budget.spend(1 + len(reference) // 8)
    try:
        return imageref.parse(reference[:_LONGEST], budget.installation.images).reference
    except ValueError as problem:
        raise failure("image_normalize", str(problem)) from None
