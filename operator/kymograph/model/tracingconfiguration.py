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

PROTOCOLS = ("grpc", "http/protobuf")
CONTROLLERS = ("admission", "background", "cleanup", "reports")
TEMPORALITIES = ("cumulative", "delta")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
PREFIXES = ("", "kyverno_")

SECRET_LABEL = "kymograph.dev/telemetry"  # noqa: S105 - the name of a label
"""The label, with the value `true`, of Secrets in the operator's namespace that exporters may use."""

_ENDPOINT = r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$"
_OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_POLICY_NAME = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_HEADER_NAME = r"^[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$"
_RESERVED_HEADERS = r"^(grpc-.*|.*-bin|host|te|connection|transfer-encoding|content-(type|length|encoding))$"


def _secret_name() -> crd.Schema:
    return crd.text(
        f"A Secret in the operator's namespace, labelled {SECRET_LABEL}=true.", minLength=1, pattern=_OBJECT_NAME
    )


def _secret_key(description: str) -> crd.Schema:
    return crd.record(
        description,
        {"name": _secret_name(), "key": crd.text("The entry of the Secret.", minLength=1)},
        required=["name", "key"],
    )


def exporter_fields(endpoint: str) -> dict[str, crd.Schema]:
    """The fields that say how one signal is exported; `endpoint` describes its endpoint.

    What uses them has `EXPORTER_RULES` among its validations.
    """
    return {
        "endpoint": crd.text(endpoint, max_length=260, pattern=_ENDPOINT),
        "protocol": {
            "type": "string",
            "enum": list(PROTOCOLS),
            "description": "How OTLP is spoken: grpc (the default), or http/protobuf, to /v1/traces or /v1/metrics.",
        },
        "insecure": {
            "type": "boolean",
            "description": "Send in plaintext. Without it TLS with the system's roots is used, except to loopback.",
        },
        "tls": crd.record(
            "What TLS is done with; empty: the system's roots, to loopback too.",
            {
                "caSecretRef": _secret_key("PEM of the authorities that are trusted, and no others."),
                "clientCertificateSecretRef": crd.record(
                    "The certificate shown to the receiver: entries tls.crt and tls.key.",
                    {"name": _secret_name()},
                    required=["name"],
                ),
                "serverName": crd.text(
                    "The name the receiver's certificate must have. Default: the endpoint's host.",
                    minLength=1,
                    pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
                ),
            },
        ),
        "headers": crd.listing(
            "Headers sent with every export, such as an authorization.",
            crd.record(
                "One header: its value is either here or in a Secret.",
                {
                    "name": crd.text("Its name, in lower case.", minLength=1, max_length=128, pattern=_HEADER_NAME),
                    "value": crd.text("Its value, for all to read.", minLength=1, max_length=4096),
                    "valueFrom": crd.record(
                        "Where its value is.",
                        {"secretKeyRef": _secret_key("The Secret that holds the value.")},
                        required=["secretKeyRef"],
                    ),
                },
                required=["name"],
                **{
                    "x-kubernetes-validations": [
                        crd.rule(
                            "has(self.value) != has(self.valueFrom)", "either value or valueFrom must be set, not both"
                        ),
                        crd.rule(
                            f"!self.name.matches(r'{_RESERVED_HEADERS}')", "this header is set by the transport itself"
                        ),
                    ]
                },
            ),
            max_items=16,
            **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    }


EXPORTER_RULES = (
    crd.rule(
        "!(has(self.insecure) && self.insecure && has(self.tls))",
        "insecure and tls exclude each other: plaintext, or TLS as described",
    ),
)

_RATE = {"type": "integer", "format": "int32", "minimum": 0, "maximum": 1_000_000}

_KEEP = crd.record(
    "Which requests keep the operator's spans although nobody sampled them, by what they turned out to be.",
    {
        "denied": {"type": "boolean", "description": "Requests that were denied."},
        "errors": {"type": "boolean", "description": "Requests in which a policy could not be evaluated."},
        "slowerThan": crd.text(
            "Requests that took longer, such as 500ms.",
            max_length=32,
            **{
                "x-kubernetes-validations": [
                    crd.rule("duration(self) > duration('0s')", "must be a positive duration such as 500ms")
                ]
            },
        ),
        "policies": crd.listing(
            "Requests that one of these policies was applied to.",
            crd.text(
                "The name of a ClusterPolicy, or namespace/name of a Policy.", max_length=317, pattern=_POLICY_NAME
            ),
            max_items=64,
            **{"x-kubernetes-list-type": "set"},
        ),
        "namespaces": crd.listing(
            "Requests for objects in one of these namespaces.",
            crd.text("The name of a namespace.", max_length=63, pattern=_OBJECT_NAME),
            max_items=64,
            **{"x-kubernetes-list-type": "set"},
        ),
    },
)

_CONTROLLERS = crd.record(
    "What single controllers do differently.",
    {
        name: crd.record(
            f"The {name} controller.",
            {
                "enabled": {"type": "boolean", "description": "Whether it makes spans. Default: true."},
                "samplingRatePerMillion": {
                    **_RATE,
                    "description": "Its own rate for traces without a sampling parent. Default: the common one.",
                },
            },
        )
        for name in CONTROLLERS
    },
)

_TRACES = crd.record(
    "Export of traces over OTLP. Absent: nothing is exported. Empty: to localhost:4317 in plaintext.",
    {
        **exporter_fields("The collector as host:port. Default: localhost:4317, or 4318 with http/protobuf."),
        "samplingRatePerMillion": {
            **_RATE,
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
        "parentTracesPerSecond": {
            "type": "integer",
            "format": "int32",
            "minimum": 0,
            "maximum": 1_000_000,
            "description": (
                "How many traces that callers ask for are made in a second by each replica, so that a forged trace "
                "context cannot flood the collector. Default: 1000."
            ),
        },
        "keep": _KEEP,
        "controllers": _CONTROLLERS,
        "attributes": crd.record(
            "What spans say beyond the usual.",
            {"user": {"type": "boolean", "description": "Name, uid and groups of who made a request. Default: false."}},
        ),
    },
    **{"x-kubernetes-validations": list(EXPORTER_RULES)},
)

_NAMESPACES = crd.text(
    "A pattern of namespaces' names, in which * and ? stand for others.",
    minLength=1,
    max_length=63,
    pattern=r"^[a-z0-9*?]([-a-z0-9*?]*[a-z0-9*?])?$",
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
        ),
        "otlp": crd.record(
            "Metrics pushed over OTLP, beside being scraped. Absent: not pushed. Empty: to localhost in plaintext.",
            {
                **exporter_fields("The receiver as host:port. Default: localhost:4317, or 4318 with http/protobuf."),
                "interval": crd.text(
                    "How often, from 1s to 1h. Default: 60s.",
                    max_length=16,
                    **{
                        "x-kubernetes-validations": [
                            crd.rule(
                                "duration(self) >= duration('1s') && duration(self) <= duration('1h')",
                                "must be a duration between 1s and 1h such as 60s",
                            )
                        ]
                    },
                ),
                "temporality": {
                    "type": "string",
                    "enum": list(TEMPORALITIES),
                    "description": "What counters count from: cumulative, their start (the default); delta, the last"
                    " push that was delivered.",
                },
            },
            **{"x-kubernetes-validations": list(EXPORTER_RULES)},
        ),
        "prefix": {
            "type": "string",
            "enum": list(PREFIXES),
            "description": "Stands before the names of the metrics that Kyverno has too: kyverno_ gives its very names,"
            " for its dashboards and alerts. Default: none.",
        },
        "namespaces": crd.record(
            "Whose resources are counted, in metrics with the label resource_namespace. Resources without a namespace"
            " always are.",
            {
                "include": crd.listing("Only those of these namespaces; none: all.", _NAMESPACES, max_items=256),
                "exclude": crd.listing("None of these namespaces, whatever includes it.", _NAMESPACES, max_items=256),
            },
        ),
        "exposure": {
            "type": "object",
            "description": "How single metrics are shown, by name: as in a scrape or as in OTLP, with the prefix or"
            " without.",
            "maxProperties": 64,
            "additionalProperties": crd.record(
                "How one metric is shown.",
                {
                    "enabled": {"type": "boolean", "description": "Whether it is shown. Default: true."},
                    "dropLabels": crd.listing(
                        "Labels that are left out; series that differ in nothing else are added up.",
                        crd.text("The name of a label.", minLength=1, max_length=128),
                        max_items=32,
                        **{"x-kubernetes-list-type": "set"},
                    ),
                    "buckets": crd.listing(
                        "Ascending upper bounds of a histogram's buckets. A change starts the metric again.",
                        {"type": "number"},
                        minItems=1,
                        max_items=64,
                    ),
                },
            ),
        },
        "cardinalityLimit": {
            "type": "integer",
            "format": "int32",
            "minimum": 10,
            "maximum": 100_000,
            "description": "How many series one metric may have; the last of them, with the label"
            ' otel_metric_overflow="true", counts for all others. Default: 2000.',
        },
    },
)

_LOG_LEVEL: crd.Schema = {"type": "string", "enum": list(LOG_LEVELS)}

_LOGS = crd.record(
    "What the operator logs, on standard error. What is not said here is as its flags say.",
    {
        "level": {**_LOG_LEVEL, "description": "The least that is logged."},
        "format": {
            "type": "string",
            "enum": list(LOG_FORMATS),
            "description": "Text for people, or json: one object a line.",
        },
        "loggers": {
            "type": "object",
            "description": "Levels of single loggers (kymograph.controllers.admission) and of those below them.",
            "maxProperties": 64,
            "additionalProperties": {**_LOG_LEVEL, "description": "The least that this logger logs."},
        },
    },
)

_SPEC = crd.record(
    "Where telemetry goes. A change applies at once, without a restart.",
    {
        "traces": _TRACES,
        "metrics": _METRICS,
        "logs": _LOGS,
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
