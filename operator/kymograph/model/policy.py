"""The policy kinds of `kyverno.io`: ClusterPolicy and Policy.

The schemas keep unknown fields on purpose: the API server would prune them silently, and a policy would lose a rule
without anybody noticing. The operator's own webhook judges every field instead and names the one it refuses.
"""

from kymograph.model import crd

GROUP = "kyverno.io"
VERSION = "v1"
PLURALS = {"ClusterPolicy": "clusterpolicies", "Policy": "policies"}

_STATUS = crd.open_record(
    "What the operator made of the policy.",
    {
        "ready": {"type": "boolean", "description": "Whether the policy is enforced."},
        "conditions": crd.conditions("Ready, with the problems of the policy when it is not"),
        "rulecount": crd.open_record("How many rules of each type the policy holds, as written."),
        "autogen": crd.open_record("The rules generated for Pod controllers."),
        "validatingadmissionpolicy": crd.record(
            "What became of a ValidatingAdmissionPolicy for the policy.",
            {
                "generated": {"type": "boolean", "description": "Whether there is one."},
                "message": {"type": "string", "description": "Why there is none."},
            },
        ),
        "scan": crd.record(
            "The latest scan of existing objects for the policy.",
            {
                "startedAt": {"type": "string", "format": "date-time", "description": "When it began."},
                "finishedAt": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When it ended; missing while it goes on.",
                },
                "objects": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "How many objects it looked at; missing while it goes on.",
                },
            },
        ),
    },
)

_SPEC = crd.open_record(
    "The rules and how they are enforced. Every field is checked when the policy is admitted.",
    {
        "admission": {"type": "boolean", "default": True, "description": "Whether requests are judged by it."},
        "background": {"type": "boolean", "default": True, "description": "Whether existing objects are."},
        "emitWarning": {
            "type": "boolean",
            "default": False,
            "description": "Whether what fails in Audit is a warning.",
        },
        "rules": crd.listing(
            "The rules, each with what it matches and what it demands.",
            crd.open_record("One rule.", {"name": crd.text("The rule's name, unique in the policy.", max_length=63)}),
            max_items=1000,
        ),
    },
)

_COLUMNS = (
    crd.Column("Admission", "boolean", ".spec.admission"),
    crd.Column("Background", "boolean", ".spec.background"),
    crd.Column("Ready", "string", '.status.conditions[?(@.type == "Ready")].status'),
    crd.Column("Age", "date", ".metadata.creationTimestamp"),
    crd.Column("Failure Policy", "string", ".spec.failurePolicy", priority=1),
    crd.Column("Validate", "integer", ".status.rulecount.validate", priority=1),
    crd.Column("Mutate", "integer", ".status.rulecount.mutate", priority=1),
    crd.Column("Generate", "integer", ".status.rulecount.generate", priority=1),
    crd.Column("Verify Images", "integer", ".status.rulecount.verifyimages", priority=1),
    crd.Column("Message", "string", '.status.conditions[?(@.type == "Ready")].message'),
    crd.Column("Scanned", "date", ".status.scan.finishedAt", priority=1),
)


def _kind(kind: str, short_name: str, description: str, *, namespaced: bool) -> crd.Kind:
    schema = crd.resource(description, _SPEC, _STATUS)
    return crd.Kind(
        group=GROUP,
        kind=kind,
        plural=PLURALS[kind],
        namespaced=namespaced,
        versions=(
            crd.Version("v1", schema, columns=_COLUMNS),
            crd.Version("v2beta1", schema, storage=False, columns=_COLUMNS),
        ),
        short_names=(short_name,),
        categories=("kyverno",),
    )


CLUSTER_POLICY = _kind("ClusterPolicy", "cpol", "Rules for resources of the whole cluster.", namespaced=False)
POLICY = _kind("Policy", "pol", "Rules for resources of the policy's own namespace.", namespaced=True)
