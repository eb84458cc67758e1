"""Chainsaw's cases as they lie on disk: tests, step templates and timeouts.

Reads `chainsaw-test.yaml` (`chainsaw.kyverno.io/v1alpha1`, `Test`) and the `.chainsaw.yaml` above it, of which only the
timeouts count. Step templates that a folder does not bring are looked up by name among our own, so that a folder can
be run without the tree it was taken from.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conformance import expressions
from kymograph.apimachinery import duration, yamls

MANIFEST = "chainsaw-test.yaml"
TEMPLATES = pathlib.Path(__file__).with_name("templates")

_DEFAULTS = {"apply": 5.0, "assert": 30.0, "cleanup": 30.0, "delete": 15.0, "error": 30.0, "exec": 5.0}

Operation = dict[str, Any]


class CaseInvalid(Exception):
    """A case cannot be read: no YAML, or a template that is not there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A step, with its template's operations in place.

    Attributes:
        name: As written, or its number.
        bindings: Name and value (a template) of what it binds.
        operations: `try`, `catch`, `finally` and `cleanup`, each a list of operations as written.
        timeouts: Seconds by operation, where it has its own.
    """

    name: str
    bindings: Sequence[Mapping[str, Any]]
    operations: Mapping[str, Sequence[Operation]]
    timeouts: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A test.

    Attributes:
        path: Its folder relative to where the search began: `validate/e2e/apply-on-deletion`.
        folder: Where its files lie.
        name: `metadata.name`.
        document: The whole of it.
        steps: In order.
        timeouts: Seconds by operation.
    """

    path: str
    folder: pathlib.Path
    name: str
    document: dict[str, Any]
    steps: Sequence[Step]
    timeouts: Mapping[str, float]

    @property
    def namespace(self) -> str | None:
        """The namespace that it asks for; None for one of its own."""
        found: str | None = self.document["spec"].get("namespace")
        return found

    @property
    def skipped(self) -> bool:
        """Whether it says that it is not to be run."""
        return bool(self.document["spec"].get("skip"))


def find(root: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    """The manifests in a folder below a root, by path; what begins with a dot or an underscore is not looked into."""
    found = (path for path in folder.rglob(MANIFEST) if not _hidden(path.relative_to(root)))
    return sorted(found)


def read(manifest: pathlib.Path, root: pathlib.Path) -> Case:
    """Read a case.

    Raises:
        CaseInvalid: See there.
    """
    folder = manifest.parent
    documents = list(load(manifest))
    if len(documents) != 1 or documents[0].get("kind") != "Test":
        raise CaseInvalid(f"{manifest}: not one document of kind Test")
    spec = documents[0].get("spec", {})
    timeouts = {**_configured(folder, root), **_seconds(spec.get("timeouts"))}
    steps = [_step(number, written, folder) for number, written in enumerate(spec.get("steps", ()), 1)]
    name = documents[0].get("metadata", {}).get("name", folder.name)
    return Case(str(folder.relative_to(root)), folder, name, documents[0], steps, timeouts)


def load(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The documents of a YAML file, empty ones left out; whatever has a list of `items` is taken apart.

    Raises:
        CaseInvalid: No YAML, or no file.
    """
    try:
        found = yamls.load_all(path.read_bytes(), str(path))
    except (OSError, yamls.YAMLInvalid) as error:
        raise CaseInvalid(f"{path}: {error}") from error
    for each in found:
        listed = each.value.get("items") if isinstance(each.value, dict) else None
        yield from listed if isinstance(listed, list) else [each.value]


def _step(number: int, written: Mapping[str, Any], folder: pathlib.Path) -> Step:
    name = written.get("name") or f"step {number}"
    bindings = list(written.get("bindings") or ())
    parts = {part: list(written.get(part) or ()) for part in ("try", "catch", "finally", "cleanup")}
    if "use" in written:
        template = _template(written["use"]["template"], folder)
        for part, operations in parts.items():
            operations[:0] = template.get(part) or ()
        bindings = [*(template.get("bindings") or ()), *written["use"].get("with", {}).get("bindings", ()), *bindings]
    return Step(name, bindings, parts, _seconds(written.get("timeouts")))


def _template(named: str, folder: pathlib.Path) -> Mapping[str, Any]:
    beside = folder / named
    path = beside if beside.exists() else TEMPLATES / beside.name
    if not path.exists():
        raise CaseInvalid(f"{folder}: no step template {named}")
    found: Mapping[str, Any] = next(load(path))["spec"]
    return found


def _seconds(written: Mapping[str, str] | None) -> dict[str, float]:
    return {name: duration.parse(text) / 1e9 for name, text in (written or {}).items()}


@functools.cache
def _configured(folder: pathlib.Path, root: pathlib.Path) -> dict[str, float]:
    """The timeouts of the nearest `.chainsaw.yaml` above a folder, down to the root of the search."""
    configuration = folder / ".chainsaw.yaml"
    if configuration.exists():
        return {**_DEFAULTS, **_seconds(next(load(configuration)).get("spec", {}).get("timeouts"))}
    return dict(_DEFAULTS) if folder in (root, folder.parent) else _configured(folder.parent, root)


def _hidden(path: pathlib.Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def bound(bindings: Sequence[Mapping[str, Any]], known: expressions.Bindings) -> dict[str, Any]:
    """What is bound after bindings were made in order, each seeing the ones before.

    Raises:
        ExpressionFailed: One cannot be evaluated.
    """
    found = dict(known)
    for each in bindings:
        found[expressions.filled(each["name"], found)] = expressions.filled(each.get("value"), found)
    return found
