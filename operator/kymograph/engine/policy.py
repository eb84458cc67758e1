"""A compiled policy: closures for the evaluation, plain facts for webhooks, metrics, traces and reports."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from kymograph.engine import actions, conditions, variables
from kymograph.engine import budget as budgets
from kymograph.engine import context as contexts
from kymograph.engine.match import blocks


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """One rule, as written or as rewritten for the controllers of Pods.

    Attributes:
        policy: Key of the policy.
        name: Name of the rule, `autogen-...` for a rewritten one.
        base_name: Name of the rule as written.
        type: `validate`, `mutate`, `generate` or `imageVerify`.
        match: Which objects and users the rule is about, and what webhook rules it needs.
        context: The entries of its context, `images` among them if it names that; empty for most rules.
        preconditions: What must hold for the rule to apply; None for nothing.
        body: What the rule demands or does, as its type compiles it: an `outcome.Body` for `validate`.
        fixed_action: What a failure leads to, `Enforce` or `Audit`; empty where it depends on the namespace.
        action: Resolves that for a target.
        tolerates_existing: On UPDATE a violation that the old object had too is skipped.
        properties: Templates of the rule's `reportProperties`; None where they have no variables.
        plain_properties: Those properties as written.
        skips_background: Requests that the background controller itself makes are not for this rule.
        needs_roles: It looks at the roles of the user.
        concerns: Whether the rule has anything to say of an object that it matches, asked before its context and
            preconditions: that of a `verifyImages` rule is a matter of the object's images. None for all other rules.
        heeds_controls: Exceptions that name controls of the Pod Security Standards take only these out of it.
        is_plain: It has no entries (nor has a loop in it) or variable properties: only its match and its preconditions
            come before its body, and nothing else is noted of it. Nor has it `concerns`.
    """

    policy: str
    name: str
    base_name: str
    type: str
    match: blocks.Match
    context: tuple[contexts.Entry, ...]
    preconditions: conditions.Conditions | None
    body: Any
    fixed_action: str
    action: actions.Resolver
    tolerates_existing: bool
    properties: variables.Template | None
    plain_properties: Mapping[str, str]
    skips_background: bool
    needs_roles: bool
    heeds_controls: bool
    is_plain: bool
    concerns: Callable[[dict[str, Any], budgets.Budget], bool] | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RuleTable:
    """The rules of one policy and one type, in the order of their evaluation.

    Attributes:
        written: The rules for kinds that are not in `by_kind`: those written in the policy.
        by_kind: The rules for controllers of Pods, by kind: those written that may select it and those rewritten.
        every: All of them, each once.
    """

    written: tuple[CompiledRule, ...] = ()
    by_kind: Mapping[str, tuple[CompiledRule, ...]] = dataclasses.field(default_factory=dict)
    every: tuple[CompiledRule, ...] = ()

    def of(self, kind: str) -> tuple[CompiledRule, ...]:
        """The rules to be evaluated for objects of a kind."""
        return self.by_kind.get(kind, self.written)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CompiledPolicy:
    """One policy, ready to be evaluated. Compared and hashed by identity.

    Attributes:
        key: `name`, or `namespace/name` for a namespaced policy: unique over both kinds.
        kind: `ClusterPolicy` or `Policy`.
        group: `kyverno.io`.
        version: API version the policy was written in, `v1`.
        name: Name of the policy.
        namespace: Namespace of a Policy; empty for a ClusterPolicy.
        uid: Its uid; empty for a policy from a file.
        resource_version: Its resourceVersion; empty for a policy from a file.
        labels: Its labels.
        annotations: Its annotations.
        category: What the annotation `policies.kyverno.io/category` says.
        severity: What the annotation `policies.kyverno.io/severity` says.
        scored: Whether failures count; reports show those of an unscored policy as warnings.
        admission: Requests are to be evaluated.
        background: Existing objects are to be evaluated.
        emits_warnings: Audit failures are shown to the user as warnings.
        apply_one: The first rule that passes or fails is the last one evaluated.
        failure_policy: `Fail` or `Ignore`: what an error in a rule, or of the webhook, leads to.
        timeout_seconds: Wanted timeout of the webhook; None for the default.
        validation_action: `Enforce` or `Audit`, as far as known without a namespace.
        fixed_action: The action of the policy as a whole; empty where it depends on the namespace.
        action: Resolves that for a target.
        may_enforce: Some rule may block some request; errors of other policies never block.
        needs_namespace_labels: Some rule looks at the labels of the object's namespace.
        needs_roles: Some rule looks at the roles of the user.
        rules: All rules: those written and those rewritten, of every type.
        validate: The rules that judge objects, those that verify images among them if they demand anything.
        mutate: The rules that change objects.
        generate: The rules that make other objects.
        verify: The rules that verify images, when an object is changed.
        mutates_existing: `mutateExistingOnPolicyUpdate`: rules with targets run when the policy is written.
        generates_existing: `generateExisting`: generate rules run for objects that exist when the policy is written.
        server_side_apply: `useServerSideApply`: what is generated is applied, not replaced.
        document: The policy as applied; not to be changed.
        rewritten: The documents of the rules that were made for controllers of Pods, in order.
        match_conditions: CEL expressions, each with `name` and `expression`, that the API server evaluates before it
            asks about this policy; empty for most. Nobody else knows whether such a policy is about an object.
    """

    key: str
    kind: str
    group: str
    version: str
    name: str
    namespace: str
    uid: str
    resource_version: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    category: str
    severity: str
    scored: bool
    admission: bool
    background: bool
    emits_warnings: bool
    apply_one: bool
    failure_policy: str
    timeout_seconds: int | None
    validation_action: str
    fixed_action: str
    action: actions.Resolver
    may_enforce: bool
    needs_namespace_labels: bool
    needs_roles: bool
    rules: tuple[CompiledRule, ...]
    validate: RuleTable
    mutate: RuleTable
    generate: RuleTable
    verify: RuleTable
    mutates_existing: bool
    generates_existing: bool
    server_side_apply: bool
    document: Mapping[str, Any]
    rewritten: tuple[Mapping[str, Any], ...] = ()
    match_conditions: tuple[Mapping[str, str], ...] = ()

    def table(self, type_: str) -> RuleTable:
        """The rules for a purpose: `validate`, `mutate`, `generate` or `imageVerify`."""
        match type_:
            case "validate":
                return self.validate
            case "mutate":
                return self.mutate
            case "imageVerify":
                return self.verify
        return self.generate
