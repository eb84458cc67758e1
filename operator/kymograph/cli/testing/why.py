"""Why a rule judged as it did: its filters, conditions and patterns, each with what was found in the object.

Everything is asked of the engine piece by piece, so an answer here cannot differ from the verdict it explains.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kymograph.engine import budget, conditions, errors, fields, needs, pattern, values, variables
from kymograph.engine.match import filters, target
from kymograph.engine.pattern import anchors

YES, NO = "✓", "✗"

_LONGEST = 120
_FORMS = ("any", "all")


class Line(NamedTuple):
    """One line of an explanation.

    Attributes:
        text: What it says.
        below: Lines that belong under it.
    """

    text: str
    below: tuple["Line", ...] = ()


def filters_of(block: Any, subject: target.Target) -> list[Line]:
    """The filters of a `match` or `exclude` block, each attribute with what the object has.

    Args:
        block: The block as written; None for none.
        subject: What filters look at.
    """
    if not isinstance(block, Mapping):
        return []
    form = next((form for form in _FORMS if block.get(form)), "")
    entries = block[form] if form else [block]
    lines = []
    for index, entry in enumerate(entries):
        below = tuple(_attributes(entry, subject))
        holds = all(line.text.startswith(YES) for line in below)
        name = f"{form}[{index}]" if form else "resources"
        lines.append(Line(f"{YES if holds and below else NO} {name}", below))
    return lines


def conditions_of(document: Any, context: dict[str, Any], facts: needs.Facts) -> list[Line]:
    """Conditions, each with the values that its variables have.

    Args:
        document: `preconditions`, or the `conditions` of `deny`.
        context: What expressions see.
        facts: What they may ask.
    """
    lines = []
    for path, condition in _conditions(document, ""):
        try:
            held, _ = conditions.compile([condition], path).evaluate(context, budget.Budget(facts=facts))
            mark = YES if held else NO
        except (errors.EngineError, needs.Needed):
            mark = NO
        said = [path.strip(".")]
        for part in ("key", "value"):
            written = condition.get(part)
            said.append(_resolved(written, context, facts))
        key, value = said[1:]
        lines.append(Line(f"{mark} {said[0]}: {key} {condition.get('operator')} {value}"))
    return lines


def pattern_of(document: Any, resource: Any, context: dict[str, Any], facts: needs.Facts) -> list[Line]:
    """A pattern, each leaf with the values that the object has there.

    Args:
        document: The pattern as written.
        resource: The object.
        context: What expressions see.
        facts: What they may ask.
    """
    try:
        resolved = variables.compile(document, "").resolve(context, budget.Budget(facts=facts))
    except (errors.EngineError, needs.Needed) as error:
        return [Line(f"{NO} {error}")]
    return [Line(text) for text in _leaves(resolved, resource, "")]


def show(value: Any) -> str:
    """A value in one short line."""
    text = value if isinstance(value, str) else values.to_json(value, budget.Budget())
    text = " ".join(text.split()) if isinstance(value, str) else text
    text = f'"{text}"' if isinstance(value, str) else text
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _attributes(entry: Any, subject: target.Target) -> Iterator[Line]:
    if not isinstance(entry, Mapping):
        return
    has: dict[str, Any] = {
        "kinds": "/".join(part for part in subject.kind if part),
        "operations": subject.operation,
        "name": subject.name,
        "names": subject.name,
        "namespaces": subject.name if subject.is_namespace else subject.namespace,
        "annotations": dict(subject.annotations),
        "selector": dict(subject.labels),
        "namespaceSelector": dict(subject.namespace_labels),
    }
    resources = entry.get("resources")
    for name, wanted in (resources if isinstance(resources, Mapping) else {}).items():
        if not wanted and name != "namespaceSelector":
            continue
        single = filters.read({"resources": {name: wanted}}, "", fields.Problems())
        holds = single.resource(subject)
        yield Line(f"{YES if holds else NO} {name} {show(wanted)}, the object has {show(has.get(name))}")
    for name in ("subjects", "roles", "clusterRoles"):
        wanted = entry.get(name)
        if not wanted:
            continue
        user = subject.user
        if user is None:
            yield Line(f"{YES} {name} {show(wanted)}, not looked at: there is no user")
            continue
        single = filters.read({name: wanted}, "", fields.Problems())
        holds = single.user is None or single.user(subject)
        held = {"roles": list(user.roles), "clusterRoles": list(user.cluster_roles)}
        has_ = held.get(name) if name in held else {"name": user.name, "groups": list(user.groups)}
        yield Line(f"{YES if holds else NO} {name} {show(wanted)}, the user has {show(has_)}")


def _conditions(document: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(document, list):
        for index, each in enumerate(document):
            yield from _conditions(each, f"{path}[{index}]")
    elif isinstance(document, Mapping):
        if "operator" in document or "key" in document:
            yield path, document
        else:
            for form in _FORMS:
                yield from _conditions(document.get(form), f"{path}.{form}")


def _resolved(written: Any, context: dict[str, Any], facts: needs.Facts) -> str:
    """A value as written, and what it is where it holds variables."""
    try:
        found = variables.compile(written, "").resolve(context, budget.Budget(facts=facts))
    except (errors.EngineError, needs.Needed) as error:
        return f"{show(written)} (failed: {error})"
    return show(written) if found == written else f"{show(written)} (is {show(found)})"


def _leaves(wanted: Any, found: Any, path: str) -> Iterator[str]:
    """A line for each leaf of a pattern and each value that the object has there."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            yield f"{NO} {path or '.'}: {_or_absent(found)}, wanted an object"
            return
        for key, below in wanted.items():
            anchored = anchors.parse(str(key))
            anchor, name = anchored or (None, str(key))
            where = f"{path}.{name}" if path else name
            note = f" ({anchor.name.lower().replace('_', ' ')} anchor)" if anchor else ""
            if anchor is anchors.Anchor.NEGATION:
                yield f"{NO if name in found else YES} {where}: {_or_absent(found.get(name))}, must be absent"
            elif name not in found and anchor is not None:
                yield f"{YES} {where}: absent{note}"
            else:
                yield from (f"{text}{note}" for text in _leaves(below, found.get(name), where))
    elif isinstance(wanted, list) and wanted and isinstance(found, list):
        for index, item in enumerate(found):
            yield from _leaves(wanted[0], item, f"{path}[{index}]")
        if not found:
            yield f"{YES} {path}: []"
    else:
        holds = _holds(wanted, found)
        yield f"{YES if holds else NO} {path or '.'}: {_or_absent(found)}, pattern {show(wanted)}"


def _holds(wanted: Any, found: Any) -> bool:
    try:
        laid = pattern.compile({"value": wanted}, "").check({"value": found}, {}, budget.Budget())
    except errors.EngineError:
        return False
    return laid.status == "pass"


def _or_absent(value: Any) -> str:
    return "absent" if value is None else show(value)
