"""From a ClusterPolicy or Policy as applied to a compiled policy, or to everything that is wrong with it.

Reads the policy's own fields, has its rules compiled as written and as rewritten for the controllers of Pods, and
refuses by name whatever is not implemented.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.apimachinery import gvk, objectkey
from kymograph.engine import actions, fields, policy, validation, wellformed
from kymograph.engine.autogen import controllers, rewrite
from kymograph.engine.rules import reading

GROUP = "kyverno.io"
VERSIONS = ("v1", "v2beta1")
KINDS = ("ClusterPolicy", "Policy")

_LONGEST_NAME = 63  # the policy's name becomes a label value
_MOST_CONDITIONS = 64  # of one webhook, as API servers count
_CONDITION_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)
MOST_RULES = 500
"""Rules of a policy, as they are written: far more than any has, and as many as are compiled in about half a second,
during which nobody else is answered."""

_TIMEOUT_REASON = "the timeout value must be between 1 and 30 seconds"
_SPEC = (
    "rules",
    "applyRules",
    "failurePolicy",
    "validationFailureAction",
    "validationFailureActionOverrides",
    "emitWarning",
    "admission",
    "background",
    "schemaValidation",
    "webhookTimeoutSeconds",
    "webhookConfiguration",
    "mutateExistingOnPolicyUpdate",
    "generateExisting",
    "generateExistingOnPolicyUpdate",
    "useServerSideApply",
)


class _Rewritten(NamedTuple):
    kinds: tuple[str, ...]
    rule: policy.CompiledRule
    document: Mapping[str, Any]


def compile_policy(document: Mapping[str, Any], *, admits_signed: bool = False) -> policy.CompiledPolicy:
    """Compile a policy.

    Args:
        document: The object, `kyverno.io/v1` or `v2beta1`, ClusterPolicy or Policy; it is not changed.
        admits_signed: Rules that demand signatures of images are compiled, and end in an error for each image that they
            would have to check. For command lines, which show that; a cluster must not take what it cannot enforce.

    Raises:
        PolicyInvalid: With all problems that were found.
    """
    problems = fields.Problems()
    wellformed.check(document, problems)
    problems.raise_if_any()
    top = fields.Fields(document, "", problems, ("apiVersion", "kind", "metadata", "spec", "status"))
    group, version = gvk.split_api_version(top.text("apiVersion"))
    kind = top.text("kind", among=KINDS)
    if group != GROUP or version not in VERSIONS:
        problems.add("apiVersion", f"must be {' or '.join(f'{GROUP}/{each}' for each in VERSIONS)}")
    metadata = _metadata(top.raw("metadata"), kind, problems)
    spec = fields.Fields(top.raw("spec"), "spec", problems, _SPEC)
    background = spec.boolean("background", default=True)
    admission = spec.boolean("admission", default=True)
    if not background and not admission:
        problems.add("spec", "disabling both admission and background processing is not allowed")
    spec.boolean("schemaValidation", default=True)
    emits_warnings = spec.boolean("emitWarning", default=False)
    apply_one = spec.text("applyRules", "All", among=("All", "One")) == "One"
    mutates_existing = spec.boolean("mutateExistingOnPolicyUpdate", default=False)
    generates_existing = spec.boolean("generateExisting", default=False)
    server_side_apply = spec.boolean("useServerSideApply", default=False)
    if "generateExistingOnPolicyUpdate" in spec:
        spec.wrong(
            "generateExistingOnPolicyUpdate",
            "remove the deprecated field and use spec.generate[*].generateExisting instead",
        )
    declared = actions.read(spec, "validationFailureAction", "validationFailureActionOverrides")
    if kind == "Policy" and declared.overrides:
        spec.wrong(
            "validationFailureActionOverrides",
            "Use of validationFailureActionOverrides is supported only with ClusterPolicy",
        )
    failure_policy, timeout, match_conditions = _webhook(spec, problems)
    annotations = metadata["annotations"]
    if annotations.get(controllers.ANNOTATION) == "all":
        problems.add(
            f"metadata.annotations[{controllers.ANNOTATION}]",
            "Autogen annotation does not support 'all' anymore, remove the annotation or set it to a valid value",
        )
    reader = reading.Reader(
        declared, problems, policy=metadata["key"], namespace=metadata["namespace"], admits_signed=admits_signed
    )
    rules = spec.raw("rules")
    if isinstance(rules, list) and len(rules) > MOST_RULES:
        problems.add("spec.rules", f"has more than {MOST_RULES} rules; make several policies of them")
        problems.raise_if_any()
    written = _written_rules(spec, reader, problems)
    validation.check(document, problems)
    problems.raise_if_any()
    documents = [entry for entry, _ in spec.items("rules")]
    rewritten = _rewritten_rules(documents, annotations, reader)
    problems.raise_if_any()
    written_rules = tuple(each.rule for each in written)
    every_rule = (*written_rules, *(each.rule for each in rewritten))
    of_rules = [each.declared for each in written]
    return policy.CompiledPolicy(
        kind=kind,
        group=group,
        version=version,
        category=annotations.get("policies.kyverno.io/category", ""),
        severity=annotations.get("policies.kyverno.io/severity", ""),
        scored=annotations.get("policies.kyverno.io/scored", "") != "false",
        admission=admission,
        background=background,
        emits_warnings=emits_warnings,
        apply_one=apply_one,
        failure_policy=failure_policy,
        timeout_seconds=timeout,
        validation_action=actions.without_overrides((*of_rules, declared)),
        fixed_action=actions.fixed((*of_rules, declared)),
        action=actions.resolver((*of_rules, declared)),
        may_enforce=any(each.may_enforce for each in (*of_rules, declared)),
        needs_namespace_labels=any(each.needs_namespace_labels for each in (*of_rules, declared))
        or any(rule.match.needs_namespace_labels for rule in every_rule),
        needs_roles=any(rule.needs_roles for rule in every_rule),
        rules=every_rule,
        validate=_table(_judges, written_rules, rewritten),
        mutate=_table(_is_of("mutate"), written_rules, rewritten),
        generate=_table(_is_of("generate"), written_rules, rewritten),
        verify=_table(_is_of("imageVerify"), written_rules, rewritten),
        mutates_existing=mutates_existing,
        generates_existing=generates_existing,
        server_side_apply=server_side_apply,
        document=document,
        rewritten=tuple(each.document for each in rewritten),
        match_conditions=match_conditions,
        **metadata,
    )


def _metadata(document: Any, kind: str, problems: fields.Problems) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        problems.add("metadata", "must be an object with a name")
        document = {}
    # What else metadata holds is the API server's and tools' own.
    metadata = fields.Fields(document, "metadata", problems, tuple(document))
    name, namespace = metadata.text("name"), metadata.text("namespace")
    if not name:
        metadata.wrong("name", "a policy needs a name")
    elif len(name) > _LONGEST_NAME:
        metadata.wrong("name", f"may not be longer than {_LONGEST_NAME} bytes")
    if kind == "ClusterPolicy" and namespace:
        metadata.wrong("namespace", "A clusterpolicy should not have the namespace defined")
    if kind == "Policy":
        namespace = namespace or "default"
    return {
        "key": objectkey.of(namespace, name),
        "name": name,
        "namespace": namespace,
        "uid": metadata.text("uid"),
        "resource_version": metadata.text("resourceVersion"),
        "labels": metadata.table("labels"),
        "annotations": metadata.table("annotations"),
    }


def _webhook(spec: fields.Fields, problems: fields.Problems) -> tuple[str, int | None, tuple[Mapping[str, str], ...]]:
    """The failure policy and the timeout, each of which has an old and a new place, and the match conditions."""
    webhook = fields.Fields(
        spec.raw("webhookConfiguration"),
        spec.at("webhookConfiguration"),
        problems,
        ("failurePolicy", "timeoutSeconds", "matchConditions"),
    )
    if "failurePolicy" in spec and "failurePolicy" in webhook:
        spec.wrong(
            "failurePolicy",
            "remove the deprecated field and use spec.webhookConfiguration.failurePolicy instead",
        )
    if "webhookTimeoutSeconds" in spec and "timeoutSeconds" in webhook:
        spec.wrong(
            "webhookTimeoutSeconds",
            "remove the deprecated field and use spec.webhookConfiguration.timeoutSeconds instead",
        )
    old = spec.text("failurePolicy", among=("Fail", "Ignore"))
    new = webhook.text("failurePolicy", among=("Fail", "Ignore"))
    old_timeout = spec.integer("webhookTimeoutSeconds", 1, 30, _TIMEOUT_REASON)
    new_timeout = webhook.integer("timeoutSeconds", 1, 30, _TIMEOUT_REASON)
    timeout = new_timeout if new_timeout is not None else old_timeout
    return new or old or "Fail", timeout, _match_conditions(webhook)


def _match_conditions(webhook: fields.Fields) -> tuple[Mapping[str, str], ...]:
    """The conditions that API servers evaluate; only their form is looked at here, CEL is theirs."""
    entries = webhook.items("matchConditions")
    if len(entries) > _MOST_CONDITIONS:
        webhook.wrong("matchConditions", f"may not be more than {_MOST_CONDITIONS}")
    found: dict[str, Mapping[str, str]] = {}
    for entry, path in entries:
        condition = fields.Fields(entry, path, webhook.problems, ("name", "expression"))
        name, expression = condition.text("name"), condition.text("expression")
        if not _CONDITION_NAME.fullmatch(name):
            condition.wrong("name", "must be a qualified name: letters, digits, '-', '_' and '.'")
        elif name in found:
            condition.wrong("name", f"Duplicate value: '{name}'")
        if not expression.strip():
            condition.wrong("expression", "must not be empty")
        found[name] = {"name": name, "expression": expression}
    return tuple(found.values())


def _written_rules(spec: fields.Fields, reader: reading.Reader, problems: fields.Problems) -> list[reading.ReadRule]:
    entries = spec.items("rules")
    if not entries:
        spec.wrong("rules", "a policy needs at least one rule")
    names: set[str] = set()
    read = []
    for entry, path in entries:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if isinstance(name, str) and name in names:
            problems.add(f"{path}.name", f"Duplicate rule name: '{name}'")
        elif isinstance(name, str):
            names.add(name)
        found = reader.read(entry, path)
        if found is not None:
            read.append(found)
    return read


def _rewritten_rules(
    documents: Sequence[Mapping[str, Any]], annotations: Mapping[str, str], reader: reading.Reader
) -> list[_Rewritten]:
    """The rules for controllers, in the order of the rules they were made from."""
    wanted = controllers.wanted(documents, annotations)
    others = tuple(kind for kind in wanted if kind != controllers.CRON_JOB)
    rewritten = []
    for index, document in enumerate(documents):
        variants = []
        if others:
            variants.append((others, rewrite.for_controllers(document, others)))
        if len(others) < len(wanted):
            variants.append(((controllers.CRON_JOB,), rewrite.for_cron_jobs(document, wanted)))
        for kinds, variant in variants:
            read = reader.read(variant, f"spec.rules[{index}]", str(document["name"])) if variant else None
            if variant and read:
                rewritten.append(_Rewritten(kinds, read.rule, variant))
    return rewritten


def _is_of(type_: str) -> Callable[[policy.CompiledRule], bool]:
    return lambda rule: rule.type == type_


def _judges(rule: policy.CompiledRule) -> bool:
    return rule.type == "validate" or (rule.type == "imageVerify" and rule.body.judges)


def _table(
    is_meant: Callable[[policy.CompiledRule], bool],
    written: Sequence[policy.CompiledRule],
    rewritten: Sequence[_Rewritten],
) -> policy.RuleTable:
    """The rules for a purpose by the kinds that they can matter to, in the order of their evaluation.

    A rewritten rule is for its controllers only, even if another filter of it still selects other kinds.
    """
    own = tuple(rule for rule in written if is_meant(rule))
    others = [each for each in rewritten if is_meant(each.rule)]
    by_kind = {}
    for kind in dict.fromkeys(kind for each in rewritten for kind in each.kinds):
        rules = [rule for rule in own if not rule.name.startswith(rewrite.PREFIX) and rule.match.may_select(kind)]
        rules += [each.rule for each in others if kind in each.kinds]
        by_kind[kind] = tuple(rules)
    return policy.RuleTable(own, by_kind, (*own, *(each.rule for each in others)))
