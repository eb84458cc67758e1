r"""Variables in policies: `{{ request.object.metadata.name }}` in any string or key of a JSON document.

The grammar is Kyverno's. The innermost variables are replaced first and the text is looked at again until none is
left, so `{{ a.{{ b }} }}` nests. A string that is one variable as a whole becomes the value itself, of whatever type;
otherwise values are spliced in, those that are no strings as JSON. `{{- x }}` is not looked at again, `\{{` stands for
`{{`, `{{@}}` is the value that the object holds at the place of the string. In a DELETE request `request.object` means
`request.oldObject`.

Expressions that stand in the document are compiled once. Text spliced out of an object is looked at again as in
Kyverno: an annotation holding `{{ ... }}` is evaluated. It can read only the context that the policy's own expressions
read, and each look and each expression is paid from the budget, so text that reproduces itself ends as an error.

References within the document (`$(./../key)`) are replaced when it is compiled (`references`).
"""

import functools
import json
import re
from collections.abc import Callable
from typing import Any

from kymograph.engine import errors, jmespath, references, values
from kymograph.engine.budget import Budget

_VARIABLE = re.compile(r"(^|[^\\])(\{\{(?:\{[^{}]*+\}|[^{}]++)*+\}\})")
_ANCHOR = re.compile(r"[+<=X^]?\((.+)\)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_COMPILE_COST = 50  # steps that compiling an expression at run time takes, and
_COMPILE_COST_PER_CHARACTER = 5
_LONGEST_CACHED = 512

_Resolve = Callable[[dict[str, Any], Budget, bool], values.JSON]
"""From the context, a budget and whether the request deletes, to a value."""


class Template:
    """A JSON document with variables.

    Attributes:
        static: It has none: `resolve` returns the same object each time and costs nothing.
        expressions: The JMESPath expressions that are known without a context, in the order of the document.
    """

    __slots__ = ("_cost", "_resolve", "_value", "expressions", "static")

    def __init__(self, value: values.JSON, resolve: _Resolve | None, expressions: tuple[str, ...]) -> None:
        self._value = value
        self._resolve = resolve
        self._cost = len(expressions)
        self.static = resolve is None
        self.expressions = expressions

    def resolve(self, context: dict[str, Any], budget: Budget) -> values.JSON:
        """The document with its variables replaced.

        Args:
            context: What expressions search; `request.operation` decides what `request.object` means.
            budget: Pays for searches, looks and spliced text.

        Raises:
            NotFoundInPath: A variable names a key that the context does not hold.
            EvaluationError: A variable cannot be resolved otherwise, or a key does not become a string.
        """
        if self._resolve is None:
            return self._value
        budget.spend(self._cost)
        request = context.get("request")
        deletes = isinstance(request, dict) and request.get("operation") == "DELETE"
        return self._resolve(context, budget, deletes)


def compile(value: values.JSON, path: str, around: str = "") -> Template:  # noqa: A001 - the field's word
    """Compile a document.

    Args:
        value: Any JSON; it is kept, not copied, and must not change.
        path: Where it stands in the policy, for problems: `spec.rules[0].validate.message`.
        around: Where it stands in what Kyverno resolves at once, for errors: `/mutate/patchStrategicMerge`.

    Raises:
        PolicyInvalid: Expressions that do not compile, empty variables, references that lead nowhere: all of them.
    """
    compiler = _Compiler(value, around)
    try:
        known, resolve = compiler.document(value, path, "")
    except RecursionError:
        raise errors.PolicyInvalid((errors.Problem(path, "nested too deeply"),)) from None
    if compiler.problems:
        raise errors.PolicyInvalid(tuple(compiler.problems))
    return Template(known, resolve, tuple(compiler.expressions))


class _Compiler:
    """Walks one document; collects problems and expressions."""

    def __init__(self, root: values.JSON, around: str) -> None:
        self._around = around
        self.problems: list[errors.Problem] = []
        self.expressions: list[str] = []
        self._references = references.References(root)

    def document(self, value: values.JSON, path: str, pointer: str) -> tuple[values.JSON, _Resolve | None]:
        """The value where it is known, and how to resolve it where it is not."""
        if isinstance(value, str):
            return self.text(value, path, pointer)
        if isinstance(value, list):
            return self._list(value, path, pointer)
        if isinstance(value, dict):
            return self._map(value, path, pointer)
        return value, None

    def _list(self, items: list[Any], path: str, pointer: str) -> tuple[values.JSON, _Resolve | None]:
        parts = [self.document(item, f"{path}[{index}]", f"{pointer}/{index}") for index, item in enumerate(items)]
        known = [value for value, _ in parts]
        dynamic = tuple((index, resolve) for index, (_, resolve) in enumerate(parts) if resolve is not None)
        if not dynamic:
            return (items if all(a is b for a, b in zip(items, known, strict=True)) else known), None

        def resolve(context: dict[str, Any], budget: Budget, deletes: bool) -> values.JSON:  # noqa: FBT001 - hot path
            result = known.copy()
            for index, item in dynamic:
                result[index] = item(context, budget, deletes)
            return result

        return None, resolve

    def _map(self, mapping: dict[str, Any], path: str, pointer: str) -> tuple[values.JSON, _Resolve | None]:
        known: dict[str, Any] = {}
        entries: list[tuple[str, _Resolve | None, values.JSON, _Resolve | None]] = []
        same = True
        for key, item in mapping.items():
            new_key, resolve_key = self.text(key, f"{path}.{key}", pointer)
            escaped = key.replace("/", "\\/")
            value, resolve_value = self.document(item, f"{path}.{key}", f"{pointer}/{escaped}")
            entries.append((new_key or key, resolve_key, value, resolve_value))
            same = same and resolve_key is None and new_key == key and resolve_value is None and value is item
            known[new_key or key] = value
        if all(key is None and value is None for _, key, _, value in entries):
            return (mapping if same else known), None
        if all(resolve_key is None for _, resolve_key, _, _ in entries):
            dynamic = tuple((key, resolve) for key, _, _, resolve in entries if resolve is not None)

            def resolve_values(
                context: dict[str, Any],
                budget: Budget,
                deletes: bool,  # noqa: FBT001 - hot path
            ) -> values.JSON:
                result = known.copy()
                for key, item in dynamic:
                    result[key] = item(context, budget, deletes)
                return result

            return None, resolve_values

        def resolve(context: dict[str, Any], budget: Budget, deletes: bool) -> values.JSON:  # noqa: FBT001 - hot path
            result: dict[str, Any] = {}
            for key, resolve_key, value, resolve_value in entries:
                name = key if resolve_key is None else resolve_key(context, budget, deletes)
                if type(name) is not str:
                    raise errors.EvaluationError(f'expected string after substituting variables in key "{key}"')
                result[name] = value if resolve_value is None else resolve_value(context, budget, deletes)
            return result

        return None, resolve

    def text(self, text: str, path: str, pointer: str) -> tuple[str | None, _Resolve | None]:
        if "$(" in text:
            try:
                text = self._references.replaced(text, pointer)
            except errors.EvaluationError as problem:
                self._problem(path, str(problem))
                return text, None
        if "{{" not in text:
            return text, None
        found = list(_VARIABLE.finditer(text))
        if not found:
            return text.replace("\\{{", "{{"), None
        parts: list[str | _Variable] = []
        position = 0
        for match in found:
            parts.append(text[position : match.start(2)])
            try:
                variable = _Variable(match[2], pointer, self._around)
            except jmespath.ExpressionInvalid as problem:
                self._problem(path, str(problem))
                continue
            self.expressions.append(variable.text)
            parts.append(variable)
            position = match.end(2)
        parts.append(text[position:])
        if found[0][2] == text and len(parts) == 3:
            return None, parts[1] if isinstance(parts[1], _Variable) else None
        return None, _Splice(tuple(part for part in parts if part != ""), pointer, self._around)

    def _problem(self, path: str, reason: str) -> None:
        self.problems.append(errors.Problem(path, reason))


class _Variable:
    """One `{{ ... }}` without another inside it; called, it gives its value.

    Attributes:
        text: Its expression.
        shallow: It was written `{{- ... }}`: what it gives is not looked at again.
    """

    __slots__ = ("_expression", "_on_delete", "_target", "_where", "shallow", "text")

    def __init__(self, braces: str, pointer: str, around: str) -> None:
        text, self.shallow = _inside(braces)
        self._where = around + pointer
        self._target: jmespath.Expression | None = None
        if text == "@":
            self._target = jmespath.compile(_place("target", pointer))
            text = _place("request.object", pointer)
        self.text = text
        self._expression = jmespath.compile(text)
        self._on_delete = self._expression
        if "request.object" in text:
            self._on_delete = jmespath.compile(text.replace("request.object", "request.oldObject"))

    def __call__(self, context: dict[str, Any], budget: Budget, deletes: bool) -> values.JSON:  # noqa: FBT001 - hot path
        expression = self._on_delete if deletes else self._expression
        if self._target is not None and "target" in context:
            expression = self._target
        try:
            return expression.search(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            reason = str(cause) if isinstance(cause, errors.LoadFailed) else f"JMESPath query failed: {cause}"
            raise type(cause)(f"failed to resolve {expression.text} at path {self._where}: {reason}") from cause


class _Splice:
    """A string with variables among other text; called, it gives the string with their values."""

    __slots__ = ("_again", "_around", "_parts", "_pointer")

    def __init__(self, parts: tuple[str | _Variable, ...], pointer: str, around: str) -> None:
        self._parts = parts
        self._pointer = pointer
        self._around = around
        variables = [part for part in parts if isinstance(part, _Variable)]
        self._again = not variables or not variables[-1].shallow

    def __call__(self, context: dict[str, Any], budget: Budget, deletes: bool) -> values.JSON:  # noqa: FBT001 - hot path
        texts = [
            part if isinstance(part, str) else _spliced(part(context, budget, deletes), part.shallow, budget)
            for part in self._parts
        ]
        text = "".join(texts)
        budget.allocate(len(text))
        if "{{" not in text:
            return text
        if self._again:
            return _resolve_again(text, self._pointer, self._around, context, budget, deletes)
        return text.replace("\\{{", "{{")


def _resolve_again(
    text: str,
    pointer: str,
    around: str,
    context: dict[str, Any],
    budget: Budget,
    deletes: bool,  # noqa: FBT001 - hot path
) -> values.JSON:
    """Replace variables that came up while others were replaced, until none is left."""
    while True:
        budget.spend(1 + len(text) // 100)
        found = list(_VARIABLE.finditer(text))
        shallow = False
        before = text
        for match in found:
            prefix, braces = match.groups()
            budget.spend(_COMPILE_COST + _COMPILE_COST_PER_CHARACTER * len(braces))
            try:
                variable = (_cached if len(braces) <= _LONGEST_CACHED else _Variable)(braces, pointer, around)
            except jmespath.ExpressionInvalid as problem:
                inside, _ = _inside(braces)
                raise errors.EvaluationError(
                    f"failed to resolve {inside} at path {around}{pointer}: {problem}"
                ) from problem
            value = variable(context, budget, deletes)
            if braces == before:
                return value
            shallow = variable.shallow
            budget.allocate(len(text))
            text = text.replace(prefix + braces, prefix + _spliced(value, shallow, budget), 1)
        if shallow or not found:
            return text.replace("\\{{", "{{")


def expression(text: str, budget: Budget) -> jmespath.Expression:
    """Compile an expression that is known only at run time, because variables in it had to be replaced.

    Raises:
        EvaluationError: It is no valid expression, or the budget is exhausted.
    """
    budget.spend(_COMPILE_COST + _COMPILE_COST_PER_CHARACTER * len(text))
    try:
        return _compiled(text) if len(text) <= _LONGEST_CACHED else jmespath.compile(text)
    except jmespath.ExpressionInvalid as problem:
        raise errors.EvaluationError(f"failed to compile JMESPath: {text}, error: {problem}") from problem


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> jmespath.Expression:
    return jmespath.compile(text)


@functools.lru_cache(maxsize=256)
def _cached(braces: str, pointer: str, around: str) -> _Variable:
    return _Variable(braces, pointer, around)


def _inside(braces: str) -> tuple[str, bool]:
    """The expression of a variable, and whether it is shallow."""
    text = braces.replace("{{", "").replace("}}", "").strip()
    return (text[1:].strip(), True) if text.startswith("-") else (text, False)


def _spliced(value: values.JSON, shallow: bool, budget: Budget) -> str:  # noqa: FBT001 - one of two looks
    text = value if isinstance(value, str) else values.to_json(value, budget)
    return text.replace("{{", "\\{{") if shallow else text


def _place(root: str, pointer: str) -> str:
    """The JMESPath of a place in the object: `/spec/ports/0/(name)` is `request.object.spec.ports[0].name`."""
    path = root
    for part in re.split(r"(?<!\\)/", pointer)[1:]:
        key = part.replace("\\/", "/")
        if key.isdecimal():
            path += f"[{key}]"
            continue
        anchor = _ANCHOR.fullmatch(key)
        name = anchor[1] if anchor else key
        path += f".{name if _IDENTIFIER.fullmatch(name) else json.dumps(name)}"
    return path
