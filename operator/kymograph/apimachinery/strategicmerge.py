"""Strategic merge patches as kustomize's kyaml applies them, which is what Kyverno's `patchStrategicMerge` does.

Maps are merged, null removes, scalars and most lists replace; lists with merge keys in Kubernetes' own kinds
(`mergekeys`) are merged element by element, in kyaml's order. `$patch: delete | replace | merge` is obeyed in maps and
lists. Other directives of Kubernetes' strategic merge (`$setElementOrder`, `$retainKeys`, `$deleteFromPrimitiveList`)
are plain fields, as in kyaml, and lists of kinds that are not Kubernetes' own are replaced.

Nothing given is changed, and what a patch does not mention is shared with the object. In that this differs from kyaml,
which rewrites lists that a patch does not mention, too: of two environment variables with one name it drops the first.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from kymograph.apimachinery import jsonpatch, mergekeys, mergelists
from kymograph.apimachinery.mergelists import NOTHING, MergeFailed

__all__ = ["MergeFailed", "merge"]

JSON: TypeAlias = Any

_CONTAINERS = (dict, list)
_DIRECTIVE = "$patch"
_DIRECTIVES = ("delete", "replace", "merge")
_RETIRED = {
    ("batch/v1beta1", "CronJob"): "batch/v1",
    ("policy/v1beta1", "PodDisruptionBudget"): "policy/v1",
    ("extensions/v1beta1", "Ingress"): "networking.k8s.io/v1",
    ("networking.k8s.io/v1beta1", "Ingress"): "networking.k8s.io/v1",
    ("autoscaling/v2beta1", "HorizontalPodAutoscaler"): "autoscaling/v2",
    ("autoscaling/v2beta2", "HorizontalPodAutoscaler"): "autoscaling/v2",
}
"""Versions that API servers no longer serve and files still hold, with the one of the same shape."""


class _Field(NamedTuple):
    """How a field is merged.

    Attributes:
        fields: The type of a map, or of the elements of a list: its fields.
        keys: The merge keys of a list that is merged; None for a map.
    """

    fields: Mapping[str, "_Field"]
    keys: tuple[str, ...] | None = None


_UNKNOWN = _Field({})


def merge(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a patch to an object.

    Args:
        base: The object; its `apiVersion` and `kind` (or else the patch's) say which lists are merged.
        patch: The patch.

    Returns:
        The new object; the very same one if the patch changes nothing.

    Raises:
        MergeFailed: The patch does not fit, or removes the object as a whole.
    """
    try:
        merged = _merge(base, patch, _UNKNOWN)
    except RecursionError:
        raise MergeFailed("the object or the patch is nested too deeply") from None
    if merged is NOTHING:
        raise MergeFailed("filter cannot create or delete objects")
    result: dict[str, Any] = merged
    return result


def _merge(old: JSON, patch: JSON, field: _Field) -> JSON:
    """A patch, which there is, merged into a value, which need not be there."""
    if patch is None:
        return NOTHING
    if old is NOTHING or old is None:
        return _added(patch, field)
    if isinstance(old, dict):
        if not isinstance(patch, dict):
            raise mergelists.wrong_kind(old, patch)
        return _merge_maps(old, patch, field)
    if isinstance(old, list):
        if not isinstance(patch, list):
            raise mergelists.wrong_kind(old, patch)
        return _merge_lists(old, patch, field)
    if isinstance(patch, _CONTAINERS):
        raise mergelists.wrong_kind(old, patch)
    if isinstance(old, str) and not isinstance(patch, str):
        patch = mergelists.text(patch)  # kyaml keeps the quotes of what was there
    return old if jsonpatch.same(old, patch) else patch


