"""The grammar: text to syntax tree, by the parser of the `jmespath` library, within limits of size and depth.

Kyverno's fork kept the grammar of 2020 (no `let`, no arithmetic), which is the library's. Everything that the library
raises becomes `ExpressionInvalid` with a position; its cache of trees is not used, since whole expressions may come out
of objects and callers keep what they compile.
"""

import warnings
from typing import Any, ClassVar, TypeAlias, cast

from jmespath import exceptions, parser

from kymograph.engine import errors

LONGEST = 32 * 1024
"""Characters of the longest expression; the longest of Kyverno's library has some 900."""

DEEPEST = 100
"""Levels of the deepest syntax tree; evaluation needs one Python frame a level, or a few in functions."""

Node: TypeAlias = dict[str, Any]
"""A node of the library: `type`, `children`, and `value` where the type has one."""


class ExpressionInvalid(errors.EngineError):
    """A JMESPath expression cannot be compiled.

    Attributes:
        expression: Its text.
        position: The character at which it goes wrong, counted from zero.
    """

    def __init__(self, expression: str, position: int, reason: str) -> None:
        shown = expression if len(expression) <= 200 else f"{expression[:200]}..."
        super().__init__(f"invalid JMESPath {shown!r} at character {position}: {reason}")
        self.expression = expression
        self.position = position


class _Parser(parser.Parser):
    """The library's parser, remembering nothing."""

    _MAX_SIZE: ClassVar[int] = 0


def parse(text: str) -> Node:
    """Parse an expression.

    Raises:
        ExpressionInvalid: The text is no JMESPath, too long or too deeply nested.
    """
    if len(text) > LONGEST:
        raise ExpressionInvalid(text, LONGEST, f"longer than {LONGEST} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PendingDeprecationWarning)
            tree = cast("Node", _Parser().parse(text).parsed)
    except exceptions.EmptyExpressionError:
        raise ExpressionInvalid(text, 0, "it is empty") from None
    except exceptions.IncompleteExpressionError:
        raise ExpressionInvalid(text, len(text), "it is incomplete") from None
    except exceptions.LexerError as problem:
        raise ExpressionInvalid(text, problem.lexer_position, problem.message) from None
    except exceptions.ParseError as problem:
        raise ExpressionInvalid(text, problem.lex_position, problem.msg) from None
    except PendingDeprecationWarning:
        raise ExpressionInvalid(text, text.index("`"), "a literal in backticks must be JSON") from None
    except RecursionError:
        raise ExpressionInvalid(text, 0, f"nested deeper than {DEEPEST} levels") from None
    except ValueError as problem:
        raise ExpressionInvalid(text, 0, str(problem)) from None
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ExpressionInvalid(text, 0, f"nested deeper than {DEEPEST} levels")
        level = [child for node in level for child in node["children"] if isinstance(child, dict)]
    return tree
