"""What is wrong with a rule only when several of its fields are seen together.

The reasons are worded as Kyverno words them, because users search for them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kymograph.apimachinery import gvk
from kymograph.engine import errors, fields, variables
from kymograph.engine.match import blocks

_BACKGROUND = "Set spec.background=false to disable background mode for this policy rule"
_ONLY_METADATA = "policy can only deal with the metadata field of the resource if the rule does not match any kind"
_STRINGS_ONLY = 'labels and annotations supports only string values, "use double quotes around the non string values"'
_WITH_VARIABLES = ("message", "pattern", "anyPattern", "deny")
_KNOWN = re.compile(
    r"request|serviceAccountName|serviceAccountNamespace|element|elementIndex|@|images|image|([a-z_0-9]+\()[^{}]"
)
_ABOUT_USER = re.compile(
    r"(?:^|[^.\w])(serviceAccountName|serviceAccountNamespace|request\.userInfo|request\.roles|request\.clusterRoles)\b"
)
_LOOPED = re.compile(r"(?:^|[^.\w])element(Index)?\d*\b")
_VARIABLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_ROLES = re.compile(
    r"""(?:^-?\s*|@\.|[^.\w"'`-])request\b"""
    r"""(?:\s*\.\s*"?(?:roles|clusterRoles)\b|(?!\s*\.\s*["A-Za-z_]))"""  # by name, or request as a whole
)
_REFUSED = {
    re.compile(r"(?:^|[^.\w])images?(\.|\s|$)"): "the variables image and images are",
    re.compile(r"(?:^|[^.\w])target\."): "the variable target is",
}


def selection(rule: fields.Fields, match: blocks.Match, name: str, *, background: bool, namespaced: bool) -> None:
    """Check what a rule says about the objects it is for.

    Args:
        rule: The rule.
        match: Its compiled blocks.
        name: Its name.
        background: The policy is also for existing objects.
        namespaced: The policy is a Policy.
    """
    for block in ("match", "exclude"):
        if b"{{" in orjson.dumps(rule.raw(block), default=str):
            rule.wrong(block, f'rule "{name}" should not have variables in {block} section')
        for resources, path in descriptions(rule.raw(block), rule.at(block)):
            if namespaced and resources.get("namespaces"):
                rule.problems.add(f"{path}.namespaces", "Filtering namespaces not allowed in namespaced policies")
            _check_kinds(resources.get("kinds"), f"{path}.kinds", rule.problems, background=background)
    if background and match.mentions_user:
        rule.problems.add(
            rule.path,
            f"only select variables are allowed in background mode. {_BACKGROUND}: "
            f"invalid variable used at path: {rule.path.replace('.', '/')}/{match.mentions_user}",
        )


def expressions(rule: fields.Fields, validate: fields.Fields, name: str, *, background: bool) -> None:
    """Check that the expressions of a rule name only what a rule can see.

    Args:
        rule: The rule.
        validate: Its `validate`.
        name: Its name.
        background: The policy is also for existing objects, where there is no user.
    """
    for holder, parts in ((rule, ("preconditions", "reportProperties")), (validate, _WITH_VARIABLES)):
        for part in parts:
            try:
                found = variables.compile(holder.raw(part), holder.at(part)).expressions
            except errors.PolicyInvalid as invalid:
                holder.problems.absorb(invalid)
                continue
            for expression in found:
                reason = _wrong_expression(expression, name, background=background)
                if reason and "context" not in rule:  # what context entries bring is refused with them
                    holder.wrong(part, reason)


def mentions_roles(rule: fields.Fields, validate: fields.Fields) -> bool:
    """Whether a variable of a rule may see the roles of the user: it names them, or takes `request` as a whole.

    Only what is written in the policy counts: a name that text from an object completes does not bring them.

    Args:
        rule: The rule.
        validate: Its `validate`.
    """
    written = [rule.raw("preconditions"), rule.raw("reportProperties"), *map(validate.raw, _WITH_VARIABLES)]
    return any(_ROLES.search(found) for text in _texts(written) for found in _VARIABLE.findall(text))


def shape(rule: fields.Fields, match: blocks.Match, validate: fields.Fields) -> None:
    """Check the patterns of a rule against what it matches.

    Args:
        rule: The rule.
        match: Its compiled blocks.
        validate: Its `validate`.
    """
    every_kind = any(selector == _EVERY_KIND for scope in match.scopes for selector in scope.kinds)
    patterns = [(validate.raw("pattern"), validate.at("pattern"))]
    several = validate.raw("anyPattern")
    if isinstance(several, list):
        patterns += [(each, f"{validate.at('anyPattern')}[{index}]") for index, each in enumerate(several)]
    for pattern, path in patterns:
        if not isinstance(pattern, Mapping):
            continue
        if every_kind and any(key != "metadata" for key in pattern):
            rule.problems.add(path, _ONLY_METADATA)
        for metadata, where in _metadata(pattern, path):
            for field in ("labels", "annotations"):
                table = metadata.get(field)
                if isinstance(table, Mapping) and not all(isinstance(value, str) for value in table.values()):
                    rule.problems.add(f"{where}.{field}", _STRINGS_ONLY)


def descriptions(block: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The `resources` of a `match` or `exclude` block in any of its forms, with their paths.

    Args:
        block: The block as written.
        path: Its path in the policy.
    """
    if not isinstance(block, Mapping):
        return
    holders: list[tuple[Any, str]] = [(block, path)]
    for form in ("any", "all"):
        entries = block.get(form)
        if isinstance(entries, list):
            holders += [(entry, f"{path}.{form}[{index}]") for index, entry in enumerate(entries)]
    for holder, where in holders:
        resources = holder.get("resources") if isinstance(holder, Mapping) else None
        if isinstance(resources, Mapping):
            yield resources, f"{where}.resources"


_EVERY_KIND = gvk.parse_kind_selector("*")


def _check_kinds(kinds: Any, path: str, problems: fields.Problems, *, background: bool) -> None:
    texts = [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []
    if "*" in texts:
        if background:
            problems.add(path, f"wildcard policy not allowed in background mode. {_BACKGROUND}")
        if len(texts) > 1:
            problems.add(path, "wildcard policy can not deal with more than one kind")
        return
    if not background:
        return
    for index, text in enumerate(texts):
        try:
            subresource = gvk.parse_kind_selector(text).subresource
        except ValueError:
            continue
        if subresource:
            problems.add(f"{path}[{index}]", f"background scan enabled with subresource {subresource}")


def _wrong_expression(expression: str, name: str, *, background: bool) -> str:
    if not _KNOWN.search(expression):
        failed = f"variable substitution failed for rule {name}: unknown variable {expression}"
        return f"policy contains invalid variables: {failed}"
    for refused, what in _REFUSED.items():
        if refused.search(expression):
            return f"{what} not supported by this version of Kymograph: {expression}"
    if _LOOPED.search(expression):
        return f"variable '{expression}' present outside of foreach"
    if background and _ABOUT_USER.search(expression):
        return (
            f"only select variables are allowed in background mode. {_BACKGROUND}: "
            f"variable {{{{{expression}}}}} is not allowed"
        )
    return ""


def _texts(document: Any) -> Iterator[str]:
    """Every string of a document, keys too."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping):
        for key, value in document.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(document, list):
        for item in document:
            yield from _texts(item)


def _metadata(pattern: Mapping[str, Any], path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The metadata of a pattern and of its Pod template."""
    for steps in (("metadata",), ("spec", "template", "metadata")):
        found: Any = pattern
        for step in steps:
            found = found.get(step) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            yield found, ".".join((path, *steps))
