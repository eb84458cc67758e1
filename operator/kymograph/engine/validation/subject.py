"""A policy as the checks of this room see it: any JSON a user may have sent, read without trusting its shape.

Wrong types are the business of what compiles the field; here they read as absent, so that each check can say what it
is there for, whatever else is wrong.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """One rule as written.

    Attributes:
        document: The rule.
        path: `spec.rules[0]`.
        name: Its name; empty where it has none.
    """

    document: Mapping[str, Any]
    path: str
    name: str

    def has(self, operation: str) -> bool:
        """Whether the rule says anything under `mutate`, `validate`, `generate` or `verifyImages`."""
        return bool(self.document.get(operation))

    def table(self, field: str) -> Mapping[str, Any]:
        """One of its objects; empty where it is absent."""
        return table(self.document.get(field))

    @property
    def targets(self) -> list[Any] | None:
        """The existing objects that a mutate rule changes; None where it changes the object of the request."""
        found = self.table("mutate").get("targets")
        return found if isinstance(found, list) else None

    def descriptions(self, *blocks: str) -> Iterator[tuple[Mapping[str, Any], str]]:
        """The `resources` of its blocks (`match`, `exclude`) with their paths."""
        for block in blocks:
            yield from descriptions(self.document.get(block), f"{self.path}.{block}")

    def kinds(self, *blocks: str) -> list[str]:
        """The kinds its blocks name, as they are written."""
        return [kind for resources, _ in self.descriptions(*blocks) for kind in texts(resources.get("kinds"))]


class Policy(NamedTuple):
    """A policy as written.

    Attributes:
        document: The policy.
        spec: Its spec.
        annotations: Its annotations.
        namespaced: It is a Policy.
        namespace: The namespace of a Policy.
        admission: It judges requests.
        background: It is also for existing objects, where there is no user.
        rules: Its rules, as far as they are objects.
    """

    document: Mapping[str, Any]
    spec: Mapping[str, Any]
    annotations: Mapping[str, Any]
    namespaced: bool
    namespace: str
    admission: bool
    background: bool
    rules: tuple[Rule, ...]


def of(document: Mapping[str, Any]) -> Policy:
    """Read a policy."""
    spec, metadata = table(document.get("spec")), table(document.get("metadata"))
    namespaced = document.get("kind") == "Policy"
    return Policy(
        document=document,
        spec=spec,
        annotations=table(metadata.get("annotations")),
        namespaced=namespaced,
        namespace=str(metadata.get("namespace") or "default") if namespaced else "",
        admission=spec.get("admission") is not False,
        background=spec.get("background") is not False,
        rules=tuple(
            Rule(entry, f"spec.rules[{index}]", text(entry.get("name")))
            for index, entry in enumerate(items(spec.get("rules")))
            if isinstance(entry, Mapping)
        ),
    )


def descriptions(block: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The `resources` of a `match` or `exclude` block in any of its forms, with their paths.

    Args:
        block: The block as written.
        path: Its path in the policy.
    """
    for holder, where in filters(block, path):
        resources = holder.get("resources")
        if isinstance(resources, Mapping):
            yield resources, f"{where}.resources"


def filters(block: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The filters of a block with their paths: the block itself, which is the oldest form of one, and its entries."""
    if not isinstance(block, Mapping):
        return
    yield block, path
    for form in ("any", "all"):
        for index, entry in enumerate(items(block.get(form))):
            if isinstance(entry, Mapping):
                yield entry, f"{path}.{form}[{index}]"


def table(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> list[str]:
    """The strings of the value if it is a list, else none."""
    return [each for each in items(value) if isinstance(each, str)]


def digest(value: Any) -> str:
    """The value as text that is equal for equal values; integers of any size, unlike the encoder of the hot path."""
    return json.dumps(value, sort_keys=True, default=str)


def templates(value: Any, path: str) -> list[tuple[str, str]]:
    """Every string of a document that has a variable in it, keys too, each with its path."""
    found: list[tuple[str, str]] = []
    _gather(value, path, found)
    return found


def _gather(value: Any, path: str, found: list[tuple[str, str]]) -> None:
    if isinstance(value, str):
        if "{{" in value:
            found.append((value, path))
    elif isinstance(value, dict):
        for key, entry in value.items():
            if "{{" in key:
                found.append((key, path))
            _gather(entry, f"{path}.{key}", found)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            _gather(entry, f"{path}[{index}]", found)
