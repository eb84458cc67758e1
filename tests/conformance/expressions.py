"""Expressions of chainsaw's files: text wholly in parentheses, with `$name` for what is bound.

Chainsaw speaks the community edition of JMESPath with functions of kyverno-json. Here the engine's own compiler does
it. What differs: there is no `let`, functions are those that policies may call (and `trim_space` of what is bound), and
`$name` stands for the value itself wherever it is written, as if it had been spelled out there.
"""

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

from kymograph.engine import budget, errors, jmespath

_WHOLE = re.compile(r"^\((.+)\)$", re.DOTALL)
_PARTS = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`"""
    r"""|trim_space\(\$(?P<trimmed>\w+)\)|\$(?P<name>\w+)""",
    re.DOTALL,
)

Bindings = Mapping[str, Any]


class ExpressionFailed(Exception):
    """An expression cannot be evaluated: a name that nothing is bound to, or a function's refusal."""


class ExpressionInvalid(ExpressionFailed):
    """What stands in parentheses is no expression."""


def inner(text: str) -> str | None:
    """What stands in the parentheses of an expression; None for text that is none."""
    found = _WHOLE.match(text)
    return found[1].strip() if found else None


def evaluate(expression: str, value: Any, bindings: Bindings) -> Any:
    """Evaluate an expression, given without its parentheses.

    Args:
        expression: JMESPath.
        value: What `@` is.
        bindings: What `$name` is.

    Raises:
        ExpressionFailed: See there.
    """

    def spelled(part: re.Match[str]) -> str:
        name = part["trimmed"] or part["name"]
        if name is None:
            return part[0]
        if name not in bindings:
            raise ExpressionFailed(f"{expression}: nothing is bound to ${name}")
        bound = bindings[name].strip() if part["trimmed"] else bindings[name]
        return f"`{orjson.dumps(bound).decode().replace('`', chr(92) + '`')}`"

    try:
        return jmespath.compile(_PARTS.sub(spelled, expression)).search(value, budget.Budget())
    except errors.NotFoundInPath:
        return None
    except jmespath.ExpressionInvalid as error:
        raise ExpressionInvalid(f"{expression}: {error}") from error
    except errors.EvaluationError as error:
        raise ExpressionFailed(f"{expression}: {error}") from error


def filled(document: Any, bindings: Bindings) -> Any:
    """A copy of a template with every expression among its values replaced; keys are left as they are.

    Text in parentheses stays where it is no expression or uses nothing that is bound: it is the policy's own, such as a
    condition in CEL. Chainsaw is told by configuration which files are no templates.

    Raises:
        ExpressionFailed: See there.
    """
    if isinstance(document, dict):
        return {key: filled(value, bindings) for key, value in document.items()}
    if isinstance(document, list):
        return [filled(value, bindings) for value in document]
    if isinstance(document, str) and (expression := inner(document)) is not None and "$" in expression:
        with contextlib.suppress(ExpressionInvalid):
            return evaluate(expression, {}, bindings)
    return document
