"""CleanupPolicy and ClusterCleanupPolicy of `kyverno.io`: objects that are deleted by the clock.

What narrows a policy keeps unknown fields on purpose: the API server would prune a slip of the pen silently, and more
would be deleted than the author wrote. The operator's webhook judges every field; a policy that does not compile
deletes nothing.
"""

from kymograph.model import crd, policy

GROUP = policy.GROUP
VERSION = "v2"
PLURALS = {"CleanupPolicy": "cleanuppolicies", "ClusterCleanupPolicy": "clustercleanuppolicies"}

_LONGEST_SCHEDULE = 1024

_SPEC = crd.open_record(
    "What is deleted, and when. Every field is checked when the policy is admitted.",
    {
        "schedule": crd.text(
            "When it runs: five fields of cron, `@daily`, `@every 2h`; a time zone may stand before them, "
            "`CRON_TZ=Europe/Oslo 0 3 * * *`.",
            max_length=_LONGEST_SCHEDULE,
            minLength=1,
        ),
        "match": crd.open_record("Which objects are deleted: `any` or `all` of some filters, as in a rule."),
        "exclude": crd.open_record("Which of them are spared: `any` or `all` of some filters."),
        "conditions": crd.open_record(
            "What must hold of an object as well: `any` and `all` of some conditions about `target`.",
            {
                form: crd.listing(description, crd.open_record("One condition."), max_items=1000)
                for form, description in (("any", "One of these."), ("all", "All of these."))
            },
        ),
        "context": crd.listing(
            "What conditions may name: entries of the types apiCall, globalReference and variable.",
            crd.open_record("One entry.", {"name": crd.text("What conditions call it.")}, required=["name"]),
            max_items=1000,
        ),
        "deletionPropagationPolicy": {
            "type": "string",
            "description": "What becomes of the dependents of what is deleted; the kind's default if absent.",
            "enum": ["Foreground", "Background", "Orphan"],
        },
    },
    required=["match", "schedule"],
)

_STATUS = crd.record(
    "What the operator made of the policy.",
    {
        "conditions": crd.conditions(
            "Ready, with the problems of the policy when it is not, and what the last run did"
        ),
        "lastExecutionTime": {
            "type": "string",
            "format": "date-time",
            "description": "When the policy ran last.",
        },
    },
)

_COLUMNS = (
    crd.Column("Schedule", "string", ".spec.schedule"),
    crd.Column("Last Run", "date", ".status.lastExecutionTime", priority=1),
    crd.Column("Age", "date", ".metadata.creationTimestamp"),
)


def _kind(kind: str, short_name: str, description: str, *, namespaced: bool) -> crd.Kind:
    schema = crd.resource(description, _SPEC, _STATUS)
    return crd.Kind(
        group=GROUP,
        kind=kind,
        plural=PLURALS[kind],
        namespaced=namespaced,
        versions=(
            crd.Version("v2", schema, columns=_COLUMNS),
            crd.Version("v2beta1", schema, storage=False, columns=_COLUMNS),
        ),
        short_names=(short_name,),
        categories=("kyverno",),
    )


CLEANUP_POLICY = _kind(
    "CleanupPolicy", "cleanpol", "Deletes objects of its own namespace by the clock.", namespaced=True
)
CLUSTER_CLEANUP_POLICY = _kind(
    "ClusterCleanupPolicy", "ccleanpol", "Deletes objects of the whole cluster by the clock.", namespaced=False
)
