"""TracingConfiguration (`kymograph.dev/v1alpha1`): where telemetry goes and how much of it, changed while running.

The kind is named after the component configuration of kube-apiserver and kubelet, whose two fields (`endpoint`,
`samplingRatePerMillion`) it shares. It is cluster-scoped and only the name `default` is accepted.
"""

from typing import Any

from kymograph.model import crd, otlpexporter, tracinglogs, tracingstatus

GROUP = "kymograph.dev"
VERSION = "v1alpha1"
KIND = "TracingConfiguration"
PLURAL = "tracingconfigurations"
NAME = "default"

PARENT_MODES = ("respect", "link", "ignore")

CONTROLLERS = ("admission", "background", "cleanup", "reports")
TEMPORALITIES = ("cumulative", "delta")
HISTOGRAMS = ("explicit", "exponential")
PREFIXES = ("", "kyverno_")
AUTHORIZATIONS = ("none", "kubernetes")
PROPAGATORS = ("tracecontext", "baggage", "b3", "b3multi")

MOST_ADDITIONAL = 4
"""Destinations of traces beside the first; each may hold as many spans as that."""

_OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_POLICY_NAME = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_IN_URL = r"[^\s{}\"<>\\^`|]"
_TRACE_URL = (
    r"^https?://[^\s{}\"<>\\^`|@/?#]+[/?#]"
    rf"({_IN_URL}|\{{span_id\}})*\{{trace_id\}}({_IN_URL}|\{{(trace_id|span_id)\}})*$"
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

_GLOB = r"^[a-z0-9*?]([-a-z0-9.*?]*[a-z0-9*?])?$"
_POLICY_GLOB = r"^([a-z0-9*?]([-a-z0-9*?]*[a-z0-9*?])?/)?[a-z0-9*?]([-a-z0-9.*?]*[a-z0-9*?])?$"

_SAMPLING_RULES = crd.listing(
    "Other rates for traces without a sampling parent; the first that fits counts. One that names policies is decided"
    " when the request ends.",
    crd.record(
        "A rate for those that fit all that is said here.",
        {
            "namespaces": crd.listing(
                "Objects in one of these namespaces; those in none never fit.",
                crd.text("A pattern of names: * is any run of characters, ? is one.", max_length=63, pattern=_GLOB),
                max_items=64,
                **{"x-kubernetes-list-type": "set"},
            ),
            "policies": crd.listing(
                "Requests that one of these policies was applied to.",
                crd.text(
                    "A pattern of a ClusterPolicy's name, or of namespace/name of a Policy.",
                    max_length=317,
                    pattern=_POLICY_GLOB,
                ),
                max_items=64,
                **{"x-kubernetes-list-type": "set"},
            ),
            "controllers": crd.listing(
                "Traces of these controllers.",
                {"type": "string", "enum": list(CONTROLLERS)},
                max_items=len(CONTROLLERS),
                **{"x-kubernetes-list-type": "set"},
            ),
            "samplingRatePerMillion": {**_RATE, "description": "How many of a million are traced."},
        },
        required=["samplingRatePerMillion"],
    ),
    max_items=64,
    **{"x-kubernetes-list-type": "atomic"},
)

_ADDITIONAL = crd.listing(
    "Further receivers of the same spans; each has a queue of its own, and none waits for another.",
    crd.record(
        "One receiver.",
        {
            "name": crd.text(
                "What it is called in the status and in metrics.", minLength=1, max_length=63, pattern=_OBJECT_NAME
            ),
            **otlpexporter.fields("The receiver as host:port."),
        },
        required=["name", "endpoint"],
        **{"x-kubernetes-validations": list(otlpexporter.RULES)},
    ),
    max_items=MOST_ADDITIONAL,
    **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
)

_TRACES = crd.record(
    "Export of traces over OTLP. Absent: nothing is exported. Empty: to localhost:4317 in plaintext.",
    {
        **otlpexporter.fields("The collector as host:port. Default: localhost:4317, or 4318 with http/protobuf."),
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
                "How many traces that callers can force are made in a second by each replica, by a trace context or, "
                "where nobody knows who they are, by requests that a keep rule keeps: forged ones cannot flood the "
                "collector. Default: 1000."
            ),
        },
        "keep": _KEEP,
        "controllers": _CONTROLLERS,
        "samplingRules": _SAMPLING_RULES,
        "decisionLink": crd.text(
            "The URL at which the trace of a denial can be looked at, in which {trace_id} and {span_id} stand for those"
            " of the review. Denials then carry it, and keep.denied is true unless it is said to be false."
            " Default: denials carry none.",
            max_length=512,
            **{
                "x-kubernetes-validations": [
                    crd.form(
                        _TRACE_URL,
                        "must be a URL with {trace_id}, and perhaps {span_id}, in it:"
                        " https://jaeger.example/trace/{trace_id}",
                    )
                ]
            },
        ),
        "additional": _ADDITIONAL,
        "attributes": crd.record(
            "What spans say beyond the usual.",
            {"user": {"type": "boolean", "description": "Name, uid and groups of who made a request. Default: false."}},
        ),
    },
    **{"x-kubernetes-validations": list(otlpexporter.RULES)},
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
                "tls": crd.record(
                    "Serve them over TLS 1.2 or later. Absent: plain HTTP.",
                    {
                        "certificateSecretRef": crd.record(
                            "The certificate that is presented: entries tls.crt and tls.key.",
                            {"name": otlpexporter.secret_name()},
                            required=["name"],
                        )
                    },
                    required=["certificateSecretRef"],
                ),
                "authorization": {
                    "type": "string",
                    "enum": list(AUTHORIZATIONS),
                    "description": "Who may scrape: none, everybody (the default); kubernetes, whoever shows a token"
                    " that the API server knows, and may get the path /metrics.",
                },
            },
            **{
                "x-kubernetes-validations": [
                    crd.rule(
                        "!has(self.authorization) || self.authorization == 'none' || has(self.tls)",
                        "authorization needs tls: a token must not be shown in plaintext",
                    )
                ]
            },
        ),
        "otlp": crd.record(
            "Metrics pushed over OTLP, beside being scraped. Absent: not pushed. Empty: to localhost in plaintext.",
            {
                **otlpexporter.fields(
                    "The receiver as host:port. Default: localhost:4317, or 4318 with http/protobuf."
                ),
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
                "histograms": {
                    "type": "string",
                    "enum": list(HISTOGRAMS),
                    "description": "In which buckets distributions are pushed: explicit, those of a scrape (the"
                    " default); exponential, eight for each doubling.",
                },
            },
            **{"x-kubernetes-validations": list(otlpexporter.RULES)},
        ),
        "prefix": {
            "type": "string",
            "enum": list(PREFIXES),
            "description": "Stands before the names of the metrics that Kyverno has too: kyverno_ gives its very names,"
            " for its dashboards and alerts. Default: none.",
        },
        "byNamespace": {
            "type": "boolean",
            "description": "Whether metrics show the label resource_namespace: each has so many times more series."
            " Default: only with the prefix kyverno_.",
        },
        "unified": {
            "type": "boolean",
            "description": "Whether policy_results_total and its like have policies of every kind, by policy_type; else"
            " only ClusterPolicies and Policies, as in Kyverno. Default: not with the prefix kyverno_.",
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
                        "Labels that are left out; series that differ in nothing else are added up. Default:"
                        " resource_namespace where byNamespace does not ask for it.",
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

_SPEC = crd.record(
    "Where telemetry goes. A change applies at once, without a restart.",
    {
        "traces": _TRACES,
        "metrics": _METRICS,
        "logs": tracinglogs.LOGS,
        "propagators": crd.listing(
            "In which forms a caller's trace is looked for in a request to a webhook (the first that is there counts),"
            " and in which those we call are told of ours. Default: tracecontext, baggage.",
            {"type": "string", "enum": list(PROPAGATORS)},
            max_items=len(PROPAGATORS),
            **{"x-kubernetes-list-type": "atomic"},
        ),
        "resourceAttributes": {
            "type": "object",
            "description": "Attributes on everything the operator emits, such as k8s.cluster.name.",
            "maxProperties": 64,
            "additionalProperties": {"type": "string", "maxLength": 1024},
            "x-kubernetes-validations": [
                crd.rule(
                    "self.all(name, name.matches('^[^ ]{1,255}$'))",
                    "must have names of 1 to 255 characters without spaces, such as k8s.cluster.name",
                )
            ],
        },
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
                "Where the operator sends its traces, metrics and logs, and how much of them.",
                _SPEC,
                tracingstatus.STATUS,
                **{
                    "x-kubernetes-validations": [
                        crd.rule(
                            f"self.metadata.name == '{NAME}'",
                            f"metadata.name: only one TracingConfiguration applies, it must be named '{NAME}'",
                        )
                    ]
                },
            ),
            columns=tracingstatus.COLUMNS,
        ),
    ),
    short_names=("tracing",),
    categories=("kymograph",),
)


def default() -> dict[str, Any]:
    """The resource that users edit: it says nothing, since what it says would win over flags and variables."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": NAME},
        "spec": {},
    }
