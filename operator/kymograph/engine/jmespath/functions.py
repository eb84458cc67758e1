"""What a JMESPath function is: a name, typed parameters and an implementation; and the table of all of them.

Arguments are checked before an implementation sees them, so implementations say nothing about types. Arity and names
are checked when an expression is compiled. Kyverno's own functions join the table with `register`; those it names but
that are not registered are refused with a message that says so.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, TypeAlias

from kymograph.engine import errors, values
from kymograph.engine.budget import Budget

Search: TypeAlias = Callable[[values.JSON, Budget], values.JSON]
"""A compiled expression: from a value, spending from a budget, to a value."""


class Type(enum.Enum):
    """The types that JMESPath checks arguments for."""

    NUMBER = "number"
    STRING = "string"
    ARRAY = "array"
    OBJECT = "object"
    NUMBERS = "array[number]"
    STRINGS = "array[string]"
    EXPRESSION = "expref"
    ANY = "any"


_PLAIN_TYPES: dict[Type, tuple[type, ...]] = {
    Type.NUMBER: (int, float),
    Type.STRING: (str,),
    Type.ARRAY: (list,),
    Type.OBJECT: (dict,),
}


class Parameter:
    """The types one argument may have.

    Attributes:
        expression: Whether the argument is an expression (`&x`), passed on as a `Search`.
        quick: The Python types that need no further look, or None where anything goes.
    """

    __slots__ = ("_types", "expression", "quick")

    def __init__(self, *types: Type) -> None:
        self._types = types
        self.expression = Type.EXPRESSION in types
        self.quick = (
            None
            if Type.ANY in types or self.expression
            else frozenset(plain for one in types for plain in _PLAIN_TYPES.get(one, ()))
        )

    def accepts(self, argument: values.JSON, budget: Budget) -> bool:
        """Whether a value that `quick` does not settle has one of the types."""
        if isinstance(argument, dict):
            return Type.OBJECT in self._types
        if not isinstance(argument, list):
            return False
        budget.spend(len(argument))
        return (Type.STRINGS in self._types and all(type(item) is str for item in argument)) or (
            Type.NUMBERS in self._types and all(map(values.is_number, argument))
        )

    def __str__(self) -> str:
        return " or ".join(one.value for one in self._types)


@dataclasses.dataclass(frozen=True, slots=True)
class Function:
    """A function that expressions may call.

    Attributes:
        name: How expressions call it.
        parameters: What it takes.
        implementation: Called with the budget and the checked arguments; a loop over an argument spends, text that
            is made is allocated. It raises `EvaluationError` with the message of `failure`.
        variadic: Whether the last parameter may be given more than once.
    """

    name: str
    parameters: tuple[Parameter, ...]
    implementation: Callable[..., Any]
    variadic: bool = False

    def arity_problem(self, given: int) -> str | None:
        """What is wrong with a number of arguments, or None."""
        expected = len(self.parameters)
        if given == expected or (self.variadic and given > expected):
            return None
        plural = "" if expected == 1 else "s"
        return f"{self.name}() takes {'at least ' if self.variadic else ''}{expected} argument{plural}, not {given}"


def failure(function: str, reason: str) -> errors.EvaluationError:
    """The error of a function, as Kyverno words it."""
    return errors.EvaluationError(f"JMESPath function '{function}': {reason}")


TABLE: dict[str, Function] = {}
"""All functions by name."""

# fmt: off - one name a line would be half this module
KYVERNOS = frozenset(
    {
        "add",
        "base64_decode",
        "base64_encode",
        "compare",
        "divide",
        "equal_fold",
        "image_normalize",
        "is_external_url",
        "items",
        "label_match",
        "lookup",
        "md5",
        "modulo",
        "multiply",
        "object_from_lists",
        "parse_json",
        "parse_yaml",
        "path_canonicalize",
        "pattern_match",
        "random",
        "regex_match",
        "regex_replace_all",
        "regex_replace_all_literal",
        "replace",
        "replace_all",
        "round",
        "semver_compare",
        "sha1",
        "sha256",
        "split",
        "subtract",
        "sum",
        "time_add",
        "time_after",
        "time_before",
        "time_between",
        "time_diff",
        "time_now",
        "time_now_utc",
        "time_parse",
        "time_since",
        "time_to_cron",
        "time_truncate",
        "time_utc",
        "to_boolean",
        "to_lower",
        "to_upper",
        "trim",
        "trim_prefix",
        "truncate",
        "x509_decode",
    }
)
# fmt: on
"""The functions that Kyverno adds to the standard ones, or replaces (`sum`)."""


def register(
    name: str, *parameters: Parameter, variadic: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the table; the later of two of one name stands (Kyverno replaces `sum`)."""

    def enter(implementation: Callable[..., Any]) -> Callable[..., Any]:
        TABLE[name] = Function(name, parameters, implementation, variadic)
        return implementation

    return enter


def close(function: Function, arguments: tuple[Search, ...]) -> Search:
    """Make the closure of a call.

    Args:
        function: What is called.
        arguments: The closures of its arguments; for an expression parameter the closure that is passed on.
    """
    implementation = function.implementation
    parameters = function.parameters + function.parameters[-1:] * (len(arguments) - len(function.parameters))
    name = function.name

    def check(number: int, argument: values.JSON, budget: Budget) -> None:
        if not parameters[number].accepts(argument, budget):
            raise failure(name, f"argument #{number + 1} is not of type {parameters[number]}")

    if len(arguments) == 1 and not parameters[0].expression:
        (only,), quick = arguments, parameters[0].quick

        def call_one(value: values.JSON, budget: Budget) -> values.JSON:
            argument = only(value, budget)
            if quick is not None and type(argument) not in quick:
                check(0, argument, budget)
            return implementation(budget, argument)

        return call_one

    if len(arguments) == 2 and not parameters[0].expression and not parameters[1].expression:
        first, second = arguments
        quick_first, quick_second = parameters[0].quick, parameters[1].quick

        def call_two(value: values.JSON, budget: Budget) -> values.JSON:
            one, two = first(value, budget), second(value, budget)
            if quick_first is not None and type(one) not in quick_first:
                check(0, one, budget)
            if quick_second is not None and type(two) not in quick_second:
                check(1, two, budget)
            return implementation(budget, one, two)

        return call_two

    def call(value: values.JSON, budget: Budget) -> values.JSON:
        given: list[Any] = []
        for number, (argument, parameter) in enumerate(zip(arguments, parameters, strict=True)):
            if parameter.expression:
                given.append(argument)
                continue
            one = argument(value, budget)
            if parameter.quick is not None and type(one) not in parameter.quick:
                check(number, one, budget)
            given.append(one)
        return implementation(budget, *given)

    return call
