"""`images`: the images of a Pod, or of what makes Pods, taken apart when an expression first names them."""

from collections.abc import Iterator
from typing import Any

from kymograph.apimachinery import imageref
from kymograph.engine import budget as budgets
from kymograph.engine import errors, values
from kymograph.engine.context.entry import Entry

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


def extracted(resource: dict[str, Any], budget: budgets.Budget) -> dict[str, dict[str, dict[str, Any]]]:
    """The images of an object: `{containers: {<container>: {registry, name, path, tag, digest, ...}}, ...}`.

    Args:
        resource: The object; one that holds no Pod has no images.
        budget: Pays for every container.

    Raises:
        EvaluationError: An image's reference cannot be read, or a container has no name.
    """
    kind_of = resource.get("kind")
    place = _POD_SPECS.get(kind_of) if isinstance(kind_of, str) else None
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in _LISTS if place is not None else ():
        images = {}
        for container, pointer in _containers(resource, (*(place or ()), kind)):
            budget.spend()
            name, image = container.get("name"), container.get("image")
            if not isinstance(name, str):
                raise errors.EvaluationError("invalid key")
            if isinstance(image, str) and image.strip():
                images[name] = _described(image, f"{pointer}/image")
        if images:
            found[kind] = images
    return found


def _containers(resource: values.JSON, place: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], str]]:
    held = resource
    for step in place:
        if held is None:
            return
        if not isinstance(held, dict):
            raise errors.EvaluationError("invalid image config")
        held = held.get(step)
    for index, container in enumerate(held if isinstance(held, list) else ()):
        if isinstance(container, dict):
            yield container, f"/{'/'.join(place)}/{index}"


def _described(image: str, pointer: str) -> dict[str, Any]:
    try:
        parsed = imageref.parse(image)
    except imageref.ReferenceInvalid as error:
        raise errors.EvaluationError(f"invalid image '{image}' ({error})") from error
    described = {
        "registry": parsed.registry,
        "name": parsed.name,
        "path": parsed.path,
        "tag": parsed.tag,
        "digest": parsed.digest,
        "reference": parsed.reference,
        "referenceWithTag": parsed.reference_with_tag,
    }
    always = ("name", "path")
    return {key: value for key, value in described.items() if value or key in always} | {"jsonPointer": pointer}


def _load(context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
    request = context.get("request")
    return _loaded(request.get("object") if isinstance(request, dict) else None, budget)


def _load_of_target(context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
    return _loaded(context.get("target"), budget)


def _loaded(resource: values.JSON, budget: budgets.Budget) -> values.JSON:
    found = extracted(resource, budget) if isinstance(resource, dict) else {}
    if not found:
        raise KeyError("images")
    return found


IMAGES = Entry("images", _load, asks=None, merges=False, counts=False, expressions=())
"""What a rule that names `images` has before its own entries."""

OF_TARGET = Entry("images", _load_of_target, asks=None, merges=False, counts=False, expressions=())
"""The same where the object that is looked at is `target`."""
