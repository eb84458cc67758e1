"""Where the images of an object stand: those of Pods and of what makes Pods, and by `imageExtractors` any others.

The walk is Kyverno's: `*` in a path goes through all entries of a list or a map; what is absent has no image, what is
of another type than the path says is an error.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.apimachinery import imageref
from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields, jmespath, values

_TEMPLATE = ("spec", "template", "spec")
_POD_SPECS = {
    "Pod": ("spec",),
    "DaemonSet": _TEMPLATE,
    "Deployment": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
    "Job": _TEMPLATE,
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
_LISTS = ("initContainers", "containers", "ephemeralContainers")
_FIELDS = ("path", "value", "name", "key", "jmesPath")
_UNNAMED = "custom"
_ANY = "*"


class Found(NamedTuple):
    """An image in an object.

    Attributes:
        image: The image, taken apart.
        path: Where its reference stands: keys and indices, as text.
    """

    image: imageref.Image
    path: tuple[str, ...]

    @property
    def pointer(self) -> str:
        """The path as a JSON pointer, without escapes, as Kyverno has it."""
        return f"/{'/'.join(self.path)}"


ByName = Mapping[str, Mapping[str, Found]]
"""Images by the name of their extractor (`containers`) and by their own (the container's)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Extractor:
    """Where one group of images stands.

    Attributes:
        name: What the group is called.
        path: The way to the objects that hold an image each; `*` is every entry.
        key: The field of such an object that names the image; empty for the pointer to it.
        value: The field with the image.
        expression: Makes the image of what that field holds; None where it is the image.
    """

    name: str
    path: tuple[str, ...]
    key: str
    value: str
    expression: jmespath.Expression | None = None


_STANDARD = {
    kind: tuple(Extractor(each, (*place, each, _ANY), "name", "image") for each in _LISTS)
    for kind, place in _POD_SPECS.items()
}

ByKind = Mapping[str, tuple[Extractor, ...]]


def read(rule: fields.Fields) -> ByKind | None:
    """The `imageExtractors` of a rule, by kind; None if it has none.

    Args:
        rule: The rule; what is wrong with them is noted in its problems.
    """
    written = rule.raw("imageExtractors")
    if written is None:
        return None
    kinds = fields.Fields(written, rule.at("imageExtractors"), rule.problems, tuple(written or ()))
    found = {}
    for kind in written if isinstance(written, Mapping) else ():
        entries = kinds.items(kind)
        if not entries:
            kinds.wrong(kind, f"no extractors found for {kind}")
        found[kind] = tuple(each for entry, path in entries if (each := _extractor(entry, path, rule.problems)))
    return found


def extracted(resource: dict[str, Any], budget: budgets.Budget, by_kind: ByKind | None = None) -> ByName:
    """The images of an object.

    Args:
        resource: The object; one of a kind that nothing is known about has no images.
        budget: Pays for every object that may hold one.
        by_kind: Extractors, which take the place of the standard ones for their kinds.

    Raises:
        EvaluationError: An image's reference cannot be read, or the object is not as a path says.
    """
    kind = resource.get("kind")
    extractors: Sequence[Extractor] = ()
    if isinstance(kind, str):
        own = by_kind.get(kind) if by_kind is not None else None
        extractors = _STANDARD.get(kind, ()) if own is None else own
    found: dict[str, dict[str, Found]] = {}
    for each in extractors:
        images = {}
        for holder, path in _holders(resource, each.path, (), budget):
            where = (*path, each.value)
            name, image = _name(each, holder, where), _image(each, holder, budget)
            if image is not None:
                images[name] = Found(_parsed(image, budget), where)
        if images:
            found[each.name] = images
    return found


def _extractor(entry: Any, path: str, problems: fields.Problems) -> Extractor | None:
    written = fields.Fields(entry, path, problems, _FIELDS)
    steps = tuple(step for part in written.text("path").split("/") if (step := part.strip(" ")))
    value, text = written.text("value"), written.text("jmesPath")
    if not steps:
        written.wrong("path", "a path to the images is required")
        return None
    if not value:
        *leading, value = steps
        steps = tuple(leading)
    try:
        expression = jmespath.compile(text) if text else None
    except jmespath.ExpressionInvalid as invalid:
        written.wrong("jmesPath", f"invalid jmespath {text}: {invalid}")
        return None
    return Extractor(written.text("name") or _UNNAMED, steps, written.text("key"), value, expression)


def _holders(
    held: values.JSON, steps: Sequence[str], path: tuple[str, ...], budget: budgets.Budget
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """The objects at the end of a path, each with the way to it."""
    budget.spend()
    if held is None:
        return
    if steps and steps[0] == _ANY and isinstance(held, list):
        for index, item in enumerate(held):
            if isinstance(item, dict):
                yield from _holders(item, steps[1:], (*path, str(index)), budget)
            elif isinstance(item, list):
                yield from _holders(item, steps, (*path, str(index)), budget)
    elif steps and steps[0] == _ANY and isinstance(held, dict):
        for key, item in held.items():
            if isinstance(item, dict | list):
                yield from _holders(item, steps[1:], (*path, key), budget)
    elif not isinstance(held, dict):
        raise errors.EvaluationError("invalid image config")
    elif steps:
        yield from _holders(held.get(steps[0]), steps[1:], (*path, steps[0]), budget)
    else:
        yield held, path


def _name(each: Extractor, holder: dict[str, Any], where: tuple[str, ...]) -> str:
    if not each.key:
        return f"/{'/'.join(where)}"
    name = holder.get(each.key)
    if not isinstance(name, str):
        raise errors.EvaluationError("invalid key")
    return name


def _image(each: Extractor, holder: dict[str, Any], budget: budgets.Budget) -> str | None:
    """The image that an object holds; None where there is none."""
    text = holder.get(each.value)
    if not isinstance(text, str) or not text.strip():
        return None
    if each.expression is None:
        return text
    expression = each.expression.text
    try:
        made = each.expression.search(text, budget)
    except errors.BudgetExhausted:
        raise
    except errors.EvaluationError as cause:
        raise errors.EvaluationError(f"failed to apply jmespath {expression}: {cause}") from cause
    if not isinstance(made, str):
        shown = values.to_text(made, budget)
        raise errors.EvaluationError(f"jmespath {expression} must produce a string, but produced {shown}")
    return made


def _parsed(image: str, budget: budgets.Budget) -> imageref.Image:
    try:
        return imageref.parse(image, budget.installation.images)
    except imageref.ReferenceInvalid as error:
        raise errors.EvaluationError(f"invalid image '{image}' ({error})") from error
