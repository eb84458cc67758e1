"""Where an operation runs and what it is run with; what every kind of operation shares."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from conformance import api, expressions
from kymograph.apimachinery import duration


class OperationFailed(Exception):
    """An operation did not do what the case says; the text is why."""


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Where a case runs.

    Attributes:
        objects: The API server.
        folder: The case's files, a copy that its scripts may write to.
        namespace: The case's own.
        environ: What scripts find in their environment.
        limit: Seconds that no assertion waits longer than.
        created: What is to be deleted after the case, in the order of creation.
    """

    objects: api.Objects
    folder: pathlib.Path
    namespace: str
    environ: Mapping[str, str]
    limit: float
    created: list[api.Object]


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """What an operation is run with.

    Attributes:
        world: Where.
        bindings: What `$name` is.
        timeouts: Seconds by operation.
    """

    world: World
    bindings: expressions.Bindings
    timeouts: Mapping[str, float]


def timeout(given: Mapping[str, Any], scope: Scope, operation: str) -> float:
    """Seconds that an operation may take: its own, else those of its kind."""
    return duration.parse(given["timeout"]) / 1e9 if "timeout" in given else scope.timeouts[operation]
