"""Objects that should exist, as a rule describes them. Whether they do, and who is to write them, is not known here."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """One object by its name.

    Attributes:
        api_version: `v1`, `apps/v1`.
        kind: Its kind.
        namespace: Its namespace; empty for cluster-scoped objects.
        name: Its name.
    """

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.api_version}/{self.kind}/{self.namespace}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """An object that should exist.

    Attributes:
        target: Which object.
        manifest: All of it, with the labels that say why it exists; not to be changed.
        source: What it is a clone of; None for one that the rule itself describes.
    """

    target: Reference
    manifest: dict[str, Any]
    source: Reference | None = None


def described(target: Reference, data: Mapping[str, Any], labels: Mapping[str, str]) -> Wanted:
    """An object whose content the rule holds.

    Args:
        target: Which object; its name and namespace replace those of the data.
        data: The content.
        labels: What is added to its labels.
    """
    return Wanted(target, _manifest(target, data, labels))


def cloned(target: Reference, source: Mapping[str, Any], labels: Mapping[str, str]) -> Wanted:
    """An object with the content of another, without what only that other can have.

    Args:
        target: Which object.
        source: The other, as the API server gives it.
        labels: What is added to its labels.
    """
    metadata = {field: value for field, value in _table(source.get("metadata")).items() if field not in _OWN}
    namespace = metadata.get("namespace") or ""
    if namespace != target.namespace:
        metadata.pop("ownerReferences", None)
    original = Reference(
        source.get("apiVersion") or target.api_version,
        source.get("kind") or target.kind,
        namespace,
        metadata.get("name") or "",
    )
    return Wanted(target, _manifest(target, {**source, "metadata": metadata}, labels), original)


_OWN = frozenset({"uid", "selfLink", "creationTimestamp", "managedFields", "resourceVersion"})
"""What an API server gives to each object anew."""


def _manifest(target: Reference, content: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    held = _table(content.get("metadata"))
    metadata = {
        **{field: value for field, value in held.items() if field not in ("name", "namespace")},
        **{field: value for field, value in (("name", target.name), ("namespace", target.namespace)) if value},
    }
    written = _table(metadata.get("labels"))
    if not all(isinstance(value, str) for value in written.values()):
        written = {}  # as in Kyverno, which reads labels that are not all text as none
    metadata["labels"] = {**written, **labels}
    return {
        **content,
        "apiVersion": target.api_version,
        "kind": content.get("kind") or target.kind,
        "metadata": metadata,
    }


def _table(value: Any) -> Mapping[str, Any]:
    """A value that should be an object; empty if it is none."""
    return value if isinstance(value, Mapping) else {}
