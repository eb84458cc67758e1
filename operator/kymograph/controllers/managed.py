"""Objects that Kyverno manages (`app.kubernetes.io/managed-by: kyverno`), and who may touch them where it is wished.

The rules are those of Kyverno's `--protectManagedResources`: what carries the label, before or after a request, is
changed and deleted by service accounts of the operator's namespace, and by the namespace controller, which deletes what
is in a namespace that goes.
"""

from collections.abc import Mapping
from typing import Any

from kymograph.engine.generate import labels as written

REFUSAL = "A kyverno managed resource can only be modified by kyverno"
"""Kyverno's words."""

_NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"


def is_managed(labels: Mapping[str, str]) -> bool:
    """Whether labels say that Kyverno manages their object."""
    return labels.get(written.MANAGED_BY) == written.KYVERNO


class Protection:
    """Says of requests whether they touch what they may not.

    Args:
        namespace: The operator's own, whose service accounts may.
        account: The operator's user name, where it is none of these; empty for unknown.
    """

    def __init__(self, namespace: str, account: str = "") -> None:
        self._prefix = f"system:serviceaccount:{namespace}:"
        self._account = account

    def refuses(self, request: Mapping[str, Any]) -> bool:
        """Whether an admission request is to be denied."""
        if not any(is_managed(_labels(request.get(each))) for each in ("object", "oldObject")):
            return False
        user = (request.get("userInfo") or {}).get("username") or ""
        if user == _NAMESPACE_CONTROLLER and request["operation"] == "DELETE":
            return False
        return not (user.startswith(self._prefix) or (self._account and user == self._account))


def _labels(document: Mapping[str, Any] | None) -> Mapping[str, str]:
    return ((document or {}).get("metadata") or {}).get("labels") or {}
