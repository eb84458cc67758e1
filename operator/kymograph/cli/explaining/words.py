"""What a policy says, in words."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kymograph.engine import policy
from kymograph.engine.jmespath import grammar

_VARIABLE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_DOES = {
    "validate": (
        ("pattern", "must fit a pattern"),
        ("anyPattern", "must fit one of several patterns"),
        ("deny", "is denied under conditions"),
        ("foreach", "is checked element by element"),
        ("podSecurity", "must keep to the Pod Security Standards"),
        ("assert", "must satisfy assertions"),
    ),
    "mutate": (
        ("targets", "changes other objects that exist"),
        ("patchStrategicMerge", "is changed by a strategic merge patch"),
        ("patchesJson6902", "is changed by a JSON patch"),
        ("foreach", "is changed element by element"),
    ),
    "generate": (
        ("clone", "has an object cloned for it"),
        ("cloneList", "has objects cloned for it"),
        ("foreach", "has objects generated for the elements of a list"),
        ("data", "has an object generated for it"),
    ),
}
_DEMANDS = (
    ("mutateDigest", "get the digest of their tag"),
    ("verifyDigest", "must be named by a digest"),
    ("required", "must have been verified"),
)
_ROLES = ("roles", "clusterRoles")
_FROM_FIRST = frozenset(
    ("subexpression", "index_expression", "projection", "value_projection", "filter_projection", "flatten", "pipe")
)
"""Nodes that look at the context by their first part only; the others look at what came of it."""
_ENTRIES = ("variable", "configMap", "apiCall", "imageRegistry", "globalReference")


def match_lines(rule: Mapping[str, Any]) -> Iterator[str]:
    """What a rule matches and excludes, a line for each filter."""
    for word, field in (("matches", "match"), ("except", "exclude")):
        block = rule.get(field) or {}
        if not block:
            continue
        for form, joint in (("any", "or"), ("all", "and")):
            filters = block.get(form) or []
            for number, each in enumerate(filters):
                yield f"{word if number == 0 else joint} {filter_words(each)}"
        if not block.get("any") and not block.get("all"):
            yield f"{word} {filter_words(block)}"


def filter_words(described: Mapping[str, Any]) -> str:
    """One filter: kinds first, then what else must hold."""
    resources = described.get("resources") or {}
    parts = [_list(resources.get("kinds")) or "every kind"]
    if resources.get("operations"):
        parts.append(f"on {_list(resources['operations'])}")
    names = [*(resources.get("names") or []), *([resources["name"]] if resources.get("name") else [])]
    if names:
        parts.append(f"named {_list(names)}")
    if resources.get("namespaces"):
        parts.append(f"in namespaces {_list(resources['namespaces'])}")
    for field, words in (("selector", "with labels"), ("namespaceSelector", "in namespaces with labels")):
        if resources.get(field):
            parts.append(f"{words} {_selector(resources[field])}")
    if resources.get("annotations"):
        parts.append(f"with annotations {_pairs(resources['annotations'])}")
    parts += [f"by users with {field} {_list(described[field])}" for field in _ROLES if described.get(field)]
    if described.get("subjects"):
        subjects = [f"{each.get('kind')} {each.get('name')}" for each in described["subjects"]]
        parts.append(f"by {_list(subjects)}")
    return " ".join(parts)


def does(rule: Mapping[str, Any], type_: str) -> str:
    """What a rule demands or does."""
    if type_ == "imageVerify":
        return f"verifyImages: {'; '.join(map(_demands, rule['verifyImages']))}"
    body = rule.get(type_) or {}
    found = [words for field, words in _DOES[type_] if field in body]
    return f"{type_}: the object {' and '.join(found) or 'is looked at'}"


def _demands(entry: Mapping[str, Any]) -> str:
    """What one entry of `verifyImages` demands of which images."""
    references = [*(entry.get("imageReferences") or ()), *filter(None, [entry.get("image")])]
    demands = [words for field, words in _DEMANDS if entry.get(field) is not False]
    return f"images {_list(references)} {' and '.join(demands) or 'are looked at'}"


def action(each: policy.CompiledPolicy) -> str:
    """What a failure leads to."""
    if not each.fixed_action:
        return f"{each.validation_action}, with other actions for some namespaces or labels"
    return each.fixed_action


def context_lines(rule: Mapping[str, Any]) -> Iterator[str]:
    """What the context entries of a rule ask for, loops included."""
    for entry in _entries(rule):
        kind = next((kind for kind in _ENTRIES if kind in entry), "")
        about = entry.get(kind) or {}
        detail = ""
        if kind == "configMap":
            detail = f" {about.get('namespace') or 'default'}/{about.get('name')}"
        elif kind == "apiCall":
            service = (about.get("service") or {}).get("url")
            detail = f" {about.get('method') or 'GET'} {service or about.get('urlPath')}"
        elif kind == "imageRegistry":
            detail = f" {about.get('reference')}"
        elif kind == "globalReference":
            detail = f" {about.get('name')}"
        yield f"{entry.get('name')}: {kind}{detail}"


def variables(rule: Any) -> list[str]:
    """The expressions that a rule names in `{{ }}`, each once, in order."""
    found: dict[str, None] = {}
    for text in _texts(rule):
        for expression in _VARIABLE.findall(text):
            found[" ".join(expression.split())] = None
    return list(found)


def roots(expressions: Sequence[str]) -> list[str]:
    """The variables at the beginning of expressions: `request`, `images`, the names of context entries."""
    found: dict[str, None] = {}
    for expression in expressions:
        try:
            node = grammar.parse(expression)
        except grammar.ExpressionInvalid:  # a variable within a variable
            continue
        for name in _fields(node):
            found[name] = None
    return list(found)


def _fields(node: Any) -> Iterator[str]:
    """The fields that are looked up in the context itself, not in what came of another part."""
    if not isinstance(node, dict):
        return
    if node["type"] == "field":
        yield str(node["value"])
    elif node["type"] in _FROM_FIRST:
        yield from _fields(node["children"][0])
    else:
        for child in node["children"]:
            yield from _fields(child)


def _entries(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _entries(item)
    elif isinstance(value, dict):
        for field, inner in value.items():
            if field == "context" and isinstance(inner, list):
                yield from (entry for entry in inner if isinstance(entry, dict))
            elif field in {"validate", "mutate", "generate", "foreach", "targets"}:
                yield from _entries(inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)


def _selector(selector: Mapping[str, Any]) -> str:
    parts = [_pairs(selector["matchLabels"])] if selector.get("matchLabels") else []
    for each in selector.get("matchExpressions") or []:
        values = f" ({_list(each.get('values'))})" if each.get("values") else ""
        parts.append(f"{each.get('key')} {each.get('operator')}{values}")
    return ", ".join(parts) or "of any value"


def _pairs(labels: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def _list(items: Any) -> str:
    return ", ".join(map(str, items or ()))
