"""The checks that the level `restricted` adds: current practice of hardening Pods. Shaped as those of `baseline`."""

from collections.abc import Callable

from kymograph.engine.podsecurity import baseline, pods
from kymograph.engine.podsecurity.violations import FieldError, Violation, forbidden, forbidden_in_pod, required

_ALLOWED_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
FORBIDDEN_VOLUMES = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
)
"""The other types of volumes, in the order in which a volume with several is said to be of one."""

UNKNOWN_VOLUME = "unknown"
"""What a volume of none of these types is called."""

_MAY_ADD = frozenset({"NET_BIND_SERVICE"})
_AS_USUAL = {"drop": ["ALL"]}
_ESCALATION = "securityContext.allowPrivilegeEscalation"
_DROP = "securityContext.capabilities.drop"
_ADD = "securityContext.capabilities.add"
_NON_ROOT = "securityContext.runAsNonRoot"
_USER = "securityContext.runAsUser"
_SECCOMP = "securityContext.seccompProfile.type"


def except_windows(check: Callable[[pods.Pod], Violation | None]) -> Callable[[pods.Pod], Violation | None]:
    """The check for Pods that are not for Windows nodes, where the field means nothing."""

    def checked(pod: pods.Pod) -> Violation | None:
        return None if "os" in pod.spec and pod.windows else check(pod)

    return checked


def capabilities(pod: pods.Pod) -> Violation | None:
    """All capabilities must be dropped, and only NET_BIND_SERVICE may be added."""
    undropped: list[FieldError] = []
    added: list[FieldError] = []
    for container in pod.containers:
        granted = container.security.get("capabilities") if container.security else None
        if granted is None:
            undropped.append(required(container, _DROP))
            continue
        if granted == _AS_USUAL:
            continue
        drop = baseline.capability_list(granted, "drop")
        if not drop:
            undropped.append(required(container, _DROP))
        elif "ALL" not in drop:
            undropped.append(forbidden(container, _DROP, tuple(sorted(set(drop)))))
        add = baseline.capability_list(granted, "add")
        if add and not _MAY_ADD.issuperset(add):
            added.append(forbidden(container, _ADD, tuple(sorted(set(add) - _MAY_ADD))))
    if not undropped and not added:
        return None
    found = (*undropped, *added)
    named = tuple(each.container or "" for each in undropped or added)
    return Violation("capabilities_restricted", "unrestricted capabilities", found, named)


def privilege_escalation(pod: pods.Pod) -> Violation | None:
    """Privileges may not be gained by executing a file."""
    found = []
    for container in pod.containers:
        if container.security is None:
            found.append(required(container, _ESCALATION))
            continue
        value = container.security.get("allowPrivilegeEscalation")
        if value is not False:
            pods.boolean(value, "allowPrivilegeEscalation")
            found.append(forbidden(container, _ESCALATION, "nil" if value is None else True))
    return baseline.of_containers("allowPrivilegeEscalation", "allowPrivilegeEscalation != false", found)


def run_as_non_root(pod: pods.Pod) -> Violation | None:
    """Containers must be bound to run as another user than root, by themselves or by the Pod."""
    of_pod = pod.security.get("runAsNonRoot")
    explicit: list[FieldError] = []
    implicit: list[FieldError] = []
    if of_pod is not True and pods.boolean(of_pod, "runAsNonRoot") is False:
        explicit.append(forbidden_in_pod(f"spec.{_NON_ROOT}", value=False))
    for container in pod.containers:
        value = container.security.get("runAsNonRoot") if container.security else None
        if value is None:
            if of_pod is not True:
                implicit.append(required(container, _NON_ROOT))
        elif value is not True:
            pods.boolean(value, "runAsNonRoot")
            explicit.append(forbidden(container, _NON_ROOT, value=False))
    if not explicit and not implicit:
        return None
    listed = [each for each in explicit if each.container is not None]
    if not listed:
        listed = implicit
    named = tuple(each.container or "" for each in listed)
    return Violation("runAsNonRoot", "runAsNonRoot != true", (*explicit, *implicit), named or None)


def run_as_user(pod: pods.Pod) -> Violation | None:
    """User 0 may not be asked for."""
    found = []
    if pods.integer(pod.security.get("runAsUser"), "runAsUser") == 0:
        found.append(forbidden_in_pod(f"spec.{_USER}", 0))
    named = []
    for container in pod.containers:
        value = container.security.get("runAsUser") if container.security else None
        if value is not None and pods.integer(value, "runAsUser") == 0:
            found.append(forbidden(container, _USER, 0))
            named.append(container.name)
    return Violation("runAsUser", "runAsUser=0", tuple(found), tuple(named) or None) if found else None


def seccomp(pod: pods.Pod) -> Violation | None:
    """A seccomp profile must be set, by every container or by the Pod."""
    bad = baseline.seccomp(pod)
    if bad is not None:
        return bad._replace(check=_SECCOMP_CHECK)
    if pod.security.get("seccompProfile") is not None:
        return None
    found = [
        required(container, _SECCOMP)
        for container in pod.containers
        if container.security is None or container.security.get("seccompProfile") is None
    ]
    return baseline.of_containers(_SECCOMP_CHECK, "seccompProfile", found)


_SECCOMP_CHECK = "seccompProfile_restricted"


def volumes(pod: pods.Pod) -> Violation | None:
    """Only volumes that are made for Pods, or claimed by them, may be mounted."""
    found = []
    for index, volume in enumerate(pod.volumes):
        for source in volume:
            if source in _ALLOWED_VOLUMES and pods.table(volume[source], source) is not None:
                break
        else:
            kinds = (each for each in FORBIDDEN_VOLUMES if pods.table(volume.get(each), each) is not None)
            found.append(forbidden_in_pod(f"spec.volumes[{index}].{next(kinds, UNKNOWN_VOLUME)}", ""))
    return Violation("restrictedVolumes", "restricted volume types", tuple(found)) if found else None
