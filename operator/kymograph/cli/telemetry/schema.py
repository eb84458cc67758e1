"""A resource from a file, checked as the API server would check it on its way into the cluster: by the CRD's schema.

The rules in CEL are left to whoever reads the resource, which finds the same mistakes and says it better.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "object": (dict, "an object"),
    "array": (list, "a list"),
    "string": (str, "a string"),
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "number": ((int, float), "a number"),
}


def problems(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a value: (field, reason).

    Args:
        value: The value.
        schema: Its OpenAPI schema.
        path: Where it stands, `spec.traces`.
    """
    named = schema.get("type")
    if named is not None:
        types, called = _TYPES[named]
        if not isinstance(value, types) or (isinstance(value, bool) and named != "boolean"):
            yield path, f"must be {called}"
            return
    if "enum" in schema and value not in schema["enum"]:
        yield path, f"must be one of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, dict):
        yield from _of_object(value, schema, path)
    elif isinstance(value, list):
        yield from _sized(len(value), schema, path, "Items", "entries")
        for index, item in enumerate(value):
            yield from problems(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, str):
        yield from _sized(len(value), schema, path, "Length", "characters")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield path, f"{value!r} must match {schema['pattern']}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            yield path, f"must be at least {schema['minimum']}"
        if value > schema.get("maximum", value):
            yield path, f"must be at most {schema['maximum']}"


def _of_object(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    known: Mapping[str, Any] = schema.get("properties", {})
    yield from _sized(len(value), schema, path, "Properties", "fields")
    for name in schema.get("required", ()):
        if value.get(name) is None:
            yield f"{path}.{name}", "is required"
    for name, field in value.items():
        wanted = known.get(name, schema.get("additionalProperties"))
        if wanted is None and not schema.get("x-kubernetes-preserve-unknown-fields"):
            near = difflib.get_close_matches(str(name), known, n=1)
            yield f"{path}.{name}", f"unknown field{f'; did you mean {near[0]!r}?' if near else ''}"
        elif isinstance(wanted, Mapping) and field is not None:
            yield from problems(field, wanted, f"{path}.{name}")


def _sized(size: int, schema: Mapping[str, Any], path: str, what: str, called: str) -> Iterator[tuple[str, str]]:
    least, most = schema.get(f"min{what}", size), schema.get(f"max{what}", size)
    if size < least:
        yield path, f"must have at least {least} {called}"
    if size > most:
        yield path, f"must have at most {most} {called}"
