"""What is wrong with a policy beyond what compiling its parts finds: what contradicts, misleads, or cannot be.

A check says everything it finds, each with the path of its field, in Kyverno's words where Kyverno has any, because
users search for them. Nothing here evaluates, compiles for later, or asks a cluster; what a cluster knows of a kind
comes in as a `Scope`. Fields that no version of Kyverno has are the business of `engine.fields`.
"""

import re
from collections.abc import Mapping
from typing import Any

from kymograph.engine import errors, fields
from kymograph.engine.validation import (
    advice,
    generation,
    images,
    kinds,
    matching,
    mutation,
    names,
    overrides,
    scopes,
    structure,
    subject,
)

__all__ = ["check", "deprecated_fields", "problems", "warnings"]

_INDEX = re.compile(r"\[\d+\]")


def check(document: Mapping[str, Any], found: fields.Problems, scope: scopes.Scope = scopes.builtin) -> None:
    """Note what is wrong with a policy wherever it is applied.

    Args:
        document: The policy as applied; any JSON object.
        found: Where to note it.
        scope: Whether kinds are namespaced, as far as that is known.
    """
    policy = subject.of(document)
    structure.check(policy, found)
    matching.check(policy, found)
    kinds.check(policy, found, scope)
    names.check(policy, found)
    mutation.check(policy, found)
    generation.check(policy, found, scope)
    images.check(policy, found)
    overrides.check(policy, found)


def problems(document: Mapping[str, Any], scope: scopes.Scope = scopes.builtin) -> tuple[errors.Problem, ...]:
    """What is wrong with a policy that a cluster is to enforce: what `check` notes, and what scans cannot do.

    Args:
        document: The policy as applied; any JSON object.
        scope: Whether kinds are namespaced, as far as that is known.
    """
    found = fields.Problems()
    check(document, found, scope)
    kinds.check_scanned(subject.of(document), found)
    return tuple(found)


def warnings(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What the author of a policy should know of it, each once."""
    return tuple(dict.fromkeys(advice.warnings(subject.of(document))))


def deprecated_fields(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a policy that Kyverno counts as deprecated (`pkg/deprecations`), one path for each place.

    Args:
        document: The policy as applied; any JSON object.

    Returns:
        Paths without indices: `spec.rules[].validate.failureAction`.
    """
    return tuple(_INDEX.sub("[]", path) for path in advice.lower_case_actions(subject.of(document)))
