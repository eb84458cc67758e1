"""Syntax trees to nested closures: one Python call a node, no look at the tree at run time.

Kyverno's fork of JMESPath differs from the specification in one rule: a key that a map does not hold is an error
(`Unknown key "x" in path`), not null. Comparators, function arguments, `||`, `!`, pipes, projections, filters and
multi-selects turn the error into null; plain paths and the right side of `&&` let it out. Here each node is compiled
for the place where it stands: `strict` closures raise, `lenient` ones give null, and the common lenient forms never
raise at all.

Projections over something that fails (not only: is missing) are null in the fork when they filter, flatten or take
values; that is kept, but an exhausted budget always gets through.
"""

import operator
from collections.abc import Callable
from typing import Any

from kymograph.engine import errors, values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath import functions, grammar
from kymograph.engine.jmespath.functions import Search

_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_RAISING = frozenset({"field", "subexpression", "index_expression", "and_expression"})


class Compiler:
    """Compiles one expression.

    Args:
        text: The expression, for messages.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def strict(self, node: grammar.Node) -> Search:
        """Compile a node where a missing key is an error."""
        children = node["children"]
        match node["type"]:
            case "field" | "index":
                return _strict_path((node["value"],))
            case "subexpression" | "index_expression":
                return self._chain(node)
            case "current" | "identity":
                return _current
            case "literal":
                literal = node["value"]
                return lambda _value, _budget: literal
            case "slice":
                return self._slice(slice(*children))
            case "projection":
                return self._projection(self.lenient(children[0]), children[1])
            case "value_projection":
                return self._value_projection(_swallow(children[0], self.lenient(children[0])), children[1])
            case "filter_projection":
                return self._filter(_swallow(children[0], self.lenient(children[0])), children[1], children[2])
            case "flatten":
                return _flatten(_swallow(children[0], self.lenient(children[0])))
            case "pipe":
                return _sequence([self.lenient(child) for child in children])
            case "or_expression":
                return _or(self.lenient(children[0]), self.lenient(children[1]))
            case "and_expression":
                return _and(self.lenient(children[0]), self.strict(children[1]))
            case "not_expression":
                return _not(self.lenient(children[0]))
            case "comparator":
                return self._comparator(node["value"], *children)
            case "multi_select_list":
                return _select_list(tuple(self.lenient(child) for child in children))
            case "multi_select_dict":
                return _select_dict(tuple((child["value"], self.lenient(child["children"][0])) for child in children))
            case "function_expression":
                return self._call(node["value"], children)
            case "expref":
                raise self._invalid("&", "an expression reference is an argument of a function, nothing else")
        raise self._invalid("", f"{node['type']} is no part of JMESPath in Kyverno")

    def lenient(self, node: grammar.Node) -> Search:
        """Compile a node where a missing key is null."""
        children = node["children"]
        match node["type"]:
            case "field" | "index":
                return _lenient_path((node["value"],))
            case "subexpression" | "index_expression":
                steps = _steps(node)
                if (keys := _keys(steps)) is not None:
                    return _lenient_path(keys)
            case "and_expression":
                return _and(self.lenient(children[0]), self.lenient(children[1]))
        search = self.strict(node)
        return _absorb(search) if node["type"] in _RAISING else search

    def _invalid(self, at: str, reason: str) -> grammar.ExpressionInvalid:
        return grammar.ExpressionInvalid(self._text, max(self._text.find(at), 0), reason)

    def _chain(self, node: grammar.Node) -> Search:
        """`a.b[0].c`: one walk for the keys at the start, one closure for each step after them."""
        steps = _steps(node)
        plain = 0
        while plain < len(steps) and steps[plain]["type"] in ("field", "index"):
            plain += 1
        head = [_strict_path(tuple(step["value"] for step in steps[:plain]))] if plain else []
        return _sequence(head + [self.strict(step) for step in steps[plain:]])

    def _slice(self, part: slice) -> Search:
        if part.step == 0:
            raise self._invalid(":0", "the step of a slice cannot be 0")

        def cut(value: values.JSON, budget: Budget) -> values.JSON:
            if type(value) is not list:
                return None
            budget.spend(len(value))
            return value[part]

        return cut

    def _projection(self, source: Search, right: grammar.Node) -> Search:
        if right["type"] == "identity":

            def all_of(value: values.JSON, budget: Budget) -> values.JSON:
                items = source(value, budget)
                if type(items) is not list:
                    return None
                budget.spend(len(items))
                return [item for item in items if item is not None]

            return all_of
        each, weight = self.lenient(right), _weight(right)

        def project(value: values.JSON, budget: Budget) -> values.JSON:
            items = source(value, budget)
            if type(items) is not list:
                return None
            budget.spend(len(items) * weight)
            return [result for item in items if (result := each(item, budget)) is not None]

        return project

    def _value_projection(self, source: Search, right: grammar.Node) -> Search:
        each, weight = self.lenient(right), _weight(right)

        def project(value: values.JSON, budget: Budget) -> values.JSON:
            mapping = source(value, budget)
            if not isinstance(mapping, dict):
                return None
            budget.spend(len(mapping) * weight)
            return [result for item in mapping.values() if (result := each(item, budget)) is not None]

        return project

    def _filter(self, source: Search, right: grammar.Node, condition: grammar.Node) -> Search:
        test, weight = self.lenient(condition), _weight(condition) + _weight(right)
        truthy = values.truthy
        if right["type"] == "identity":

            def keep(value: values.JSON, budget: Budget) -> values.JSON:
                items = source(value, budget)
                if type(items) is not list:
                    return None
                budget.spend(len(items) * weight)
                return [item for item in items if item is not None and truthy(test(item, budget))]

            return keep
        each = self.lenient(right)

        def project(value: values.JSON, budget: Budget) -> values.JSON:
            items = source(value, budget)
            if type(items) is not list:
                return None
            budget.spend(len(items) * weight)
            return [
                result for item in items if truthy(test(item, budget)) and (result := each(item, budget)) is not None
            ]

        return project

    def _comparator(self, name: str, left_node: grammar.Node, right_node: grammar.Node) -> Search:
        left, right = self.lenient(left_node), self.lenient(right_node)
        if name in _ORDERINGS:
            ordered, is_number = _ORDERINGS[name], values.is_number

            def compare(value: values.JSON, budget: Budget) -> values.JSON:
                a, b = left(value, budget), right(value, budget)
                return ordered(a, b) if is_number(a) and is_number(b) else None

            return compare
        same = name == "eq"
        if right_node["type"] == "literal" and isinstance(right_node["value"], str | None):
            literal = right_node["value"]
            if same:
                return lambda value, budget: left(value, budget) == literal
            return lambda value, budget: left(value, budget) != literal
        equal = values.equal
        return lambda value, budget: equal(left(value, budget), right(value, budget), budget) is same

    def _call(self, name: str, arguments: list[grammar.Node]) -> Search:
        function = functions.TABLE.get(name)
        if function is None:
            raise self._invalid(name, f"there is no function {name}()")
        if (problem := function.arity_problem(len(arguments))) is not None:
            raise self._invalid(name, problem)
        closures = []
        for number, argument in enumerate(arguments):
            parameter = function.parameters[min(number, len(function.parameters) - 1)]
            if parameter.expression is not (argument["type"] == "expref"):
                wanted = "an expression (&...)" if parameter.expression else f"a value of type {parameter}"
                raise self._invalid(name, f"argument #{number + 1} of {name}() must be {wanted}")
            closures.append(self.lenient(argument["children"][0] if parameter.expression else argument))
        return functions.close(function, tuple(closures))


def weight(node: grammar.Node) -> int:
    """How many steps one evaluation of a node costs beside its loops: its number of nodes."""
    return _weight(node)


def _weight(node: grammar.Node) -> int:
    return 1 + sum(_weight(child) for child in node["children"] if isinstance(child, dict))


def _steps(node: grammar.Node) -> list[grammar.Node]:
    """The parts of a path, from left to right."""
    if node["type"] not in ("subexpression", "index_expression"):
        return [node]
    return [step for child in node["children"] for step in _steps(child)]


def _keys(steps: list[grammar.Node]) -> tuple[str | int, ...] | None:
    if all(step["type"] in ("field", "index") for step in steps):
        return tuple(step["value"] for step in steps)
    return None


def _current(value: values.JSON, _: Budget) -> values.JSON:
    return value


def _strict_path(keys: tuple[str | int, ...]) -> Search:
    if all(type(key) is str for key in keys):

        def fields(value: values.JSON, _: Budget) -> values.JSON:
            for key in keys:
                if type(value) is not dict and not isinstance(value, dict):
                    return None
                try:
                    value = value[key]
                except KeyError:
                    raise errors.NotFoundInPath(f'Unknown key "{key}" in path') from None
            return value

        return fields

    def path(value: values.JSON, _: Budget) -> values.JSON:
        for key in keys:
            if type(key) is int:
                value = _item(value, key)
            elif isinstance(value, dict):
                try:
                    value = value[key]
                except KeyError:
                    raise errors.NotFoundInPath(f'Unknown key "{key}" in path') from None
            else:
                return None
        return value

    return path


def _lenient_path(keys: tuple[str | int, ...]) -> Search:
    if len(keys) == 1 and type(keys[0]) is str:
        only = keys[0]
        return lambda value, _: value.get(only) if type(value) is dict else _lookup(value, only)

    def path(value: values.JSON, _: Budget) -> values.JSON:
        for key in keys:
            value = value.get(key) if type(value) is dict else _lookup(value, key)
            if value is None:
                return None
        return value

    return path


def _lookup(value: values.JSON, key: str | int) -> values.JSON:
    """The rarer steps of a path: an index, or a key of a map that loads its entries when asked (`__missing__`)."""
    if type(key) is int:
        return _item(value, key)
    if isinstance(value, dict):
        try:
            return value[key]
        except KeyError:
            return None
    return None


def _item(value: values.JSON, index: int) -> values.JSON:
    return value[index] if type(value) is list and -len(value) <= index < len(value) else None


def _sequence(searches: list[Search]) -> Search:
    if len(searches) == 1:
        return searches[0]
    if len(searches) == 2:
        first, second = searches
        return lambda value, budget: second(first(value, budget), budget)
    steps = tuple(searches)

    def run(value: values.JSON, budget: Budget) -> values.JSON:
        for step in steps:
            value = step(value, budget)
        return value

    return run


def _absorb(search: Search) -> Search:
    def absorbed(value: values.JSON, budget: Budget) -> values.JSON:
        try:
            return search(value, budget)
        except errors.NotFoundInPath:
            return None

    return absorbed


def _swallow(node: grammar.Node, search: Search) -> Search:
    """Turn any failure into null, as the fork does with what filters, flattens and value projections stand on."""
    if node["type"] in ("field", "identity", "current") or _keys(_steps(node)) is not None:
        return search

    def swallowed(value: values.JSON, budget: Budget) -> values.JSON:
        try:
            return search(value, budget)
        except (errors.BudgetExhausted, errors.LoadFailed):
            raise
        except errors.EvaluationError:
            return None

    return swallowed


def _flatten(source: Search) -> Search:
    def flatten(value: values.JSON, budget: Budget) -> values.JSON:
        items = source(value, budget)
        if type(items) is not list:
            return None
        budget.spend(len(items) + sum([len(item) for item in items if type(item) is list]))
        flat: list[Any] = []
        for item in items:
            if type(item) is list:
                flat.extend(item)
            else:
                flat.append(item)
        return flat

    return flatten


def _or(left: Search, right: Search) -> Search:
    truthy = values.truthy

    def either(value: values.JSON, budget: Budget) -> values.JSON:
        first = left(value, budget)
        return first if truthy(first) else right(value, budget)

    return either


def _and(left: Search, right: Search) -> Search:
    truthy = values.truthy

    def both(value: values.JSON, budget: Budget) -> values.JSON:
        first = left(value, budget)
        return right(value, budget) if truthy(first) else first

    return both


def _not(inner: Search) -> Search:
    truthy = values.truthy
    return lambda value, budget: not truthy(inner(value, budget))


def _select_list(searches: tuple[Search, ...]) -> Search:
    return lambda value, budget: None if value is None else [search(value, budget) for search in searches]


def _select_dict(searches: tuple[tuple[str, Search], ...]) -> Search:
    return lambda value, budget: None if value is None else {key: search(value, budget) for key, search in searches}
