"""The requests that would bring an object to its policies, and what the values of a test change about them.

CREATE, and any operation that is not simulated, carry the object; UPDATE carries it as new and old, DELETE as the old
one only. A value for `request.operation` chooses the operation. One below `request.object` or `request.oldObject`
changes the object itself, for the policy and all that follow; others are laid over the context of expressions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kymograph.apimachinery import gvk
from kymograph.cli.offline import answers, values
from kymograph.engine import context as contexts
from kymograph.engine import policy, scene

CREATE, UPDATE, DELETE = "CREATE", "UPDATE", "DELETE"

_OBJECTS = ("object", "oldObject")


class Seen(NamedTuple):
    """What policies see.

    Attributes:
        request: The AdmissionRequest.
        resource: The object in it: the old one on DELETE.
        values: What is laid over the context of a rule; None for nothing.
    """

    request: dict[str, Any]
    resource: dict[str, Any]
    values: scene.Values | None


class Requests:
    """The requests for one object, policy by policy.

    Args:
        resource: The object, prepared; it is not changed.
        operation: The operation; empty for what the values say, CREATE if nothing.
        world: What stands in for the cluster.

    Attributes:
        resource: The object as it has become.
    """

    __slots__ = ("_operation", "_shared", "_world", "resource")

    def __init__(self, resource: dict[str, Any], operation: str, world: answers.Answers) -> None:
        self.resource = resource
        self._operation = operation
        self._world = world
        self._shared: Seen | None = None

    def become(self, resource: dict[str, Any]) -> None:
        """Take over what a policy made of the object."""
        if resource is not self.resource:
            self.resource = resource
            self._shared = None

    def of(self, each: policy.CompiledPolicy) -> Seen:
        """What a policy sees: the very same for neighbours without values of their own."""
        metadata = self.resource.get("metadata") or {}
        told = self._world.told.of(each.name, metadata.get("name") or "")
        if told is not self._world.told.everywhere:
            return self._make(told)
        if self._shared is None:
            self._shared = self._make(told)
        return self._shared

    def _make(self, told: Mapping[str, Any]) -> Seen:
        operation = self._operation or told.get(values.OPERATION)
        operation = operation if operation in (UPDATE, DELETE) else CREATE
        request = self._plain(operation)
        laid = {key: value for key, value in told.items() if not _is_about_object(key)}
        if len(laid) < len(told):
            changes = {key: value for key, value in told.items() if key not in laid}
            request = contexts.laid_over({"request": request}, changes)["request"]
            self.become(request["oldObject" if operation == DELETE else "object"])
        if laid.get(values.OPERATION) == operation or self._operation:
            laid.pop(values.OPERATION, None)
        by_rule = self._world.told
        if not laid:
            return Seen(request, self.resource, by_rule.of_rule if by_rule.by_rule else None)
        return Seen(request, self.resource, lambda rule: {**laid, **by_rule.of_rule(rule)})

    def _plain(self, operation: str) -> dict[str, Any]:
        resource = self.resource
        group, version = gvk.split_api_version(resource.get("apiVersion") or "")
        request: dict[str, Any] = {
            "kind": {"group": group, "version": version, "kind": resource.get("kind") or ""},
            "operation": operation,
            "namespace": (resource.get("metadata") or {}).get("namespace") or "",
        }
        if operation != DELETE:
            request["object"] = resource
        if operation != CREATE:
            request["oldObject"] = resource
        for each in self._world.told.subresources:
            if each.kind == (group, version, resource.get("kind")):
                parent_group, parent_version, kind = each.parent
                request["kind"] = {"group": parent_group, "version": parent_version, "kind": kind}
                request["resource"] = {
                    "group": parent_group,
                    "version": parent_version,
                    "resource": each.resource,
                }
                request["subResource"] = each.name
                break
        if self._world.user is not None:
            request |= self._world.user.request()
        return request


def _is_about_object(key: str) -> bool:
    first, *rest = values.path_of(key)
    return first == "request" and len(rest) > 0 and rest[0] in _OBJECTS
