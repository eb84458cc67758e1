"""Values that whoever asks for an evaluation sets by name, as the values files of `kymograph test` do."""

import csv
from collections.abc import Mapping
from typing import Any


def laid_over(context: dict[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Lay values over a context by their dotted names.

    As in Kyverno's command line a map is merged into the map that is there and anything else replaces what is there.
    A part of a name that has dots itself stands in quotes: `request.object.metadata.labels."app.kubernetes.io/name"`.

    Args:
        context: The context; neither it nor anything in it is changed.
        named: Values by name: `foo`, `foo.bar`, `request.object.metadata.name`.
    """
    result = dict(context)
    for name, value in named.items():
        steps = next(csv.reader([name], delimiter="."), [name])
        _put(result, steps, value)
    return result


def _put(owned: dict[str, Any], steps: list[str], value: Any) -> None:
    """Put a value into a map that may be changed, copying the maps on the way to it."""
    first, *rest = steps
    held = owned.get(first)
    if rest:
        inner = dict(held) if isinstance(held, Mapping) else {}
        _put(inner, rest, value)
        owned[first] = inner
    elif isinstance(value, Mapping) and isinstance(held, Mapping):
        inner = dict(held)
        for key, item in value.items():
            _put(inner, [key], item)
        owned[first] = inner
    else:
        owned[first] = value
