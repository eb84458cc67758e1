"""One rule of a policy, read and compiled."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kymograph.engine import actions, conditions, errors, fields, policy, variables
from kymograph.engine import context as contexts
from kymograph.engine.generate import body as generation
from kymograph.engine.images import body as verification
from kymograph.engine.images import extraction
from kymograph.engine.match import blocks
from kymograph.engine.mutate import body as mutation
from kymograph.engine.rules import checks, foreach, message, outcome, podsecurity

_OPERATIONS = ("mutate", "validate", "generate", "verifyImages")
_REFUSED_IN_RULE = {"celPreconditions": "celPreconditions are"}
_RULE = (
    "name",
    "match",
    "exclude",
    "context",
    "preconditions",
    "validate",
    "mutate",
    "generate",
    "verifyImages",
    "imageExtractors",
    "skipBackgroundRequests",
    "reportProperties",
)
_BODIES = ("pattern", "anyPattern", "deny", "foreach", "podSecurity")
_REFUSED_IN_VALIDATE = {"cel": "validate.cel is", "manifests": "validate.manifests is"}
_VALIDATE = (
    *_BODIES,
    "assert",  # accepted and never looked at, as in Kyverno
    "message",
    "failureAction",
    "failureActionOverrides",
    "allowExistingViolations",
)
_LONGEST_NAME = 63


class ReadRule(NamedTuple):
    """A compiled rule and what it says about its action."""

    rule: policy.CompiledRule
    declared: actions.Declared


class Reader:
    """Reads the rules of one policy.

    Args:
        declared: What the policy says about the action.
        problems: Where to note what is wrong.
        policy: Key of the policy.
        namespace: Namespace of the policy, beyond which its rules may not look; empty for a policy of the cluster.
        admits_signed: Rules that demand signatures of images are compiled.
    """

    def __init__(
        self,
        declared: actions.Declared,
        problems: fields.Problems,
        *,
        policy: str = "",
        namespace: str = "",
        admits_signed: bool = False,
    ) -> None:
        self._declared = declared
        self._problems = problems
        self._policy = policy
        self._namespace = namespace
        self._admits_signed = admits_signed

    def read(self, document: Any, path: str, base_name: str = "") -> ReadRule | None:
        """Compile a rule; None if anything is wrong with it.

        Args:
            document: The rule, as written or rewritten.
            path: Path of the rule as written.
            base_name: Name of the rule as written; empty for that rule itself.
        """
        before = len(self._problems)
        rule = fields.Fields(document, path, self._problems, _RULE, _REFUSED_IN_RULE)
        name = rule.text("name")
        if not name:
            rule.wrong("name", "a rule needs a name")
        elif not base_name and len(name) > _LONGEST_NAME:
            rule.wrong("name", f"may not be longer than {_LONGEST_NAME} characters")
        if not isinstance(document, Mapping):
            return None
        self._check_operations(rule, name)
        skips_background = rule.boolean("skipBackgroundRequests", default=True)
        match = blocks.read(document, path, self._problems)
        entries = contexts.compile(rule.items("context"), self._problems, namespace=self._namespace)
        expressions = checks.expressions(document)
        extractors = extraction.read(rule)
        if checks.mention_images(expressions):
            entries = (contexts.IMAGES if extractors is None else contexts.images_by(extractors), *entries)
        preconditions = self._preconditions(rule)
        validate = fields.Fields(
            rule.raw("validate"), rule.at("validate"), self._problems, _VALIDATE, _REFUSED_IN_VALIDATE
        )
        declared = actions.read(validate, "failureAction", "failureActionOverrides")
        tolerates = validate.boolean("allowExistingViolations", default=True)
        kind, body = self._compiled(rule, validate, name, extractors)
        concerns = None
        if isinstance(body, verification.Body):
            declared, tolerates, concerns = body.declared, False, body.concerns
        properties = self._properties(rule)
        if body is None or len(self._problems) > before:
            return None
        compiled = policy.CompiledRule(
            policy=self._policy,
            name=name,
            base_name=base_name or name,
            type=kind,
            match=match,
            context=entries,
            preconditions=preconditions,
            body=body,
            fixed_action=actions.fixed((declared, self._declared)),
            action=actions.resolver((declared, self._declared)),
            tolerates_existing=tolerates and (declared.action or self._declared.action) == actions.ENFORCE,
            properties=properties,
            plain_properties=rule.table("reportProperties"),
            skips_background=skips_background,
            needs_roles=match.needs_roles or checks.mention_roles(expressions),
            heeds_controls="podSecurity" in validate,
            is_plain=not entries and properties is None and concerns is None and not _loops_load(rule.raw("validate")),
            concerns=concerns,
        )
        return ReadRule(compiled, declared)

    def _compiled(
        self, rule: fields.Fields, validate: fields.Fields, name: str, extractors: extraction.ByKind | None
    ) -> tuple[str, Any]:
        """The type of a rule and its compiled body; None for the body if anything is wrong with it."""
        if "mutate" in rule:
            return "mutate", mutation.compile(
                rule.raw("mutate"), name, rule.at("mutate"), self._problems, namespace=self._namespace
            )
        if "generate" in rule:
            return "generate", generation.compile(
                rule.raw("generate"), name, rule.at("generate"), self._problems, namespace=self._namespace
            )
        if "verifyImages" in rule:
            return "imageVerify", verification.compile(
                rule, name, extractors, policy=self._policy, admits_signed=self._admits_signed
            )
        return "validate", self._body(validate, name) if "validate" in rule else None

    def _check_operations(self, rule: fields.Fields, name: str) -> None:
        count = sum(operation in rule for operation in _OPERATIONS)
        if count == 0:
            self._problems.add(
                rule.path,
                f"No operation defined in the rule '{name}'.(supported operations: {','.join(_OPERATIONS)})",
            )
        elif count > 1:
            self._problems.add(
                rule.path,
                f"Multiple operations defined in the rule '{name}', "
                f"only one operation ({','.join(_OPERATIONS)}) is allowed per rule",
            )

    def _preconditions(self, rule: fields.Fields) -> conditions.Conditions | None:
        document = rule.raw("preconditions")
        if document is None:
            return None
        try:
            return conditions.compile(document, rule.at("preconditions"))
        except errors.PolicyInvalid as invalid:
            self._problems.absorb(invalid)
            return None

    def _body(self, validate: fields.Fields, name: str) -> outcome.Body | None:
        bodies = [body for body in (*_BODIES, *_REFUSED_IN_VALIDATE) if body in validate]
        if not bodies:
            self._problems.add(validate.path, "one of pattern, anyPattern, deny, foreach, cel must be specified")
            return None
        if len(bodies) > 1:
            self._problems.add(validate.path, "only one of pattern, anyPattern, deny, foreach, cel can be specified")
            return None
        body = bodies[0]
        if body == "podSecurity":
            return podsecurity.PodSecurity(validate.raw(body), name, validate.at(body), self._problems)
        try:
            text = message.Message(validate.text("message"), name, validate.at("message"))
        except errors.PolicyInvalid as invalid:
            self._problems.absorb(invalid)
            return None
        if body == "foreach":
            return foreach.ForEach(validate, name, text, namespace=self._namespace)
        return foreach.demand(validate, body, name, text)

    def _properties(self, rule: fields.Fields) -> variables.Template | None:
        properties = rule.table("reportProperties")
        if not properties:
            return None
        try:
            template = variables.compile(properties, rule.at("reportProperties"))
        except errors.PolicyInvalid as invalid:
            self._problems.absorb(invalid)
            return None
        return None if template.static else template


def _loops_load(body: Any) -> bool:
    """Whether a `foreach` in a body, or in another one of it, has context entries."""
    loops = body.get("foreach") if isinstance(body, Mapping) else None
    return isinstance(loops, list) and any(bool(each.get("context")) or _loops_load(each) for each in loops)
