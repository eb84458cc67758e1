"""What a JMESPath function is: a name, typed parameters and an implementation; and the table of all of them.

Arguments are checked before an implementation sees them, so implementations say nothing about types. Arity and names
are checked when an expression is compiled. Modules enter their functions into the table with `register`.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from kymograph.engine import errors, values
from kymograph.engine.budget import Budget

Search: TypeAlias = Callable[[values.JSON, Budget], values.JSON]
"""A compiled expression: from a value, spending from a budget, to a value."""


class Type(enum.Enum):
    """The types that JMESPath checks arguments for."""

    BOOLEAN = "boolean"
    NUMBER = "number"
    STRING = "string"
    ARRAY = "array"
    OBJECT = "object"
    NUMBERS = "array[number]"
    STRINGS = "array[string]"
    EXPRESSION = "expref"
    NULL = "null"
    ANY = "any"


_EXACT = float(1 << 53)  # beyond it not every integer is a float

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

    @property
    def listed(self) -> str:
        """The types as go-jmespath writes them where an argument has none of them."""
        names = ", ".join(f'"{one.value}"' for one in self._types)
        return f"[]jmespath.JpType{{{names}}}"

    def __str__(self) -> str:
        return " or ".join(one.value for one in self._types)


class Function(NamedTuple):
    """A function that expressions may call.

    Attributes:
        name: How expressions call it.
        parameters: What it takes.
        implementation: Called with the budget and the checked arguments; a loop over an argument spends, text that
            is made is allocated. It raises `EvaluationError` with the message of `failure`.
        returns: The types of what it gives.
        note: What it does, in a line.
        variadic: Whether the last parameter may be given more than once.
        standard: Whether it is JMESPath's; else Kyverno's.
    """

    name: str
    parameters: tuple[Parameter, ...]
    implementation: Callable[..., Any]
    returns: Parameter
    note: str
    variadic: bool = False
    standard: bool = False

    def __str__(self) -> str:
        names = ", ".join(map(str, self.parameters)) + ("..." if self.variadic else "")
        return f"{self.name}({names}) -> {self.returns}"

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


NUMBER = Parameter(Type.NUMBER)
STRING = Parameter(Type.STRING)
BOOLEAN = Parameter(Type.BOOLEAN)
ARRAY = Parameter(Type.ARRAY)
OBJECT = Parameter(Type.OBJECT)
STRINGS = Parameter(Type.STRINGS)
ANY = Parameter(Type.ANY)
TEXT = Parameter(Type.STRING, Type.NUMBER)


TABLE: dict[str, Function] = {}
"""All functions by name."""


def register(
    name: str,
    *parameters: Parameter,
    returns: Parameter,
    note: str,
    variadic: bool = False,
    standard: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the table."""

    def enter(implementation: Callable[..., Any]) -> Callable[..., Any]:
        TABLE[name] = Function(name, parameters, implementation, returns, note, variadic, standard)
        return implementation

    return enter


def catalogue() -> tuple[Function, ...]:
    """All functions by name, for those who want to know what expressions may call.

    `str(function)` is its signature, `function.note` says what it does, `function.standard` whose it is.
    """
    return tuple(TABLE[name] for name in sorted(TABLE))


def from_float(value: float) -> float:
    """A result as JSON has it: whole numbers are integers, as Go writes them."""
    return int(value) if abs(value) < _EXACT and value.is_integer() else value


def close(function: Function, arguments: tuple[Search, ...]) -> Search:
    """Make the closure of a call.

    Args:
        function: What is called.
        arguments: The closures of its arguments; for an expression parameter the closure that is passed on.
    """
    implementation = function.implementation
    parameters = function.parameters + function.parameters[-1:] * (len(arguments) - len(function.parameters))

    def check(number: int, argument: values.JSON, budget: Budget) -> None:
        if not parameters[number].accepts(argument, budget):
            shown = values.to_text(values.as_floats(argument), budget)
            raise errors.EvaluationError(f"Invalid type for: {shown}, expected: {parameters[number].listed}")

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
