"""TracingConfiguration (`kymograph.dev/v1alpha1`): where telemetry goes and how much of it, changed while running.

The kind is named after the component configuration of kube-apiserver and kubelet, whose two fields (`endpoint`,
`samplingRatePerMillion`) it shares. It is cluster-scoped and only the name `default` is accepted.
"""

from typing import Any

from kymograph.model import crd

GROUP = "kymograph.dev"
VERSION = "v1alpha1"
KIND = "TracingConfiguration"
PLURAL = "tracingconfigurations"
NAME = "default"

PARENT_MODES = ("respect", "link", "ignore")

_ENDPOINT = r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$"

_TRACES = crd.record(
    "Export of traces over OTLP/gRPC. Absent: nothing is exported. Empty: to localhost:4317 in plaintext.",
    {
        "endpoint": crd.text(
            "The collector as host:port. Default: localhost:4317.",
            max_length=260,
            pattern=_ENDPOINT,
        ),
        "insecure": {
            "type": "boolean",
            "description": "Send in plaintext. Without it TLS with the system's roots is used, except to loopback.",
        },
        "samplingRatePerMillion": {
            "type": "integer",
            "format": "int32",
            "minimum": 0,
            "maximum": 1_000_000,
            "description": "How many of a million requests without a sampling parent are traced. Default: 0.",
        },
        "parent": {
            "type": "string",
            "enum": list(PARENT_MODES),
            "description": (
                "What the trace context of the API server means: `respect` (the default) makes our span its child and "
                "follows its decision, `link` starts a trace of our own that links to it, `ignore` starts one without."
            ),
        },
    },
)

_METRICS = crd.record(
    "How metrics leave the operator.",
    {
        "prometheus": crd.record(
            "Metrics to be scraped by Prometheus at /metrics.",
            {
                "enabled": {"type": "boolean", "description": "Whether metrics are served. Default: true."},
                "port": {
                    "type": "integer",
                    "format": "int32",
                    "minimum": 1,
                    "maximum": 65_535,
                    "description": "The port they are served on. Default: 8000.",
                },
            },
        )
    },
)

_SPEC = crd.record(
    "Where telemetry goes. A change applies at once, without a restart.",
    {
        "traces": _TRACES,
        "metrics": _METRICS,
        "resourceAttributes": {
            "type": "object",
            "description": "Attributes on everything the operator emits, such as k8s.cluster.name.",
            "maxProperties": 64,
            "additionalProperties": {"type": "string", "maxLength": 1024},
        },
    },
)

_STATUS = crd.record(
    "What the operator made of the configuration.",
    {
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "conditions": crd.conditions("Accepted, Exporting"),
        "exporters": crd.listing(
            "The state of each exporter.",
            crd.record(
                "One exporter.",
                {
                    "signal": crd.text("traces or metrics."),
                    "endpoint": crd.text("Where it sends to.", max_length=260),
                    "lastSuccess": {"type": "string", "format": "date-time"},
                    "sent": {"type": "integer", "format": "int64", "minimum": 0},
                    "dropped": {"type": "integer", "format": "int64", "minimum": 0},
                    "lastError": crd.text("The last error, if the last attempt failed.", max_length=1024),
                },
                required=["signal", "endpoint"],
            ),
            max_items=8,
            **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["signal"]},
        ),
    },
)

TRACING_CONFIGURATION = crd.Kind(
    group=GROUP,
    kind=KIND,
    plural=PLURAL,
    namespaced=False,
    versions=(
        crd.Version(
            VERSION,
            crd.resource(
                "Where the operator sends its traces and metrics, and how much of them.",
                _SPEC,
                _STATUS,
                **{
                    "x-kubernetes-validations": [
                        crd.rule(
                            f"self.metadata.name == '{NAME}'",
                            f"metadata.name: only one TracingConfiguration applies, it must be named '{NAME}'",
                        )
                    ]
                },
            ),
            columns=(
                crd.Column("Endpoint", "string", ".spec.traces.endpoint"),
                crd.Column("Accepted", "string", '.status.conditions[?(@.type == "Accepted")].status'),
                crd.Column("Exporting", "string", '.status.conditions[?(@.type == "Exporting")].status'),
                crd.Column("Sent", "integer", '.status.exporters[?(@.signal == "traces")].sent'),
                crd.Column("Age", "date", ".metadata.creationTimestamp"),
                crd.Column("Message", "string", '.status.conditions[?(@.type == "Exporting")].message', priority=1),
            ),
        ),
    ),
    short_names=("tracing",),
    categories=("kymograph",),
)


def default() -> dict[str, Any]:
    """The resource that says what applies where nobody said anything."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": NAME},
        "spec": {"metrics": {"prometheus": {"enabled": True, "port": 8000}}},
    }
