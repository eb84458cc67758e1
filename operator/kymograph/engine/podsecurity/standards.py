"""Which checks make up a level of the standards in a version of Kubernetes."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from kymograph.engine.podsecurity import baseline, pods, restricted
from kymograph.engine.podsecurity.violations import Violation

PRIVILEGED = "privileged"
BASELINE = "baseline"
RESTRICTED = "restricted"
LEVELS = (PRIVILEGED, BASELINE, RESTRICTED)
"""The levels, from none to strict."""

LATEST = "latest"
"""The version that is newer than every other."""

Find: TypeAlias = Callable[[pods.Pod], Violation | None]

_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,8})")


class Check(NamedTuple):
    """A check of one level in one version.

    Attributes:
        id: Its id, as in Pod Security Admission.
        find: Gives what a Pod violates of it.
    """

    id: str
    find: Find


class _Control(NamedTuple):
    """A check in all versions; each holds from a minor version of Kubernetes on, the first one before it too."""

    id: str
    level: str
    versions: tuple[tuple[int, Find], ...]

    def at(self, minor: int) -> Find:
        chosen = self.versions[0][1]
        for since, find in self.versions[1:]:
            if since <= minor:
                chosen = find
        return chosen


_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    }
)
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def _by_windows(since: int, find: Find) -> tuple[tuple[int, Find], ...]:
    """A check that spares Windows Pods from v1.25 on, where `spec.os` tells them."""
    return (since, find), (25, restricted.except_windows(find))


# In the order of Kyverno's messages.
_CONTROLS = (
    _Control("allowPrivilegeEscalation", RESTRICTED, _by_windows(8, restricted.privilege_escalation)),
    _Control("appArmorProfile", BASELINE, ((0, baseline.app_armor),)),
    _Control("capabilities_baseline", BASELINE, ((0, baseline.capabilities),)),
    _Control("capabilities_restricted", RESTRICTED, _by_windows(22, restricted.capabilities)),
    _Control("hostNamespaces", BASELINE, ((0, baseline.host_namespaces),)),
    _Control("hostPathVolumes", BASELINE, ((0, baseline.host_path_volumes),)),
    _Control("hostPorts", BASELINE, ((0, baseline.host_ports),)),
    _Control("hostProbesAndHostLifecycle", BASELINE, ((34, baseline.host_probes),)),
    _Control("privileged", BASELINE, ((0, baseline.privileged),)),
    _Control("procMount", BASELINE, ((0, baseline.proc_mount),)),
    _Control("restrictedVolumes", RESTRICTED, ((0, restricted.volumes),)),
    _Control("runAsNonRoot", RESTRICTED, ((0, restricted.run_as_non_root),)),
    _Control("runAsUser", RESTRICTED, ((23, restricted.run_as_user),)),
    _Control(
        "seLinuxOptions",
        BASELINE,
        ((0, baseline.se_linux(_TYPES)), (31, baseline.se_linux(_TYPES | {"container_engine_t"}))),
    ),
    _Control("seccompProfile_baseline", BASELINE, ((0, baseline.seccomp_annotations), (19, baseline.seccomp))),
    _Control("seccompProfile_restricted", RESTRICTED, _by_windows(19, restricted.seccomp)),
    _Control(
        "sysctls",
        BASELINE,
        (
            (0, baseline.sysctls(_SYSCTLS)),
            (27, baseline.sysctls(_SYSCTLS_27)),
            (29, baseline.sysctls(_SYSCTLS_29)),
            (32, baseline.sysctls(_SYSCTLS_32)),
        ),
    ),
    _Control("windowsHostProcess", BASELINE, ((0, baseline.windows_host_process),)),
)

NAMES: Mapping[str, tuple[str, ...]] = {
    "Capabilities": ("capabilities_baseline", "capabilities_restricted"),
    "Seccomp": ("seccompProfile_baseline", "seccompProfile_restricted"),
    "Privileged Containers": ("privileged",),
    "Host Ports": ("hostPorts",),
    "/proc Mount Type": ("procMount",),
    "HostProcess": ("windowsHostProcess",),
    "SELinux": ("seLinuxOptions",),
    "Host Namespaces": ("hostNamespaces",),
    "HostPath Volumes": ("hostPathVolumes",),
    "Sysctls": ("sysctls",),
    "AppArmor": ("appArmorProfile",),
    "Privilege Escalation": ("allowPrivilegeEscalation",),
    "Running as Non-root": ("runAsNonRoot",),
    "Running as Non-root user": ("runAsUser",),
    "Volume Types": ("restrictedVolumes",),
}
"""The checks behind the name of a control in the Pod Security Standards."""

CONTROL_OF: Mapping[str, str] = {check: name for name, checks in NAMES.items() for check in checks}
"""The name of the control that a check belongs to; the check of hosts in probes belongs to none."""


def version(text: str) -> int | None:
    """The minor version of Kubernetes in `v1.29`; `latest` and no text are newer than all; None for anything else."""
    if text in {"", LATEST}:
        return sys.maxsize
    found = _VERSION.fullmatch(text)
    return int(found[1]) if found else None


def checks(level: str, minor: int) -> tuple[Check, ...]:
    """The checks of a level: none for privileged, and without a level those of restricted.

    Args:
        level: One of `LEVELS`, or empty.
        minor: What `version` gave.
    """
    if level == PRIVILEGED:
        return ()
    return tuple(Check(each.id, each.at(minor)) for each in _CONTROLS if level != BASELINE or each.level == BASELINE)


def violations(chosen: Sequence[Check], pod: pods.Pod) -> list[Violation]:
    """What a Pod violates of some checks.

    Raises:
        EvaluationError: A field that a check looks at has the wrong type.
    """
    found = []
    for check in chosen:
        violation = check.find(pod)
        if violation is not None:
            found.append(violation)
    return found
