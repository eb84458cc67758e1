"""The `context` of a rule or of an element of a loop, compiled entry by entry."""

from collections.abc import Sequence
from typing import Any

from kymograph.engine import errors, fields
from kymograph.engine.context import apicall, configmap, globalreference, imageregistry, variable
from kymograph.engine.context.entry import Entry

__all__ = ["Entry", "compile"]

_KINDS = {
    "variable": variable.read,
    "configMap": configmap.read,
    "apiCall": apicall.read,
    "imageRegistry": imageregistry.read,
    "globalReference": globalreference.read,
}
_PREDEFINED = ("images", "request", "serviceAccountName", "serviceAccountNamespace", "element", "elementIndex")


def compile(  # noqa: A001 - the field's word
    items: Sequence[tuple[Any, str]], problems: fields.Problems, *, namespace: str
) -> tuple[Entry, ...]:
    """Compile entries.

    Args:
        items: The entries as written, each with its path in the policy.
        problems: Where to note what is wrong.
        namespace: Namespace of the policy, beyond which its entries may not look; empty for a policy of the cluster.
    """
    found = []
    for document, path in items:
        entry = fields.Fields(document, path, problems, ("name", *_KINDS))
        name = entry.text("name")
        if not name:
            entry.wrong("name", "a name is required for context entries")
        for taken in _PREDEFINED:
            if name == taken or name.startswith(f"{taken}."):
                entry.wrong("name", f"entry name {name} is invalid as it conflicts with a pre-defined variable {taken}")
        kinds = [kind for kind in _KINDS if kind in entry]
        if len(kinds) != 1:
            problems.add(
                path, "exactly one of configMap or apiCall or imageRegistry or variable is required for context entries"
            )
            continue
        try:
            read = _KINDS[kinds[0]](entry, name, namespace)
        except errors.PolicyInvalid as invalid:
            problems.absorb(invalid)
            continue
        if read is not None:
            found.append(read)
    return tuple(found)
