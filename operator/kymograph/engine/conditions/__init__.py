"""Conditions: `preconditions` of rules and `conditions` of `deny`, compiled.

Two forms: `{any: [...], all: [...]}`, and a plain list of conditions, all of which must hold. None, an absent document,
always holds: `deny: {}` denies. Evaluation stops as soon as the result is known, so a variable that cannot be resolved
is an error only if it is reached. A list of `any` and `all` blocks is refused, as Kyverno's validation refuses it.
"""

from collections.abc import Callable
from typing import Any

from kymograph.engine import errors, values, variables
from kymograph.engine.budget import Budget
from kymograph.engine.conditions import operators

__all__ = ["Conditions", "compile"]

_FIELDS = frozenset({"key", "operator", "value", "message"})
_DEEPLY = frozenset({"Equal", "Equals", "NotEqual", "NotEquals"})
_OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})

_Holds = Callable[[dict[str, Any], Budget], bool]
_Outcome = tuple[bool, str]


class Conditions:
    """Compiled conditions.

    Attributes:
        expressions: The JMESPath expressions in them.
    """

    __slots__ = ("_blocks", "_separator", "expressions")

    def __init__(self, blocks: tuple["_Block", ...], separator: str, expressions: tuple[str, ...]) -> None:
        self._blocks = blocks
        self._separator = separator
        self.expressions = expressions

    def evaluate(self, context: dict[str, Any], budget: Budget) -> tuple[bool, str]:
        """Whether the conditions hold, and the messages that explain it.

        Returns:
            The result, and the joined messages: of the conditions that held if it is true (a denial says why), of
            those that did not if it is false (a skipped rule says why). Variables in messages are not replaced:
            Kyverno does that together with the message of the rule.

        Raises:
            EvaluationError: A variable that is needed for the result cannot be resolved, or the budget is exhausted.
        """
        if len(self._blocks) == 1:
            return self._blocks[0].evaluate(context, budget)
        messages = []
        for block in self._blocks:
            held, message = block.evaluate(context, budget)
            if not held:
                return False, message
            if message:
                messages.append(message)
        return True, self._separator.join(messages)


def compile(document: values.JSON, path: str) -> Conditions:  # noqa: A001 - the field's word
    """Compile conditions.

    Args:
        document: One of the two forms, or None.
        path: Where it stands in the policy: `spec.rules[0].preconditions`.

    Raises:
        PolicyInvalid: Everything that is wrong with them.
    """
    compiler = _Compiler()
    blocks: list[_Block] = []
    if isinstance(document, dict):
        blocks.append(compiler.block(document, path))
    elif isinstance(document, list):
        for index, item in enumerate(document):
            blocks.append(_Block(None, compiler.conditions([item], [f"{path}[{index}]"])))
    elif document is not None:
        compiler.problem(path, "must be a map with any and all, or a list")
    if compiler.problems:
        raise errors.PolicyInvalid(tuple(compiler.problems))
    # Kyverno joins the messages of a list without a blank
    return Conditions(tuple(blocks), ";", tuple(compiler.expressions))


class _Condition:
    """One condition: whether it holds, and what it says."""

    __slots__ = ("holds", "message")

    def __init__(self, holds: _Holds, message: str) -> None:
        self.holds = holds
        self.message = message


class _Block:
    """One `any` and one `all`: at least one of the first and each of the second must hold."""

    __slots__ = ("_all", "_any")

    def __init__(self, any_of: tuple[_Condition, ...] | None, all_of: tuple[_Condition, ...]) -> None:
        self._any = any_of
        self._all = all_of

    def evaluate(self, context: dict[str, Any], budget: Budget) -> _Outcome:
        held: list[str] = []
        failed: list[str] = []
        result = True
        if self._any is not None:
            result = False
            for condition in self._any:
                if condition.holds(context, budget):
                    result = True
                    held.append(condition.message)
                    break
                failed.append(condition.message)
        for condition in self._all:
            if not condition.holds(context, budget):
                result = False
                failed.append(condition.message)
                break
            held.append(condition.message)
        return result, "; ".join(filter(None, held if result else failed))


