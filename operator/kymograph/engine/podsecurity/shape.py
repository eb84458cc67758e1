"""The types of a Pod's fields: Kyverno decodes the Pod before it judges it, and errs where a field has another type.

Covered is what Pods are written with: spec, containers and ephemeral containers, security contexts, ports, variables,
mounts and volumes, and what metadata has as text. Fields that Kubernetes does not know are passed over, as decoding
does. What stands below the fields named here is not looked at: nothing judges it.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from kymograph.engine import errors

Shape: TypeAlias = "type | Mapping[str, Shape] | list[Shape]"
"""`str`, `bool`, `int`; `dict` for any object; the fields of an object; or a list with the shape of its items.

The field `*` stands for every field of an object.
"""

_ANY: dict[str, Shape] = {}
_TEXTS: dict[str, Shape] = {"*": str}


def _fields(kind: Shape, names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), kind)


_PROFILE: Shape = _fields(str, "type localhostProfile")
_SELINUX: Shape = _fields(str, "user role type level")
_WINDOWS: Shape = {**_fields(str, "gmsaCredentialSpecName gmsaCredentialSpec runAsUserName"), "hostProcess": bool}
_SECURITY: dict[str, Shape] = {
    "seLinuxOptions": _SELINUX,
    "windowsOptions": _WINDOWS,
    "seccompProfile": _PROFILE,
    "appArmorProfile": _PROFILE,
    **_fields(int, "runAsUser runAsGroup"),
    "runAsNonRoot": bool,
}
_OF_CONTAINER: Shape = {
    **_SECURITY,
    "capabilities": {"add": [str], "drop": [str]},
    **_fields(bool, "privileged readOnlyRootFilesystem allowPrivilegeEscalation"),
    "procMount": str,
}
_OF_POD: Shape = {
    **_SECURITY,
    "supplementalGroups": [int],
    "fsGroup": int,
    "sysctls": [_fields(str, "name value")],
    **_fields(str, "supplementalGroupsPolicy fsGroupChangePolicy seLinuxChangePolicy"),
}
_CONTAINER: Shape = {
    **_fields(
        str,
        "name image workingDir restartPolicy terminationMessagePath terminationMessagePolicy imagePullPolicy "
        "targetContainerName",
    ),
    **_fields([str], "command args"),
    **_fields(bool, "stdin stdinOnce tty"),
    **_fields(_ANY, "resources livenessProbe readinessProbe startupProbe lifecycle"),
    **_fields([_ANY], "envFrom resizePolicy restartPolicyRules volumeDevices"),
    "env": [{**_fields(str, "name value"), "valueFrom": _ANY}],
    "ports": [{**_fields(str, "name protocol hostIP"), **_fields(int, "containerPort hostPort")}],
    "volumeMounts": [
        {**_fields(str, "name mountPath subPath subPathExpr mountPropagation recursiveReadOnly"), "readOnly": bool}
    ],
    "securityContext": _OF_CONTAINER,
}
_VOLUME: Shape = {"*": _ANY, "name": str, "hostPath": _fields(str, "path type")}

SPEC: Shape = {
    **_fields([_CONTAINER], "initContainers containers ephemeralContainers"),
    "volumes": [_VOLUME],
    "securityContext": _OF_POD,
    **_fields(
        str,
        "restartPolicy dnsPolicy serviceAccountName serviceAccount nodeName hostname subdomain schedulerName "
        "priorityClassName runtimeClassName preemptionPolicy hostnameOverride",
    ),
    **_fields(int, "terminationGracePeriodSeconds activeDeadlineSeconds priority"),
    **_fields(
        bool,
        "automountServiceAccountToken hostNetwork hostPID hostIPC shareProcessNamespace enableServiceLinks "
        "setHostnameAsFQDN hostUsers",
    ),
    "nodeSelector": _TEXTS,
    **_fields(_ANY, "affinity dnsConfig overhead resources"),
    "os": {"name": str},
    "imagePullSecrets": [{"name": str}],
    **_fields(
        [_ANY], "tolerations hostAliases readinessGates topologySpreadConstraints schedulingGates resourceClaims"
    ),
}
"""A Pod's `spec`."""

METADATA: Shape = {**_fields(str, "name namespace generateName"), "labels": _TEXTS, "annotations": _TEXTS}
"""The `metadata` of a Pod or of a template."""

_CALLED = {str: "a string", bool: "true or false", int: "a whole number"}


def demand(value: Any, shape: Shape, path: str) -> None:
    """Refuse a value that has another shape, or holds one; what is absent or null has any.

    Args:
        value: The value.
        shape: What it must be.
        path: Where it stands in the Pod, for the message.

    Raises:
        EvaluationError: With the field and what it must be.
    """
    if value is None:
        return
    if isinstance(shape, type):
        whole = shape is int and isinstance(value, float) and value.is_integer()
        if type(value) is not shape and not whole:
            raise errors.EvaluationError(f"{path} must be {_CALLED[shape]}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise errors.EvaluationError(f"{path} must be a list")
        for index, item in enumerate(value):
            demand(item, shape[0], f"{path}[{index}]")
    else:
        if not isinstance(value, dict):
            raise errors.EvaluationError(f"{path} must be an object")
        every = shape.get("*")
        for name, field in value.items():
            wanted = shape.get(name, every)
            if wanted is not None:
                demand(field, wanted, f"{path}.{name}")
