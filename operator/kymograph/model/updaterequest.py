"""UpdateRequest of `kyverno.io`: work that a request or a policy asks for, kept until it is done.

The shape is Kyverno's, so that its tools read ours and either operator can work off what the other has left. What the
admission request was like is kept as it is: the schema does not describe what the API server has described already.
"""

from kymograph.model import crd, policy

GROUP = policy.GROUP
VERSION = "v2"
PLURAL = "updaterequests"

_LONGEST_KEY = 2 * crd.MAX_NAME + 1
"""Of `namespace/name`, in characters."""


def _reference(description: str) -> crd.Schema:
    return crd.record(
        description,
        {
            "apiVersion": crd.text("Its API version, `apps/v1`."),
            "kind": crd.text("Its kind."),
            "namespace": crd.text("Its namespace; empty for objects of the cluster."),
            "name": crd.text("Its name."),
            "uid": crd.text("Its uid."),
        },
    )


_RULE = crd.text("The name of the rule.", max_length=63)
_DELETE = {"type": "boolean", "description": "What was generated has lost its reason and is to be deleted."}
_SYNCHRONIZE = {"type": "boolean", "description": "What is generated follows its rule, source and trigger."}

_SPEC = crd.record(
    "What is to be done.",
    {
        "requestType": {
            "type": "string",
            "description": "What the rule does: `generate`, or `mutate` objects that exist.",
            "enum": ["mutate", "generate", "cel-generate", "cel-mutate"],
        },
        "policy": crd.text("The policy: its name, or `namespace/name` of a Policy.", max_length=_LONGEST_KEY),
        "rule": _RULE,
        "resource": _reference("The object because of which it is to be done."),
        "ruleContext": crd.listing(
            "The rules of a policy that generate.",
            crd.record(
                "One rule.",
                {
                    "rule": _RULE,
                    "trigger": _reference("The object because of which it is to be done."),
                    "deleteDownstream": _DELETE,
                    "synchronize": _SYNCHRONIZE,
                    "cacheRestore": {"type": "boolean", "description": "Of no meaning here."},
                },
                required=["rule"],
            ),
            max_items=1000,
        ),
        "synchronize": _SYNCHRONIZE,
        "deleteDownstream": _DELETE,
        "context": crd.record(
            "The admission request.",
            {
                "userInfo": crd.open_record("Who made it."),
                "admissionRequestInfo": crd.record(
                    "The request itself.",
                    {
                        "admissionRequest": crd.open_record("As the API server sent it, without the object."),
                        "operation": crd.text("`CREATE`, `UPDATE`, `DELETE` or `CONNECT`."),
                    },
                ),
            },
        ),
    },
    required=["policy"],
)

_STATUS = crd.record(
    "How far it is.",
    {
        "state": crd.text("`Pending`, `Completed`, `Failed` or `Skip`."),
        "message": crd.text("Why.", max_length=32_768),
        "generatedResources": crd.listing(
            "The objects that were written or deleted.", _reference("One object."), max_items=10_000
        ),
        "retryCount": {"type": "integer", "description": "How often it has failed so far.", "minimum": 0},
    },
    required=["state"],
)

UPDATE_REQUEST = crd.Kind(
    group=GROUP,
    kind="UpdateRequest",
    plural=PLURAL,
    namespaced=True,
    versions=(
        crd.Version(
            VERSION,
            crd.resource("Work that a request or a policy asks for.", _SPEC, _STATUS),
            columns=(
                crd.Column("Policy", "string", ".spec.policy"),
                crd.Column("RuleType", "string", ".spec.requestType"),
                crd.Column("ResourceKind", "string", ".spec.resource.kind"),
                crd.Column("ResourceName", "string", ".spec.resource.name"),
                crd.Column("ResourceNamespace", "string", ".spec.resource.namespace"),
                crd.Column("status", "string", ".status.state"),
                crd.Column("Age", "date", ".metadata.creationTimestamp"),
            ),
        ),
    ),
    short_names=("ur",),
    categories=("kyverno",),
)
