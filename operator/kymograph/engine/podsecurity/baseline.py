"""The checks of the level `baseline`: what is known to escalate privileges.

Every check takes a Pod and gives its violation, or None. A value counts as forbidden unless it is known to be allowed,
and a value of the wrong type is an error, so nothing passes by being odd.
"""

from collections.abc import Callable, Iterable
from typing import Any

from kymograph.engine.podsecurity import pods
from kymograph.engine.podsecurity.violations import FieldError, Violation, forbidden, forbidden_in_pod

CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""The capabilities that container runtimes give by default."""

PROFILES = frozenset({"RuntimeDefault", "Localhost"})
"""The types of seccomp and AppArmor profiles that confine a container."""

APP_ARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER_ANNOTATION = "container.seccomp.security.alpha.kubernetes.io/"

_HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")
_ACTIONS = ("httpGet", "tcpSocket")


def app_armor(pod: pods.Pod) -> Violation | None:
    """AppArmor profiles may not be switched off, by field or by annotation."""
    found = bad_profile(pod, "appArmorProfile")
    named = tuple(each.container for each in found if each.container is not None)
    found += [
        forbidden_in_pod(f"metadata.annotations[{key}]", value)
        for key, value in pod.annotations.items()
        if key.startswith(APP_ARMOR_ANNOTATION) and not _confines_app_armor(value)
    ]
    if not found:
        return None
    values = {each.value for each in found if not each.path.startswith("metadata.")}
    several = len(values) + sum(each.path.startswith("metadata.") for each in found) != 1
    reason = f"forbidden AppArmor profile{'s' if several else ''}"
    return Violation("appArmorProfile", reason, tuple(found), named or None)


def capabilities(pod: pods.Pod) -> Violation | None:
    """Only capabilities that runtimes give by default may be added."""
    found = []
    for container in pod.containers:
        granted = container.security and container.security.get("capabilities")
        if granted:
            added = capability_list(granted, "add")
            if added and not CAPABILITIES.issuperset(added):
                bad = tuple(sorted(set(added) - CAPABILITIES))
                found.append(forbidden(container, "securityContext.capabilities.add", bad))
    return of_containers("capabilities_baseline", "non-default capabilities", found)


def host_namespaces(pod: pods.Pod) -> Violation | None:
    """The namespaces of the host may not be shared."""
    found = []
    for field in _HOST_NAMESPACES:
        value = pod.spec.get(field)
        if value and pods.boolean(value, field):
            found.append(forbidden_in_pod(f"spec.{field}", value=True))
    return Violation("hostNamespaces", "host namespaces", tuple(found)) if found else None


def host_path_volumes(pod: pods.Pod) -> Violation | None:
    """Directories of the host may not be mounted."""
    found = []
    for index, volume in enumerate(pod.volumes):
        source = volume.get("hostPath")
        if source is not None:
            directory = pods.text((pods.table(source, "hostPath") or {}).get("path"), "hostPath.path")
            found.append(forbidden_in_pod(f"spec.volumes[{index}].hostPath", directory))
    return Violation("hostPathVolumes", "hostPath volumes", tuple(found)) if found else None


def host_ports(pod: pods.Pod) -> Violation | None:
    """Ports of the host may not be taken."""
    found = []
    for container in pod.containers:
        ports = container.fields.get("ports")
        if not ports:
            continue
        for index, port in enumerate(pods.items(ports, "ports")):
            if type(port) is dict and "hostPort" not in port:
                continue
            number = (pods.table(port, "ports[*]") or {}).get("hostPort")
            if number is not None:
                taken = pods.integer(number, "hostPort")
                if taken:
                    found.append(forbidden(container, f"ports[{index}].hostPort", taken))
    return Violation("hostPorts", "hostPort", tuple(found)) if found else None


def host_probes(pod: pods.Pod) -> Violation | None:
    """Probes and lifecycle hooks may not be sent to a host of one's choice."""
    for container in pod.containers:
        fields = container.fields
        for probe in _PROBES:
            handler = fields.get(probe)
            if handler and _names_host(handler, probe):
                return _HOST_PROBES
        hooks = fields.get("lifecycle")
        if hooks:
            for hook in _HOOKS:
                handler = (pods.table(hooks, "lifecycle") or {}).get(hook)
                if handler and _names_host(handler, hook):
                    return _HOST_PROBES
    return None


_HOST_PROBES = Violation("hostProbesAndHostLifecycle", "probe or lifecycle host", ())


def privileged(pod: pods.Pod) -> Violation | None:
    """Containers may not be privileged."""
    return of_containers("privileged", "privileged", _true(pod.containers, "privileged"))


def proc_mount(pod: pods.Pod) -> Violation | None:
    """The masks over /proc may not be taken off."""
    found = []
    for container in pod.containers:
        value = container.security and container.security.get("procMount")
        if value is not None and container.security and value != "Default":
            found.append(forbidden(container, "securityContext.procMount", pods.text(value, "procMount")))
    return of_containers("procMount", "procMount", found)


