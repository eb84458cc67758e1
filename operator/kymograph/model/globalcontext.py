"""GlobalContextEntry of `kyverno.io`: data that is kept up to date once for the rules of all policies.

The API server checks the shape of an entry; what depends on more than one field is the webhook's, as with Kyverno. A
rule in the schema would add a line to every refusal by the schema, and tools compare these.
"""

from kymograph.model import crd, policy

GROUP = policy.GROUP
VERSION = "v2"
PLURAL = "globalcontextentries"

_LONGEST_EXPRESSION = 32_768
_LONGEST_URL = 8_192
_LONGEST_CERTIFICATES = 1_048_576

_ANYTHING: crd.Schema = {"description": "Any JSON value.", "x-kubernetes-preserve-unknown-fields": True}

_RESOURCE = crd.record(
    "Objects of the cluster, watched.",
    {
        "group": crd.text("Their API group; empty for the core group."),
        "version": crd.text("Their API version.", minLength=1),
        "resource": crd.text("Their resource in the plural and in lower case, `deployments`.", minLength=1),
        "namespace": crd.text("Their namespace; empty for all."),
    },
    required=["resource", "version"],
)

_SERVICE = crd.record(
    "A service that is not the API server.",
    {
        "url": crd.text("Where it is.", max_length=_LONGEST_URL),
        "caBundle": crd.text(
            "Certificates to trust, PEM; none for those of the system.", max_length=_LONGEST_CERTIFICATES
        ),
        "headers": crd.listing(
            "What is sent along.",
            crd.record(
                "One header.",
                {
                    "key": crd.text("Its name."),
                    "value": crd.text("Its value.", max_length=_LONGEST_URL),
                },
                required=["key", "value"],
            ),
            max_items=100,
        ),
    },
    required=["url"],
)

_API_CALL = crd.record(
    "The answer to a request, asked for again and again.",
    {
        "urlPath": crd.text("A path of the API server.", max_length=_LONGEST_URL),
        "service": _SERVICE,
        "method": {"type": "string", "description": "How to ask.", "enum": ["GET", "POST"], "default": "GET"},
        "data": crd.listing(
            "The fields of the JSON object that is posted.",
            crd.record(
                "One field.",
                {"key": crd.text("Its name."), "value": _ANYTHING},
                required=["key", "value"],
            ),
            max_items=1000,
        ),
        "refreshInterval": {
            "type": "string",
            "description": "How long an answer is kept before the next request, `10m`.",
            "format": "duration",
            "default": "10m",
            "maxLength": 64,
        },
        "retryLimit": {
            "type": "integer",
            "description": "How often a failed request is tried again.",
            "minimum": 1,
            "default": 3,
        },
    },
)

_SPEC = crd.record(
    "Where the data come from: exactly one of kubernetesResource and apiCall.",
    {
        "kubernetesResource": _RESOURCE,
        "apiCall": _API_CALL,
        "projections": crd.listing(
            "Parts of the data under names of their own, computed whenever the data change.",
            crd.record(
                "One part.",
                {
                    "name": crd.text("What rules call it.", minLength=1),
                    "jmesPath": crd.text("How it is taken from the data.", max_length=_LONGEST_EXPRESSION, minLength=1),
                },
                required=["jmesPath", "name"],
            ),
            max_items=1000,
        ),
    },
    oneOf=[{"required": ["kubernetesResource"]}, {"required": ["apiCall"]}],
)

_STATUS = crd.record(
    "What the operator made of the entry.",
    {
        "conditions": crd.conditions("Ready, and why not when it is not"),
        "lastRefreshTime": {
            "type": "string",
            "format": "date-time",
            "description": "When a request was last answered.",
        },
        "ready": {"type": "boolean", "description": "Older versions: whether there are data."},
    },
)

_SCHEMA = crd.resource(
    "Data for the rules of all policies.",
    _SPEC,
    _STATUS,
)

_COLUMNS = (
    crd.Column("AGE", "date", ".metadata.creationTimestamp"),
    crd.Column("REFRESH INTERVAL", "string", ".spec.apiCall.refreshInterval"),
    crd.Column("LAST REFRESH", "date", ".status.lastRefreshTime"),
)

GLOBAL_CONTEXT_ENTRY = crd.Kind(
    group=GROUP,
    kind="GlobalContextEntry",
    plural=PLURAL,
    namespaced=False,
    versions=(
        crd.Version("v2", _SCHEMA, storage=False, columns=_COLUMNS),
        crd.Version("v2beta1", _SCHEMA, columns=_COLUMNS),
        crd.Version("v2alpha1", _SCHEMA, storage=False, columns=_COLUMNS),
    ),
    short_names=("gctxentry",),
    categories=("kyverno",),
)
