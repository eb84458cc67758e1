"""What a check found: which fields break it, in the words in which Kyverno reports them."""

from typing import NamedTuple, TypeAlias

from kymograph.engine.podsecurity import pods

Bad: TypeAlias = str | bool | int | tuple[str, ...]
"""A forbidden value; empty text for one that has nothing to show."""


class FieldError(NamedTuple):
    """One field that breaks a check.

    Attributes:
        path: The field in a Pod: `spec.containers[0].securityContext.privileged`.
        required: The field is missing; otherwise it holds what is forbidden.
        value: What it holds.
        container: Name of the container; None for a field of the Pod.
    """

    path: str
    required: bool
    value: Bad
    container: str | None

    @property
    def values(self) -> tuple[str, ...]:
        """The forbidden values one by one, as text."""
        if isinstance(self.value, tuple):
            return self.value
        return (as_text(self.value),) if self.value != "" else ()


class Violation(NamedTuple):
    """A check that does not hold.

    Attributes:
        check: Its id, as in Pod Security Admission: `hostNamespaces`.
        reason: What is forbidden, in a few words.
        errors: The fields that break it; none where the check does not name them.
        named: Names of the containers whose images reports list; None where the check lists none.
    """

    check: str
    reason: str
    errors: tuple[FieldError, ...]
    named: tuple[str, ...] | None = None


def forbidden(container: pods.Container, field: str, value: Bad) -> FieldError:
    """A field of a container that holds what is forbidden; `field` is its path in the container."""
    return FieldError(f"{container.path}.{field}", required=False, value=value, container=container.name)


def required(container: pods.Container, field: str) -> FieldError:
    """A field of a container that is missing; `field` is its path in the container."""
    return FieldError(f"{container.path}.{field}", required=True, value="", container=container.name)


def forbidden_in_pod(path: str, value: Bad) -> FieldError:
    """A field of the Pod itself that holds what is forbidden."""
    return FieldError(path, required=False, value=value, container=None)


def as_text(value: Bad) -> str:
    """A forbidden value as text: `true`, `80`, `[NET_RAW SYS_TIME]`."""
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return f"[{' '.join(value)}]"
    return str(value)


def describe(violations: list[Violation], kind: str) -> str:
    """The violations of an object in one line.

    Args:
        violations: What was found.
        kind: Kind of the object, by which paths in the Pod become paths in the object.
    """
    return "".join(
        f"(Forbidden reason: {each.reason}, field error list: "
        f"[{', '.join(_sentence(error, kind) for error in each.errors)}])"
        for each in violations
    )


def _sentence(error: FieldError, kind: str) -> str:
    path = _in_object(error.path, kind)
    if error.required:
        return f"{path}: Required value"
    if error.value == "":
        return f"{path}: Forbidden"
    return f"{path} is forbidden, forbidden values found: {as_text(error.value)}"


def _in_object(path: str, kind: str) -> str:
    """The path as Kyverno writes it: it replaces the words wherever they stand, and `metadata` for Pods too."""
    if kind in pods.CONTROLLERS:
        path = path.replace("spec", "spec.template.spec")
    elif kind == pods.CRON_JOB:
        path = path.replace("spec", "spec.jobTemplate.spec.template.spec")
    return path.replace("metadata", "spec.template.metadata")
