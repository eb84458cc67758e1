"""What a policy, or an exception to it, excludes from the standards."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kymograph.apimachinery import wildcard
from kymograph.engine import budget as budgets
from kymograph.engine import fields
from kymograph.engine.podsecurity import pods, restricted, standards
from kymograph.engine.podsecurity.violations import FieldError, Violation

ABOUT_CONTAINERS = frozenset(
    {"Capabilities", "Privileged Containers", "Host Ports", "/proc Mount Type", "Privilege Escalation"}
)
ABOUT_PODS = frozenset({"Host Namespaces", "HostPath Volumes", "Sysctls", "Volume Types"})
_ONLY_RESTRICTED = frozenset(
    {"Volume Types", "Privilege Escalation", "Running as Non-root", "Running as Non-root user"}
)
_FIELDS = ("controlName", "images", "restrictedField", "values")
_DIGITS = re.compile(r"[0-9]+")

_CONTAINER_FIELDS = {
    "Capabilities": ("securityContext.capabilities.add", "securityContext.capabilities.drop"),
    "Seccomp": ("securityContext.seccompProfile.type",),
    "Privileged Containers": ("securityContext.privileged",),
    "Host Ports": ("ports[*].hostPort",),
    "/proc Mount Type": ("securityContext.procMount",),
    "HostProcess": ("securityContext.windowsOptions.hostProcess",),
    "SELinux": tuple(f"securityContext.seLinuxOptions.{each}" for each in ("type", "user", "role")),
    "AppArmor": ("securityContext.appArmorProfile.type",),
    "Privilege Escalation": ("securityContext.allowPrivilegeEscalation",),
    "Running as Non-root": ("securityContext.runAsNonRoot",),
    "Running as Non-root user": ("securityContext.runAsUser",),
}
_POD_FIELDS = {
    "Host Namespaces": ("hostNetwork", "hostPID", "hostIPC"),
    "HostPath Volumes": ("volumes[*].hostPath",),
    "Sysctls": ("securityContext.sysctls[*].name",),
    "Volume Types": tuple(f"volumes[*].{each}" for each in (*restricted.FORBIDDEN_VOLUMES, restricted.UNKNOWN_VOLUME)),
}
_ANNOTATED = frozenset({"AppArmor", "Seccomp"})
_LISTS = tuple(f"spec.{each}[*]" for each in pods.LISTS)


class Exclusion(NamedTuple):
    """One entry of `exclude`, compiled.

    Attributes:
        checks: Ids of the checks of its control.
        images: Tests for the images of the containers it is for; none for the Pod itself.
        field: The only field it is for, with `*` for numbers; empty for all fields of the control.
        values: Tests for the values it allows; none for all values.
    """

    checks: frozenset[str]
    images: tuple[Callable[[str], bool], ...]
    field: str
    values: tuple[Callable[[str], bool], ...]

    def allows(self, error: FieldError, field: str) -> bool:
        """Whether it excludes a field that breaks a check; `field` is its path with `*` for numbers."""
        if self.field and field != self.field:
            return False
        return not self.values or all(any(test(value) for test in self.values) for value in error.values)

    def seen_by(self, pod: pods.Pod) -> pods.Pod:
        """The part of a Pod that it is for.

        That is its matching containers and nothing else; or, without images, the Pod around one container that says
        nothing (of a Pod without containers the checks would see nothing that a container must have).
        """
        if not self.images:
            return pods.Pod(pod.spec, pod.annotations, [_SILENT])
        matching: list[pods.Container] = []
        for container in pod.containers:
            image = pods.text(container.fields.get("image"), "image")
            if any(test(image) for test in self.images):
                position = sum(each.holder == container.holder for each in matching)
                matching.append(container._replace(position=position))
        return pods.Pod({}, {}, matching)


_SILENT = pods.Container("containers", 0, {}, None)


def read(entries: Sequence[tuple[Any, str]], problems: fields.Problems, level: str = "") -> tuple[Exclusion, ...]:
    """Compile `exclude` of a policy, or `podSecurity` of an exception.

    Args:
        entries: The entries with their paths.
        problems: Where to note what is wrong with them.
        level: The level of the policy; empty for an exception, whose images `check_images` looks at where it is
            written to a cluster. From a file it is taken as it is, as in Kyverno: an entry without images is about the
            whole Pod.
    """
    return tuple(_read(document, path, level, problems) for document, path in entries)


def check_images(entries: Sequence[tuple[Any, str]], problems: fields.Problems) -> None:
    """Note the entries of an exception that name images for a control of Pods, or none for one of containers."""
    for document, path in entries:
        entry = fields.Fields(document, path, problems, _FIELDS)
        reason = _misplaced(entry.text("controlName"), has_images=bool(entry.texts("images")))
        if reason:
            entry.wrong("controlName", reason)


def _misplaced(control: str, *, has_images: bool) -> str:
    """Why an entry about a control must, or must not, name images; empty where it is right."""
    if control in ABOUT_CONTAINERS and not has_images:
        return "exclude.images must be specified for the container level control"
    if control in ABOUT_PODS and has_images:
        return "exclude.images must not be specified for the pod level control"
    return ""


def _read(document: Any, path: str, level: str, problems: fields.Problems) -> Exclusion:
    entry = fields.Fields(document, path, problems, _FIELDS)
    control = entry.text("controlName", among=tuple(standards.NAMES))
    if "controlName" not in entry:
        entry.wrong("controlName", "a control to exclude needs its name")
    images, values = entry.texts("images"), entry.texts("values")
    field = entry.text("restrictedField")
    reason = _misplaced(control, has_images=bool(images)) if level else ""
    if reason:
        entry.wrong("controlName", reason)
    if level == standards.BASELINE and control in _ONLY_RESTRICTED:
        entry.wrong("controlName", "Invalid control name defined at the given level")
    if field and not values:
        entry.wrong("values", "values is required")
    if values and not field:
        entry.wrong("restrictedField", "restrictedField is required")
    if control and field and not _has_field(control, field):
        entry.wrong("restrictedField", f"the control {control!r} has no such field")
    return Exclusion(
        frozenset(standards.NAMES.get(control, ())),
        tuple(map(wildcard.compile, images)),
        field,
        tuple(map(wildcard.compile, values)),
    )


def _has_field(control: str, field: str) -> bool:
    if control in _ANNOTATED and field.startswith("metadata.annotations["):
        return True
    place, _, rest = field.partition("].")
    if f"{place}]" in _LISTS:
        return rest in _CONTAINER_FIELDS.get(control, ())
    own = field.removeprefix("spec.")
    return own != field and own in (*_CONTAINER_FIELDS.get(control, ()), *_POD_FIELDS.get(control, ()))


def apply(
    excluded: Sequence[Exclusion],
    chosen: Sequence[standards.Check],
    found: list[Violation],
    pod: pods.Pod,
    budget: budgets.Budget,
) -> list[Violation]:
    """The violations that are left after exclusions.

    As in Kyverno each field that an exclusion allows takes one violation of that field away (by images: of a container
    of that name), the first one, and the last one moves up to its place.

    Args:
        excluded: The exclusions.
        chosen: The checks that were made.
        found: What they found.
        pod: The Pod.
        budget: What the search may spend.

    Raises:
        EvaluationError: A field has the wrong type, or the budget is exhausted.
    """
    for each in excluded:
        if not any(violation.check in each.checks for violation in found):
            continue
        allowed = _allowed(each, chosen, pod)
        left = []
        for violation in found:
            fields_allowed = allowed.get(violation.check)
            if fields_allowed:
                errors = _without(violation.errors, fields_allowed, budget, by_container=bool(each.images))
                if not errors:
                    continue
                violation = violation._replace(errors=errors)  # noqa: PLW2901 - the same violation, smaller
            left.append(violation)
        found = left
    return found


def _allowed(
    exclusion: Exclusion, chosen: Sequence[standards.Check], pod: pods.Pod
) -> dict[str, list[tuple[str, str | None]]]:
    """By check: the fields, and the containers they are of, that an exclusion allows."""
    seen = exclusion.seen_by(pod)
    concerned = [check for check in chosen if check.id in exclusion.checks]
    allowed = {}
    for violation in standards.violations(concerned, seen):
        pairs = [(_DIGITS.sub("*", error.path), error) for error in violation.errors]
        allowed[violation.check] = [
            (field, error.container) for field, error in pairs if exclusion.allows(error, field)
        ]
    return allowed


def _without(
    errors: tuple[FieldError, ...],
    allowed: list[tuple[str, str | None]],
    budget: budgets.Budget,
    *,
    by_container: bool,
) -> tuple[FieldError, ...]:
    left = list(errors)
    keys = [(_DIGITS.sub("*", each.path), each.container if by_container else None) for each in errors]
    for field, container in allowed:
        key = (field, container if by_container else None)
        try:
            index = keys.index(key)
        except ValueError:
            budget.spend(len(keys))
            continue
        budget.spend(index + 1)
        left[index], keys[index] = left[-1], keys[-1]
        left.pop()
        keys.pop()
    return tuple(left)