class _Compiler:
    """Collects the problems and expressions of one document."""

    def __init__(self) -> None:
        self.problems: list[errors.Problem] = []
        self.expressions: list[str] = []

    def problem(self, path: str, reason: str) -> None:
        self.problems.append(errors.Problem(path, reason))

    def block(self, block: dict[str, Any], path: str) -> _Block:
        for key in block.keys() - {"any", "all"}:
            self.problem(f"{path}.{key}", "unknown field: conditions are under any and all")
        any_of, all_of = block.get("any"), block.get("all")
        return _Block(
            None if any_of is None else self._listed(any_of, f"{path}.any"),
            () if all_of is None else self._listed(all_of, f"{path}.all"),
        )

    def _listed(self, items: values.JSON, path: str) -> tuple[_Condition, ...]:
        if not isinstance(items, list):
            self.problem(path, "must be a list of conditions")
            return ()
        return self.conditions(items, [f"{path}[{index}]" for index in range(len(items))])

    def conditions(self, items: list[Any], paths: list[str]) -> tuple[_Condition, ...]:
        return tuple(self._condition(item, path) for item, path in zip(items, paths, strict=True))

    def _condition(self, item: values.JSON, path: str) -> _Condition:
        nothing = _Condition(lambda _context, _budget: False, "")
        if not isinstance(item, dict):
            self.problem(path, "must be a condition: a map with key, operator and value")
            return nothing
        for field in sorted(item.keys() - _FIELDS - {"any", "all"}):  # of those is said below what is missing
            self.problem(f"{path}.{field}", "unknown field of a condition")
        if item.get("key") is None or item.get("value") is None or not item.get("operator"):
            self.problem(path, "entered value of `key`, `value` or `operator` is missing or misspelled")
            return nothing
        name, message = item["operator"], item.get("message") or ""
        prepare = operators.TABLE.get(name) if isinstance(name, str) else None
        if prepare is None:
            valid = " ".join(f'"{each}"' for each in operators.TABLE)
            self.problem(f"{path}.operator", f"entered value of `operator` is invalid. valid values: [{valid}]")
        if not isinstance(message, str):
            self.problem(f"{path}.message", "must be a string")
        self._check_operation(item["key"], item["value"], path)
        key, value = self._template(item["key"], f"{path}.key"), self._template(item["value"], f"{path}.value")
        if prepare is None or key is None or value is None:
            return nothing
        if name in _DEEPLY and _holds_integers(item["key"]) is not _holds_integers(item["value"]):
            prepare = _apart(prepare, result=name.startswith("Not"))
        return _Condition(_close(prepare, _Part(key, item["key"]), _Part(value, item["value"])), message)

    def _template(self, document: values.JSON, path: str) -> variables.Template | None:
        try:
            template = variables.compile(document, path)
        except errors.PolicyInvalid as invalid:
            self.problems.extend(invalid.problems)
            return None
        self.expressions.extend(template.expressions)
        return template

    def _check_operation(self, key: values.JSON, value: values.JSON, path: str) -> None:
        """`{{ request.operation }}` can only be one of four: another value is a typing error."""
        if not isinstance(key, str) or key.replace(" ", "") != "{{request.operation}}":
            return
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text not in _OPERATIONS and "{{" not in text:
                self.problem(
                    f"{path}.value",
                    f"unknown value '{text}' found under the 'value' field. "
                    "Only the following values are allowed: [CREATE, UPDATE, DELETE, CONNECT]",
                )


class _Part:
    """A key or value as Go has it when it is resolved: numbers are floats, unless written in a list or map."""

    __slots__ = ("_resolve", "_written", "static")

    def __init__(self, template: variables.Template, document: values.JSON) -> None:
        self._resolve = template.resolve
        self._written = isinstance(document, list | dict)
        self.static = template.static

    def resolve(self, context: dict[str, Any], budget: Budget) -> values.JSON:
        found = self._resolve(context, budget)
        return found if self._written else values.as_floats(found)


def _holds_integers(document: values.JSON) -> bool:
    """Whether a list or map, as written, has an integer in it: deep equality in Go tells it from a float."""
    match document:
        case list():
            return any(_is_integer(item) or _holds_integers(item) for item in document)
        case dict():
            return any(_is_integer(item) or _holds_integers(item) for item in document.values())
    return False


def _is_integer(value: values.JSON) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _apart(prepare: operators.Prepare, *, result: bool) -> operators.Prepare:
    """The operator where lists and maps never equal each other: one has integers where the other has floats."""

    def prepare_apart(found: values.JSON, budget: Budget) -> operators.Test:
        test = prepare(found, budget)
        if not isinstance(found, list | dict):
            return test
        return lambda subject, budget: result if type(subject) is type(found) else test(subject, budget)

    return prepare_apart


def _close(prepare: operators.Prepare, key: _Part, value: _Part) -> _Holds:
    """Prepare what is known now; resolve the rest, key before value, when asked."""
    if not value.static:
        return lambda context, budget: _dynamic(prepare, key, value, context, budget)
    test = prepare(value.resolve({}, Budget()), Budget())
    if key.static:
        literal = key.resolve({}, Budget())
        return lambda _, budget: test(literal, budget)

    def holds(context: dict[str, Any], budget: Budget) -> bool:
        try:
            subject = key.resolve(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise _unresolved("key", cause) from cause
        return test(subject, budget)

    return holds


def _dynamic(
    prepare: operators.Prepare,
    key: _Part,
    value: _Part,
    context: dict[str, Any],
    budget: Budget,
) -> bool:
    part = "key"
    try:
        subject = key.resolve(context, budget)
        part = "value"
        test = prepare(value.resolve(context, budget), budget)
    except errors.BudgetExhausted:
        raise
    except errors.EvaluationError as cause:
        raise _unresolved(part, cause) from cause
    return test(subject, budget)


def _unresolved(part: str, cause: errors.EvaluationError) -> errors.EvaluationError:
    return type(cause)(f"failed to substitute variables in condition {part}: {cause}")
