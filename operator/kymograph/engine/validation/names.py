"""The variables a rule may name: what a request brings, its context entries, and `element` inside of loops.

Checked on the text of the expressions as Kyverno checks it, with its regular expressions and wildcards, so that a
policy is accepted here exactly where it is accepted there; a name that only text from an object completes is not seen.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kymograph.apimachinery import wildcard
from kymograph.engine import errors, fields, variables
from kymograph.engine.match import users
from kymograph.engine.validation import messages, subject

_ONLY_SELECT = "only select variables are allowed in"
_FOR_POLICY = f"{_ONLY_SELECT} background mode. {messages.SET_BACKGROUND}"
_FOR_UPDATE = (
    f"{_ONLY_SELECT} on policy update. "
    "Set spec.mutateExistingOnPolicyUpdate=false to disable update policy mode for this policy rule"
)
_FUNCTIONS = r"([a-z_0-9]+\()[^{}]"
_REQUEST = r"request\.|element|elementIndex|@|images|images\.|image\."
_USER = "serviceAccountName|serviceAccountNamespace"
_ALLOWED = {
    # (in background, with a target)
    (False, False): rf"request|{_USER}|element|elementIndex|@|images|image|{_FUNCTIONS}",
    (True, False): rf"{_REQUEST}|{_FUNCTIONS}",
    (False, True): rf"request\.|{_USER}|element|elementIndex|@|images|images\.|image\.|target\.|{_FUNCTIONS}",
    (True, True): rf"{_REQUEST}|target\.|{_FUNCTIONS}",
}
_VARIABLE = re.compile(r"(?:^|[^\\])(\{\{(?:\{[^{}]*\}|[^{}])*\}\})")
_ABOUT_USER = re.compile(
    r"[^.](?:serviceAccountName|serviceAccountNamespace|request.userInfo|request.roles|request.clusterRoles)\b"
)
_BRACKETS = re.compile(r"[.\[]")
_OF_TARGET = ("apiVersion", "kind", "namespace", "name")


def check(policy: subject.Policy, problems: fields.Problems) -> None:
    """Check the variables of every rule."""
    changes_existing = any(rule.targets is not None for rule in policy.rules)
    for rule in policy.rules:
        on_update = _runs_on_update(policy, rule)
        user = _user_info(rule)
        if user and policy.background:
            problems.add(rule.path, f"{_FOR_POLICY}: {user}")
        if user and on_update and "{{" in subject.digest(policy.spec):
            problems.add(rule.path, f"{_FOR_UPDATE}: {user}")
        body = _judged(rule)
        templates = subject.templates(body, rule.path)
        without_user = policy.background and not changes_existing
        if without_user:
            for text, path in templates:
                for variable in _VARIABLE.findall(text):
                    if _ABOUT_USER.search(variable):
                        problems.add(path, f"{_FOR_POLICY}: variable {variable} is not allowed")
        background = policy.background or on_update
        _check_names(rule, body, templates, problems, background=background, without_user=without_user)
        for text, path in templates:
            for name in _names(text):
                if name.startswith("element") and ".foreach[" not in path:
                    pointer = _BRACKETS.sub("/", path.removeprefix(rule.path)).replace("]", "")
                    problems.add(path, f"variable '{name}' present outside of foreach at path {pointer}")


def mask(text: str, placeholder: str) -> str:
    """A text with a word in the place of each of its variables, so that it can be parsed before they are known."""
    while True:
        masked = _VARIABLE.sub(lambda found: found[0].replace(found[1], placeholder), text)
        if masked == text:
            return masked
        text = masked


def _judged(rule: subject.Rule) -> dict[str, Any]:
    """The rule without its blocks, which may hold no variables at all, and without conditions on attestations."""
    body = {field: value for field, value in rule.document.items() if field not in ("match", "exclude")}
    if "verifyImages" in body:
        body["verifyImages"] = [
            {
                **each,
                "attestations": [
                    {field: value for field, value in subject.table(one).items() if field != "conditions"}
                    for one in subject.items(each.get("attestations"))
                ],
            }
            for each in map(subject.table, subject.items(body["verifyImages"]))
        ]
    return body


def _check_names(
    rule: subject.Rule,
    body: Mapping[str, Any],
    templates: Sequence[tuple[str, str]],
    problems: fields.Problems,
    *,
    background: bool,
    without_user: bool,
) -> None:
    """Check names against what a rule may name; those about the user are left out where they are refused anyway."""
    patterns = list(_patterns(rule))
    targets = rule.targets
    if targets is not None:
        # What is known before the targets are: nothing of them.
        allowed = _ALLOWED[background, False]
        early = {field: body[field] for field in ("context", "preconditions") if field in body}
        parts = [(early, rule.path, 0)]
        for index, target in enumerate(targets):
            named = {field: value for field, value in subject.table(target).items() if field in _OF_TARGET}
            parts.append((named, f"{rule.path}.mutate.targets[{index}]", index))
        for part, where, index in parts:
            for expression, path in _expressions(subject.templates(part, where), problems):
                reason = _unknown(expression, allowed, patterns)
                if reason:
                    failed = f"invalid variables defined at mutate.targets[{index}]: {reason}"
                    problems.add(path, f"policy contains invalid variables: {failed}")
    allowed = _ALLOWED[background, targets is not None]
    for expression, path in _expressions(templates, problems):
        reason = _unknown(expression, allowed, patterns)
        if reason and not (without_user and _ABOUT_USER.search(f" {expression}")):
            failed = f"variable substitution failed for rule {rule.name}: {reason}"
            problems.add(path, f"policy contains invalid variables: {failed}")


def _unknown(expression: str, allowed: str, patterns: Iterable[str]) -> str:
    query = expression.strip().replace('"', "")
    if re.search(allowed, query) or any(wildcard.match(pattern, query) for pattern in patterns):
        return ""
    return f'variable {query} must match regex "{allowed}" or patterns [{" ".join(patterns)}]'


def _expressions(templates: Sequence[tuple[str, str]], problems: fields.Problems) -> Iterator[tuple[str, str]]:
    """The expressions that stand in strings, each with the path of its string."""
    for text, where in templates:
        try:
            # a variable right behind another one is read when that one has been replaced
            found = variables.compile(text.replace("}}{{", "}} {{"), where).expressions
        except errors.PolicyInvalid as invalid:
            problems.absorb(invalid)
            continue
        for expression in found:
            yield expression, where


def _patterns(rule: subject.Rule) -> Iterator[str]:
    """The names that context entries bring, of the rule, its loops and its targets."""
    holders: list[Any] = [rule.document, *(rule.targets or ())]
    for operation in ("validate", "mutate", "generate"):
        holders += _loops(rule.table(operation))
    for holder in holders:
        for entry in map(subject.table, subject.items(subject.table(holder).get("context"))):
            name = subject.text(entry.get("name"))
            if any(entry.get(kind) is not None for kind in ("apiCall", "globalReference", "imageRegistry", "variable")):
                yield f"{name}*"
            if entry.get("configMap") is not None:
                yield from (f"{name}.data", f"{name}.metadata", f"{name}.data.*", f"{name}.metadata.*")
    for image in map(subject.table, subject.items(rule.document.get("verifyImages"))):
        if image.get("validate"):
            for attestation in map(subject.table, subject.items(image.get("attestations"))):
                yield f"{subject.text(attestation.get('name'))}*"


def _loops(holder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for loop in map(subject.table, subject.items(holder.get("foreach"))):
        yield loop
        yield from _loops(loop)


def _names(text: str) -> Iterator[str]:
    """What stands between the braces of the variables of a text."""
    for variable in _VARIABLE.findall(text):
        yield variable[2:-2].removeprefix("-").strip()


def _user_info(rule: subject.Rule) -> str:
    """The first mention of a user in the blocks of a rule, in Kyverno's order and words; empty for none."""
    for block in ("match", "exclude"):
        for holder, path in subject.filters(rule.document.get(block), f"{rule.path}.{block}"):
            for field in users.ATTRIBUTES:
                if holder.get(field):
                    where = path.replace("spec.rules", "spec/rules", 1).replace(f".{block}", f"/{block}", 1)
                    for form in ("any", "all"):
                        where = where.replace(f"/{block}.{form}", f"/{block}/{form}", 1)
                    return f"invalid variable used at path: {where}/{field}"
    return ""


def _runs_on_update(policy: subject.Policy, rule: subject.Rule) -> bool:
    """Whether a rule changes existing objects when its policy changes, so that there is no request."""
    if not rule.has("mutate"):
        return False
    own = rule.table("mutate").get("mutateExistingOnPolicyUpdate")
    return own is True if own is not None else policy.spec.get("mutateExistingOnPolicyUpdate") is True
