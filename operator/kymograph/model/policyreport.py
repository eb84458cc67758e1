"""PolicyReport and ClusterPolicyReport (`wgpolicyk8s.io/v1alpha2`): what policies found in one object, for all to read.

The format of the Kubernetes Policy working group, shared with other tools (Kyverno, Trivy, Falco, Policy Reporter), so
the schema has the group's fields, those that only others write too, and no limits of our own: a report of another tool
that was taken before is taken with our definition as well.
"""

from kymograph.model import crd

GROUP = "wgpolicyk8s.io"
VERSION = "v1alpha2"
API_VERSION = f"{GROUP}/{VERSION}"
PLURALS = {"PolicyReport": "policyreports", "ClusterPolicyReport": "clusterpolicyreports"}

RESULTS = ("pass", "fail", "warn", "error", "skip")
"""What a result can be, in the order in which `kubectl get` counts them."""

SEVERITIES = ("critical", "high", "medium", "low", "info")


def _reference(description: str) -> crd.Schema:
    fields = ("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid")
    return crd.record(
        description, {field: {"type": "string"} for field in fields}, **{"x-kubernetes-map-type": "atomic"}
    )


def _selector(description: str) -> crd.Schema:
    expression = crd.record(
        "One requirement.",
        {
            "key": {"type": "string"},
            "operator": {"type": "string"},
            "values": {"type": "array", "items": {"type": "string"}},
        },
        required=["key", "operator"],
    )
    return crd.record(
        description,
        {
            "matchExpressions": {"type": "array", "items": expression},
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        **{"x-kubernetes-map-type": "atomic"},
    )


_RESULT = crd.record(
    "What one rule of one policy found.",
    {
        "source": {"type": "string", "description": "Who found it; `kyverno` for policies of kyverno.io."},
        "policy": {"type": "string", "description": "The policy, `name` or `namespace/name`."},
        "rule": {"type": "string", "description": "The rule."},
        "result": {"type": "string", "enum": list(RESULTS), "description": "What became of the rule."},
        "message": {"type": "string", "description": "Why."},
        "scored": {"type": "boolean", "description": "Whether a failure counts."},
        "severity": {"type": "string", "enum": list(SEVERITIES), "description": "How bad a failure is."},
        "category": {"type": "string", "description": "What the policy is about."},
        "timestamp": crd.record(
            "When it was found.",
            {
                "seconds": {"type": "integer", "format": "int64", "description": "Since 1970-01-01T00:00:00Z."},
                "nanos": {"type": "integer", "format": "int32", "description": "Nanoseconds within the second."},
            },
            required=["seconds", "nanos"],
        ),
        "properties": {
            "type": "object",
            "description": "Whatever else is known: how it was found, what the rule adds.",
            "additionalProperties": {"type": "string"},
        },
        "resources": {
            "type": "array",
            "description": "The objects it was found in, where the report has no scope.",
            "items": _reference("One object."),
        },
        "resourceSelector": _selector("The objects it was found in, by their labels."),
    },
    required=["policy"],
)

_SUMMARY = crd.record(
    "How many results of each kind the report holds.", {result: {"type": "integer"} for result in RESULTS}
)

_COLUMNS = (
    crd.Column("Kind", "string", ".scope.kind"),
    crd.Column("Object", "string", ".scope.name"),
    *(crd.Column(result.title(), "integer", f".summary.{result}") for result in RESULTS),
    crd.Column("Age", "date", ".metadata.creationTimestamp"),
)


def _kind(kind: str, short_name: str, description: str, *, namespaced: bool) -> crd.Kind:
    schema = crd.record(
        description,
        {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "scope": _reference("The object that the report is about."),
            "scopeSelector": _selector("The objects that the report is about, by their labels."),
            "results": {"type": "array", "description": "What was found.", "items": _RESULT},
            "summary": _SUMMARY,
        },
    )
    return crd.Kind(
        group=GROUP,
        kind=kind,
        plural=PLURALS[kind],
        namespaced=namespaced,
        versions=(crd.Version(VERSION, schema, columns=_COLUMNS),),
        short_names=(short_name,),
    )


POLICY_REPORT = _kind("PolicyReport", "polr", "What policies found in an object of a namespace.", namespaced=True)
CLUSTER_POLICY_REPORT = _kind(
    "ClusterPolicyReport", "cpolr", "What policies found in an object without a namespace.", namespaced=False
)
