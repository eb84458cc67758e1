"""The configuration files of kube-apiserver, as values: kinds and versions of Kubernetes v1.36.

They are written as JSON, which is YAML. What can be said by a flag is in `servers`.
"""

import pathlib
from typing import Any

from kymograph.localcluster import options

_CONFIG = "apiserver.config.k8s.io/v1"
_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
_HEALTH = ["/healthz*", "/livez*", "/readyz*", "/metrics", "/version", "/openapi*"]


def tracing(wanted: options.Tracing) -> dict[str, Any]:
    """A TracingConfiguration (KEP-647)."""
    return {
        "apiVersion": _CONFIG,
        "kind": "TracingConfiguration",
        "endpoint": wanted.endpoint,
        "samplingRatePerMillion": wanted.sampling_rate_per_million,
    }


def audit_policy(level: str) -> dict[str, Any]:
    """An audit Policy: writes at the given level, reads at `Metadata`; no leases and no health checks.

    One event a request: the stage `RequestReceived` says nothing that `ResponseComplete` does not.
    """
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "None", "nonResourceURLs": _HEALTH},
            {"level": level, "verbs": _WRITES},
            {"level": "Metadata"},
        ],
    }


def admission(webhook_kubeconfig: pathlib.Path) -> dict[str, Any]:
    """An AdmissionConfiguration that makes the API server show a client certificate to admission webhooks."""
    configuration = {
        "apiVersion": _CONFIG,
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(webhook_kubeconfig),
    }
    return {
        "apiVersion": _CONFIG,
        "kind": "AdmissionConfiguration",
        "plugins": [
            {"name": plugin, "configuration": configuration}
            for plugin in ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook")
        ],
    }
