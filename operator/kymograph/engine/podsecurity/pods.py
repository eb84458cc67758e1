"""What the checks see of a Pod: its spec, annotations and containers, wherever the object keeps them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kymograph.engine import errors
from kymograph.engine.podsecurity import shape

CONTROLLERS = ("DaemonSet", "Deployment", "Job", "StatefulSet", "ReplicaSet", "ReplicationController")
"""Kinds with a Pod template at `spec.template`."""

CRON_JOB = "CronJob"
LISTS = ("initContainers", "containers", "ephemeralContainers")
"""The lists of containers, in the order of the checks."""

_NOTHING: Mapping[str, Any] = {}


class Container(NamedTuple):
    """One container and where it stands.

    Attributes:
        holder: The list it stands in, one of `LISTS`.
        position: Its index in that list.
        fields: The container.
        security: Its `securityContext`; None where it has none.
    """

    holder: str
    position: int
    fields: Mapping[str, Any]
    security: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Name of the container; empty where it has none."""
        return text(self.fields.get("name"), "name")

    @property
    def path(self) -> str:
        """Its path in a Pod: `spec.containers[0]`."""
        return f"spec.{self.holder}[{self.position}]"


class Pod:
    """A Pod, or what would become of a Pod template.

    Attributes:
        spec: The spec.
        security: The `securityContext` of the Pod; empty where it has none.
        annotations: The annotations; of a CronJob those of the Job, as in Kyverno.
        containers: Init containers, containers and ephemeral containers.
        volumes: The volumes.

    Raises:
        EvaluationError: The spec is not a Pod's.
    """

    __slots__ = ("annotations", "containers", "security", "spec", "volumes")

    def __init__(
        self, spec: Mapping[str, Any], annotations: Mapping[str, Any], containers: list[Container] | None = None
    ) -> None:
        self.spec = spec
        self.annotations = annotations
        self.security: Mapping[str, Any] = table(spec.get("securityContext"), "securityContext") or _NOTHING
        self.containers = _containers(spec) if containers is None else containers
        self.volumes: list[Mapping[str, Any]] = [
            table(volume, "volumes") or _NOTHING for volume in items(spec.get("volumes"), "volumes")
        ]

    @property
    def windows(self) -> bool:
        """The Pod says that it is for Windows nodes."""
        system = table(self.spec.get("os"), "os")
        return system is not None and system.get("name") == "windows"


def of(resource: Mapping[str, Any]) -> Pod:
    """The Pod of an object.

    Args:
        resource: A Pod, a controller or a CronJob; it is not changed.

    Raises:
        EvaluationError: The object is of another kind, or a field of its Pod has a type that Pods do not have there.
    """
    kind = resource.get("kind")
    if kind == "Pod":
        holder, metadata = resource, resource.get("metadata")
    elif kind in CONTROLLERS:
        holder = _at(resource, "spec", "template")
        metadata = holder.get("metadata")
    elif kind == CRON_JOB:
        job = _at(resource, "spec", "jobTemplate")
        holder = _at(job, "spec", "template")
        metadata = job.get("metadata")
    else:
        raise errors.EvaluationError("could not find correct resource type")
    spec = table(holder.get("spec"), "spec") or _NOTHING
    shape.demand(metadata, shape.METADATA, "metadata")
    shape.demand(spec, shape.SPEC, "spec")
    annotations = (table(metadata, "metadata") or _NOTHING).get("annotations")
    return Pod(spec, table(annotations, "annotations") or _NOTHING)


def table(value: Any, field: str) -> Mapping[str, Any] | None:
    """A value that must be an object or absent.

    Raises:
        EvaluationError: It is something else.
    """
    if value is None or isinstance(value, dict):
        return value
    raise errors.EvaluationError(f"{field} must be an object")


def items(value: Any, field: str) -> list[Any]:
    """A value that must be a list or absent; empty where it is absent.

    Raises:
        EvaluationError: It is something else.
    """
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise errors.EvaluationError(f"{field} must be a list")


def text(value: Any, field: str) -> str:
    """A value that must be a string or absent; empty where it is absent.

    Raises:
        EvaluationError: It is something else.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise errors.EvaluationError(f"{field} must be a string")


def boolean(value: Any, field: str) -> bool | None:
    """A value that must be true, false or absent.

    Raises:
        EvaluationError: It is something else.
    """
    if value is None or isinstance(value, bool):
        return value
    raise errors.EvaluationError(f"{field} must be true or false")


def integer(value: Any, field: str) -> int | None:
    """A value that must be a whole number or absent.

    Raises:
        EvaluationError: It is something else.
    """
    if value is None or type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise errors.EvaluationError(f"{field} must be a whole number")


def _containers(spec: Mapping[str, Any]) -> list[Container]:
    found = []
    for name in LISTS:
        entries = spec.get(name)
        if not entries:
            continue
        for index, entry in enumerate(items(entries, name)):
            fields = table(entry, name) or _NOTHING
            found.append(Container(name, index, fields, table(fields.get("securityContext"), "securityContext")))
    return found


def _at(resource: Mapping[str, Any], *steps: str) -> Mapping[str, Any]:
    found = resource
    for step in steps:
        found = table(found.get(step), step) or _NOTHING
    return found