def se_linux(types: frozenset[str]) -> Callable[[pods.Pod], Violation | None]:
    """SELinux types must be among some, users and roles may not be set."""

    def bad(options: Any) -> Iterable[tuple[str, str]]:
        values = pods.table(options, "seLinuxOptions") or {}
        for field, allowed in (("type", types), ("user", _UNSET), ("role", _UNSET)):
            value = pods.text(values.get(field), field)
            if value not in allowed:
                yield f"securityContext.seLinuxOptions.{field}", value

    def check(pod: pods.Pod) -> Violation | None:
        found = []
        options = pod.security.get("seLinuxOptions")
        if options:
            found += [forbidden_in_pod(f"spec.{path}", value) for path, value in bad(options)]
        for container in pod.containers:
            options = container.security and container.security.get("seLinuxOptions")
            if options:
                found += [forbidden(container, path, value) for path, value in bad(options)]
        return Violation("seLinuxOptions", "seLinuxOptions", tuple(found)) if found else None

    return check


_UNSET = frozenset({""})


def seccomp(pod: pods.Pod) -> Violation | None:
    """Seccomp may not be switched off."""
    found = bad_profile(pod, "seccompProfile")
    named = tuple(each.container for each in found if each.container is not None)
    return Violation("seccompProfile_baseline", "seccompProfile", tuple(found), named or None) if found else None


def seccomp_annotations(pod: pods.Pod) -> Violation | None:
    """Seccomp may not be switched off by annotations, which came before the fields."""
    keys = [SECCOMP_ANNOTATION, *(f"{SECCOMP_CONTAINER_ANNOTATION}{each.name}" for each in pod.containers)]
    found = [
        forbidden_in_pod(f"metadata.annotations[{key}]", pod.annotations[key])
        for key in sorted(keys)
        if key in pod.annotations and not _confines_seccomp(pod.annotations[key])
    ]
    return Violation("seccompProfile_baseline", "seccompProfile", tuple(found)) if found else None


def sysctls(allowed: frozenset[str]) -> Callable[[pods.Pod], Violation | None]:
    """Only sysctls that are confined to the Pod may be set."""

    def check(pod: pods.Pod) -> Violation | None:
        settings = pod.security.get("sysctls")
        if not settings:
            return None
        found = []
        for index, setting in enumerate(pods.items(settings, "sysctls")):
            name = pods.text((pods.table(setting, "sysctls[*]") or {}).get("name"), "sysctls[*].name")
            if name not in allowed:
                found.append(forbidden_in_pod(f"spec.securityContext.sysctls[{index}].name", name))
        return Violation("sysctls", "forbidden sysctls", tuple(found)) if found else None

    return check


def windows_host_process(pod: pods.Pod) -> Violation | None:
    """Windows containers may not be processes of the host."""
    found = []
    field = "securityContext.windowsOptions.hostProcess"
    options = pod.security.get("windowsOptions")
    if options and _is_host_process(options):
        found.append(forbidden_in_pod(f"spec.{field}", value=True))
    named = []
    for container in pod.containers:
        options = container.security and container.security.get("windowsOptions")
        if options and _is_host_process(options):
            found.append(forbidden(container, field, value=True))
            named.append(container.name)
    return Violation("windowsHostProcess", "hostProcess", tuple(found), tuple(named) or None) if found else None


def of_containers(check: str, reason: str, found: list[FieldError]) -> Violation | None:
    """The violation of a check that looks at containers only; None where nothing was found."""
    if not found:
        return None
    return Violation(check, reason, tuple(found), tuple(each.container or "" for each in found))


def bad_profile(pod: pods.Pod, field: str) -> list[FieldError]:
    """The profiles of a Pod and its containers that confine nothing.

    Args:
        pod: The Pod.
        field: `seccompProfile` or `appArmorProfile`.
    """
    found = []
    profile = pod.security.get(field)
    if profile is not None:
        value = pods.text((pods.table(profile, field) or {}).get("type"), "type")
        if value not in PROFILES:
            found.append(forbidden_in_pod(f"spec.securityContext.{field}.type", value))
    for container in pod.containers:
        profile = container.security.get(field) if container.security else None
        if profile is not None:
            value = pods.text((pods.table(profile, field) or {}).get("type"), "type")
            if value not in PROFILES:
                found.append(forbidden(container, f"securityContext.{field}.type", value))
    return found


def capability_list(granted: Any, which: str) -> list[str]:
    """The capabilities that a container has to `add` or to `drop`."""
    names = pods.items((pods.table(granted, "capabilities") or {}).get(which), which)
    return [pods.text(name, which) for name in names] if names else names


def _true(containers: list[pods.Container], field: str) -> list[FieldError]:
    found = []
    for container in containers:
        value = container.security and container.security.get(field)
        if value and pods.boolean(value, field):
            found.append(forbidden(container, f"securityContext.{field}", value=True))
    return found


def _names_host(handler: Any, field: str) -> bool:
    actions = pods.table(handler, field) or {}
    for name in _ACTIONS:
        action = actions.get(name)
        if not action or (type(action) is dict and "host" not in action):
            continue
        if pods.text((pods.table(action, name) or {}).get("host"), "host"):
            return True
    return False


def _is_host_process(options: Any) -> bool:
    value = (pods.table(options, "windowsOptions") or {}).get("hostProcess")
    return bool(pods.boolean(value, "hostProcess"))


def _confines_app_armor(value: Any) -> bool:
    profile = pods.text(value, "annotations[*]")
    return profile in {"", "runtime/default"} or profile.startswith("localhost/")


def _confines_seccomp(value: Any) -> bool:
    profile = pods.text(value, "annotations[*]")
    return profile in {"runtime/default", "docker/default"} or profile.startswith("localhost/")
