"""JMESPath as Kyverno speaks it: compile once, search many objects.

    expression = jmespath.compile("request.object.spec.containers[?image == 'x'].name")
    expression.search(context, budget)

Data are plain JSON values and are never changed or copied; results may be parts of them. A map may be a subclass of
dict that loads its entries when asked (`__missing__`).
"""

import functools

from kymograph.engine import errors, values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath import (  # the modules of functions enter them into the table
    arithmetic,  # noqa: F401 - as above
    closures,
    encodings,  # noqa: F401 - as above
    grammar,
    images,  # noqa: F401 - as above
    mappings,  # noqa: F401 - as above
    networks,  # noqa: F401 - as above
    regular,  # noqa: F401 - as above
    sampling,  # noqa: F401 - as above
    standard,  # noqa: F401 - as above
    texts,  # noqa: F401 - as above
    times,  # noqa: F401 - as above
)
from kymograph.engine.jmespath.grammar import ExpressionInvalid

__all__ = ["Expression", "ExpressionInvalid", "compile"]

_REMEMBERED = 512
_LONGEST_REMEMBERED = 512  # characters: expressions may come out of objects, and this bounds what they can fill


class Expression:
    """A compiled expression.

    Attributes:
        text: What it was compiled from.
    """

    __slots__ = ("_search", "_weight", "text")

    def __init__(self, text: str) -> None:
        tree = grammar.parse(text)
        self.text = text
        self._search = closures.Compiler(text).strict(tree)
        self._weight = closures.weight(tree)

    def search(self, data: values.JSON, budget: Budget) -> values.JSON:
        """Evaluate the expression on a value.

        Raises:
            NotFoundInPath: A plain path names a key that a map does not hold.
            EvaluationError: A function was given what it does not take, or the budget is exhausted.
        """
        budget.spend(self._weight)
        try:
            return self._search(data, budget)
        except RecursionError:
            raise errors.EvaluationError("the value is nested too deeply") from None
        except OverflowError:
            raise errors.EvaluationError("a number is too large to compute with") from None

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def compile(text: str) -> Expression:  # noqa: A001 - the field's word: jmespath.compile
    """Compile an expression; policies repeat each other's, and their own where they are checked and rewritten.

    Raises:
        ExpressionInvalid: Syntax, an unknown function, a wrong number of arguments, too long or nested too deeply.
    """
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else Expression(text)


@functools.lru_cache(maxsize=_REMEMBERED)
def _remembered(text: str) -> Expression:
    return Expression(text)
