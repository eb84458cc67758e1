"""What a policy made of an object, compared with the object that a file holds.

As in Kyverno, empty maps, empty lists and nulls count as absent, and so do the labels that say what generated an
object. Numbers are compared as JSON knows them: `1` is `1.0`.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import yaml

from kymograph.cli.offline import resources

_GENERATED = "generate.kyverno.io/"
_MANAGED = {"app.kubernetes.io/managed-by": "kyverno"}


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # the C one is missing where PyYAML has no libyaml
    """Writes objects for a diff: shared parts in full."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 # the library's signature
        return True


def find(objects: Iterable[dict[str, Any]], actual: Mapping[str, Any]) -> dict[str, Any] | None:
    """The object with the key of another one, or None.

    Args:
        objects: What a file holds, prepared.
        actual: The object to look for.
    """
    key = resources.key_of(actual)
    return next((each for each in objects if resources.key_of(each) == key), None)


def difference(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """How an object differs from the expected one, as a diff of YAML; empty if it does not.

    Args:
        actual: What came out.
        expected: What the file holds.
    """
    wanted, got = _tidy(_labelled(expected)), _tidy(_labelled(actual))
    if wanted == got and orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        got, option=orjson.OPT_SORT_KEYS
    ):  # Python takes true for 1, JSON does not
        return ""
    before, after = (yaml.dump(each, Dumper=_Plain, sort_keys=True).splitlines() for each in (wanted, got))
    return "\n".join(difflib.unified_diff(before, after, "expected", "actual", lineterm=""))


def _labelled(document: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the labels by which Kyverno finds what it generated made equal."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    labels = metadata.get("labels")
    kept = {key: value for key, value in (labels or {}).items() if not key.startswith(_GENERATED)}
    return {**document, "metadata": {**metadata, "labels": {**_MANAGED, **kept}}}


def _tidy(value: Any) -> Any:
    """A document without what is empty; None if nothing is left."""
    if isinstance(value, Mapping):
        kept = {key: tidy for key, entry in value.items() if (tidy := _tidy(entry)) is not None}
        return kept or None
    if isinstance(value, list):
        return [tidy for entry in value if (tidy := _tidy(entry)) is not None] or None
    return int(value) if isinstance(value, float) and value.is_integer() else value
