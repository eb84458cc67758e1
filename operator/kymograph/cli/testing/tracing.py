"""How a policy was evaluated on one resource, as a tree of text.

The steps are those that the engine tells its watcher; under each stands what it found: which attribute of a filter did
not hold, which values conditions compared, what the object has where a pattern looks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kymograph.cli.offline import judge, request, written
from kymograph.cli.testing import why
from kymograph.engine import budget, errors, exceptions, fields, needs, policy, watching
from kymograph.engine.rules import loop

_BRANCH, _LAST, _DOWN, _BLANK = "├─ ", "└─ ", "│  ", "   "


class Watcher:
    """Keeps the steps of an evaluation."""

    def __init__(self) -> None:
        self.steps: list[watching.Entry] = []

    def extend(self, steps: Sequence[watching.Entry]) -> None:
        """Take over steps; see `watching.Watcher`."""
        self.steps += watching.written_out(steps)


def trace(
    bench: judge.Judge, each: policy.CompiledPolicy, resource: dict[str, Any], operation: str, rule_name: str = ""
) -> str:
    """Evaluate a policy once more, watched, and tell it.

    Args:
        bench: What applies the policies of the test.
        each: The policy.
        resource: The resource, prepared.
        operation: The operation; empty for what the values say.
        rule_name: The rule to tell about; empty for all of them.
    """
    watcher = Watcher()
    response = bench.watched(each, watcher).judge(resource, operation)
    seen = bench.sees(each, resource, operation)
    statuses = {found.rule.name: found for part in response.responses for found in part.results}
    told = _Teller(each, bench, seen)
    lines = []
    for rule in each.rules:
        steps = _steps_of(watcher.steps, rule)
        if steps is None or rule_name not in ("", rule.name):
            continue
        found = statuses.get(rule.name)
        head = f"RULE {rule.name}: {found.status if found else 'no result'}"
        if found and found.message:
            head += f": {' '.join(found.message.split())}"
        lines.append(why.Line(head, tuple(told.rule(rule, steps))))
    return "\n".join([f"POLICY {each.key}", *_drawn(lines)])


class _Teller:
    """Words the steps of the rules of one policy on one resource."""

    def __init__(self, each: policy.CompiledPolicy, bench: judge.Judge, seen: request.Seen) -> None:
        self._documents = written.rules(each.document)
        self._namespace = each.namespace
        self._seen = seen
        self._inspection = bench.inspect(each, seen)

    def rule(self, rule: policy.CompiledRule, steps: Iterable[watching.Entry]) -> list[why.Line]:
        """What is said of one rule."""
        document = self._documents.get(rule.name)
        stage, facts = self._inspection.stage, self._inspection.facts
        if document is None or stage is None:
            return []
        context = self._inspection.context(rule)
        lines = []
        entered = True
        for step, subject, outcome, detail in _pairs(steps):
            below: list[why.Line] = []
            name = step.name.lower()
            if step is watching.Step.MATCH:
                below += why.filters_of(document.get("match"), stage.target)
                excludes = why.filters_of(document.get("exclude"), stage.target)
                below += [why.Line("exclude", tuple(excludes))] if excludes and outcome != "unmatched" else []
                entered = outcome == "matched"
            elif step is watching.Step.CONTEXT:
                name = f"context {subject}"
                below += [why.Line(_value(context, str(subject)))] if outcome == "ok" else []
            elif step is watching.Step.PRECONDITIONS:
                below += why.conditions_of(document.get("preconditions"), context, facts)
                entered = entered and outcome == "true"
            elif step is watching.Step.NEED:
                name = f"need {subject}"
            elif isinstance(subject, exceptions.CompiledException):
                name = f"exception {subject.key}"
            lines.append(why.Line(f"{name}: {outcome}{f': {detail}' if detail else ''}", tuple(below)))
        if entered:
            lines += self._body(document.get("validate") or {}, self._seen.resource, context, 0)
        return lines

    def _body(self, body: Mapping[str, Any], resource: Any, context: dict[str, Any], nesting: int) -> list[why.Line]:
        """The parts of a `validate`, or of one `foreach` in it, with what they found."""
        facts = self._inspection.facts
        lines = []
        if "pattern" in body:
            lines.append(why.Line("pattern", tuple(why.pattern_of(body["pattern"], resource, context, facts))))
        for index, each in enumerate(body.get("anyPattern") or ()):
            lines.append(why.Line(f"anyPattern[{index}]", tuple(why.pattern_of(each, resource, context, facts))))
        if "deny" in body:
            denies = (body["deny"] or {}).get("conditions")
            lines.append(why.Line("deny conditions", tuple(why.conditions_of(denies, context, facts))))
        for index, each in enumerate(body.get("foreach") or ()):
            lines.append(why.Line(f"foreach[{index}] {each.get('list')}", tuple(self._loop(each, context, nesting))))
        return lines

    def _loop(self, block: Mapping[str, Any], context: dict[str, Any], nesting: int) -> Iterator[why.Line]:
        facts = self._inspection.facts
        read = fields.Fields(block, "", fields.Problems(), tuple(block))
        each = loop.Loop(read, namespace=self._namespace, nesting=nesting)
        spent = budget.Budget(facts=facts)
        try:
            for element in each.elements(each.listed(context, spent), context, spent):
                resource = element.value if each.is_scoped(element.value) else self._seen.resource
                below = []
                if block.get("preconditions") is not None:
                    found = why.conditions_of(block["preconditions"], element.context, facts)
                    below.append(why.Line("preconditions", tuple(found)))
                below += self._body(block, resource, element.context, nesting + 1)
                yield why.Line(f"element {element.index}: {why.show(element.value)}", tuple(below))
        except (errors.EngineError, needs.Needed) as error:
            yield why.Line(f"{why.NO} {error}")


def _value(context: dict[str, Any], name: str) -> str:
    try:
        return why.show(context[name])
    except (errors.EngineError, needs.Needed, KeyError) as error:
        return str(error)


def _steps_of(steps: Sequence[watching.Entry], rule: policy.CompiledRule) -> list[watching.Entry] | None:
    """The steps inside a rule; None where it was not evaluated."""
    found: list[watching.Entry] | None = None
    depth = 0
    for step in steps:
        if found is None:
            if step[0] is watching.Step.RULE and step[1] is rule:
                found = []
        elif type(step[0]) is str:
            if depth == 0:
                return found
            depth -= 1
            found.append(step)
        else:
            depth += 1
            found.append(step)
    return found


def _pairs(steps: Iterable[watching.Entry]) -> list[tuple[watching.Step, object, str, str]]:
    """Beginnings of steps with their ends, in the order of the beginnings."""
    found: list[tuple[watching.Step, object, str, str]] = []
    waiting: list[int] = []
    for step in steps:
        if type(step[0]) is str:
            if waiting:
                at = waiting.pop()
                found[at] = (found[at][0], found[at][1], step[0], str(step[1]))
        else:
            waiting.append(len(found))
            found.append((step[0], step[1], "not ended", ""))
    return found


def _drawn(lines: Sequence[why.Line]) -> list[str]:
    drawn = []
    for index, line in enumerate(lines):
        last = index == len(lines) - 1
        drawn.append((_LAST if last else _BRANCH) + line.text)
        drawn += [(_BLANK if last else _DOWN) + below for below in _drawn(line.below)]
    return drawn
