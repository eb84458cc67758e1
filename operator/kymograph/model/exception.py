"""PolicyException of `kyverno.io`: rules that some objects are excepted from.

What narrows an exception keeps unknown fields on purpose: the API server would prune a slip of the pen silently, and
the exception would be for more objects than its author wrote. The engine judges every field when it compiles the
exception, and one that it does not understand excepts nothing.
"""

from kymograph.model import crd, policy

GROUP = policy.GROUP
VERSION = "v2"
PLURAL = "policyexceptions"

_LONGEST_POLICY = 2 * crd.MAX_NAME + 1
"""Of `namespace/name`, in characters."""

_SPEC = crd.open_record(
    "What is excepted from which rules. Every field is checked when the exception is compiled.",
    {
        "exceptions": crd.listing(
            "The rules that are excepted from.",
            crd.record(
                "Rules of one policy.",
                {
                    "policyName": crd.text(
                        "The policy: its name, or `namespace/name` of a Policy.",
                        max_length=_LONGEST_POLICY,
                        minLength=1,
                    ),
                    "ruleNames": crd.listing(
                        "Names of its rules, with `autogen-` for those made automatically. May hold wildcards.",
                        crd.text("The name of a rule."),
                        max_items=1000,
                    ),
                },
                required=["policyName", "ruleNames"],
            ),
            max_items=1000,
        ),
        "match": crd.open_record("Which objects are excepted: `any` or `all` of some filters, as in a rule."),
        "conditions": crd.open_record("What must hold as well: `any` and `all` of some conditions, as in a rule."),
        "background": {
            "type": "boolean",
            "description": "Whether the exception is for existing objects too, not only for requests; true if absent.",
        },
        "podSecurity": crd.listing(
            "Controls of Pod security that are excepted from, not whole rules.",
            crd.open_record(
                "One control.",
                {"controlName": crd.text("Its name in the Pod Security Standards.")},
                required=["controlName"],
            ),
            max_items=1000,
        ),
    },
    required=["exceptions", "match"],
)

_SCHEMA = crd.record(
    "Excepts some objects from rules of policies.",
    {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}, "spec": _SPEC},
    required=["spec"],
)

POLICY_EXCEPTION = crd.Kind(
    group=GROUP,
    kind="PolicyException",
    plural=PLURAL,
    namespaced=True,
    versions=(crd.Version("v2", _SCHEMA), crd.Version("v2beta1", _SCHEMA, storage=False)),
    short_names=("polex",),
    categories=("kyverno",),
)
