"""Cases about what this version does not build: policies in CEL.

They are left out of the table rather than counted as failures: the kinds of `policies.kyverno.io`, rules with
`validate.cel` or `celPreconditions`, and Kubernetes' own ValidatingAdmissionPolicy and MutatingAdmissionPolicy, which
Kyverno writes and reports on. A case is known by its files: one of them names such a thing.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from conformance import cases

_MARKS = ("policies.kyverno.io/", "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy")


def reason(folder: pathlib.Path) -> str:
    """Why the case in a folder is left out; empty where it is not."""
    for path in sorted(folder.rglob("*.y*ml")):
        try:
            found = next((each for document in cases.load(path) for each in _named(document)), "")
        except cases.CaseInvalid:
            continue  # whoever runs the case says so
        if found:
            return f"CEL: {path.name} has {found}"
    return ""


def _named(value: Any) -> Iterator[str]:
    """What of CEL a document names: an object's apiVersion or kind, or what makes a rule one in CEL."""
    if isinstance(value, dict):
        for key in ("apiVersion", "kind"):
            if str(value.get(key)).startswith(_MARKS):
                yield str(value[key])
        if "celPreconditions" in value:
            yield "celPreconditions"
        if isinstance(value.get("validate"), dict) and "cel" in value["validate"]:
            yield "validate.cel"
        for below in value.values():
            yield from _named(below)
    elif isinstance(value, list):
        for each in value:
            yield from _named(each)