def _merge_maps(old: dict[str, Any], patch: dict[str, Any], field: _Field) -> JSON:
    if _DIRECTIVE in patch:
        directive, patch = _directed(patch)
        if directive == "delete":
            return NOTHING
        if directive == "replace":
            return _added(patch, field)
    fields = field.fields or _fields_of(old) or _fields_of(patch)
    result = old
    for key, value in patch.items():
        before = old.get(key, NOTHING)
        after = _merge(before, value, fields.get(key, _UNKNOWN))
        if after is before:
            continue
        if result is old:
            result = old.copy()
        if after is NOTHING:
            del result[key]
        else:
            result[key] = after
    return result


def _merge_lists(old: list[Any], patch: list[Any], field: _Field) -> JSON:
    if field.keys is None:
        return old if jsonpatch.same(old, patch) else patch
    directive, patch = _list_directed(patch)
    if directive == "delete":
        return NOTHING
    if directive == "replace":
        old = patch
    return _associated(old, patch, field)


def _associated(old: list[Any], patch: list[Any], field: _Field) -> list[Any]:
    element = _Field(field.fields)
    return mergelists.merge(old, patch, field.keys or (), lambda before, item: _merge(before, item, element))


def _added(patch: JSON, field: _Field) -> JSON:
    """What a patch puts where nothing is: itself, without nulls and directives, except in lists that are replaced."""
    if isinstance(patch, dict):
        directive, patch = _directed(patch)
        if directive == "delete":
            return NOTHING
        fields = field.fields or _fields_of(patch)
        found = {
            key: NOTHING if value is None else _added(value, fields.get(key, _UNKNOWN)) for key, value in patch.items()
        }
        if all(found[key] is value for key, value in patch.items()):
            return patch
        return {key: value for key, value in found.items() if value is not NOTHING}
    if isinstance(patch, list) and field.keys is not None:
        directive, patch = _list_directed(patch)
        return NOTHING if directive == "delete" else _associated(patch, patch, field)
    return patch


def _directed(patch: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The directive of a map, `merge` if it has none, and the map without it."""
    if _DIRECTIVE not in patch:
        return "merge", patch
    return _known(patch[_DIRECTIVE]), {key: value for key, value in patch.items() if key != _DIRECTIVE}


def _list_directed(patch: list[Any]) -> tuple[str, list[Any]]:
    """The directive of a list, an element of its own, and the list without it."""
    for item in patch:
        if isinstance(item, dict) and _DIRECTIVE in item:
            if len(item) > 1:  # the element's own
                break
            directive = item[_DIRECTIVE]
            return _known(directive), [
                each for each in patch if not isinstance(each, dict) or (each and each.get(_DIRECTIVE) != directive)
            ]
    return "merge", patch


def _known(directive: JSON) -> str:
    if directive not in _DIRECTIVES:
        raise MergeFailed(f"unknown patch strategy '{mergelists.text(directive)}'")
    return str(directive)


def _fields_of(value: Mapping[str, Any]) -> Mapping[str, _Field]:
    """The fields of the kind that a map says it is."""
    version, kind = value.get("apiVersion"), value.get("kind")
    if isinstance(version, str) and isinstance(kind, str):
        return _fields_of_kind(version, kind)
    return _UNKNOWN.fields


@functools.lru_cache(maxsize=512)
def _fields_of_kind(version: str, kind: str) -> Mapping[str, _Field]:
    for each in mergekeys.KINDS.get(_RETIRED.get((version, kind), version), "").split():
        name, _, type_name = each.partition("=")
        if name == kind:
            return _fields_of_type(type_name or kind)
    return _UNKNOWN.fields


@functools.cache
def _fields_of_type(name: str) -> Mapping[str, _Field]:
    return {field: _read(text) for field, text in mergekeys.TYPES.get(name, {}).items()}


def _read(notation: str) -> _Field:
    if notation == "[=]":
        return _Field({}, ())
    if notation.startswith("["):
        element, *keys = notation[1:-1].split()
        return _Field(_fields_of_type(element), tuple(keys))
    return _Field(_fields_of_type(notation))
