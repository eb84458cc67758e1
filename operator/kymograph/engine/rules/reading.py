"""One rule of a policy, read and compiled."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kymograph.engine import actions, conditions, errors, fields, policy, variables
from kymograph.engine.match import blocks
from kymograph.engine.rules import checks, deny, message, outcome, patterns

_OPERATIONS = ("mutate", "validate", "generate", "verifyImages")
_REFUSED_IN_RULE = {
    "mutate": "mutate rules are",
    "generate": "generate rules are",
    "verifyImages": "verifyImages rules are",
    "imageExtractors": "imageExtractors are",
    "context": "context entries are",
    "celPreconditions": "celPreconditions are",
}
_RULE = ("name", "match", "exclude", "preconditions", "validate", "skipBackgroundRequests", "reportProperties")
_BODIES = ("pattern", "anyPattern", "deny")
_REFUSED_IN_VALIDATE = {
    "foreach": "validate.foreach is",
    "cel": "validate.cel is",
    "podSecurity": "validate.podSecurity is",
    "manifests": "validate.manifests is",
    "assert": "validate.assert is",
}
_VALIDATE = (*_BODIES, "message", "failureAction", "failureActionOverrides", "allowExistingViolations")
_LONGEST_NAME = 63


@dataclasses.dataclass(frozen=True, slots=True)
class ReadRule:
    """A compiled rule and what it says about its action."""

    rule: policy.CompiledRule
    declared: actions.Declared


class Reader:
    """Reads the rules of one policy.

    Args:
        declared: What the policy says about the action.
        background: The policy is also for existing objects, where there is no user.
        namespaced: The policy is a Policy.
        problems: Where to note what is wrong.
    """

    def __init__(
        self, declared: actions.Declared, *, background: bool, namespaced: bool, problems: fields.Problems
    ) -> None:
        self._declared = declared
        self._background = background
        self._namespaced = namespaced
        self._problems = problems

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
        rule.boolean("skipBackgroundRequests", default=True)
        match = blocks.read(document, path, self._problems)
        checks.selection(rule, match, name, background=self._background, namespaced=self._namespaced)
        preconditions = self._preconditions(rule)
        validate = fields.Fields(
            rule.raw("validate"), rule.at("validate"), self._problems, _VALIDATE, _REFUSED_IN_VALIDATE
        )
        declared = actions.read(validate, "failureAction", "failureActionOverrides")
        tolerates = validate.boolean("allowExistingViolations", default=True)
        body = self._body(validate, name) if "validate" in rule else None
        properties = self._properties(rule)
        checks.expressions(rule, validate, name, background=self._background)
        checks.shape(rule, match, validate)
        if body is None or len(self._problems) > before:
            return None
        compiled = policy.CompiledRule(
            name=name,
            base_name=base_name or name,
            type="validate",
            match=match,
            preconditions=preconditions,
            body=body,
            fixed_action=actions.fixed((declared, self._declared)),
            action=actions.resolver((declared, self._declared)),
            tolerates_existing=tolerates and (declared.action or self._declared.action) == actions.ENFORCE,
            properties=properties,
            needs_roles=match.needs_roles or checks.mentions_roles(rule, validate),
        )
        return ReadRule(compiled, declared)

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
        document, path = validate.raw(body), validate.at(body)
        try:
            text = message.Message(validate.text("message"), name, validate.at("message"))
            match body:
                case "pattern":
                    return patterns.OnePattern(document, name, text, path)
                case "anyPattern" if isinstance(document, list) and document:
                    return patterns.AnyPattern(document, name, text, path)
                case "anyPattern":
                    self._problems.add(path, "must be a list of patterns")
                case "deny":
                    block = fields.Fields(document, path, self._problems, ("conditions",))
                    return deny.Deny(block.raw("conditions"), name, text, block.at("conditions"))
        except errors.PolicyInvalid as invalid:
            self._problems.absorb(invalid)
        return None

    def _properties(self, rule: fields.Fields) -> variables.Template | None:
        properties = rule.table("reportProperties")
        if not properties:
            return None
        try:
            return variables.compile(properties, rule.at("reportProperties"))
        except errors.PolicyInvalid as invalid:
            self._problems.absorb(invalid)
            return None
