"""`kymograph jp`: JMESPath as policies speak it, to try expressions on and to look functions up.

Exit status: 0, 1 if an expression is wrong, fails on the input, or the input cannot be read, 2 if the command line
itself is wrong.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from kymograph.apimachinery import yamls
from kymograph.cli import endings
from kymograph.cli.offline import errors, expressions
from kymograph.engine import budget as budgets
from kymograph.engine import errors as engine_errors
from kymograph.engine import jmespath, values
from kymograph.engine.jmespath import functions, grammar


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    commands = parser.add_subparsers(dest="jp_command", required=True, metavar="COMMAND", help="what to do")
    query = commands.add_parser("query", help="evaluate expressions on an input")
    query.add_argument("queries", nargs="*", metavar="EXPRESSION", help="an expression")
    query.add_argument(
        "-q", "--query", action="append", default=[], metavar="FILE", help="a file with an expression; repeatable"
    )
    query.add_argument("-i", "--input", metavar="FILE", help="YAML or JSON to evaluate on (default: standard input)")
    query.add_argument("-c", "--compact", action="store_true", help="print JSON on one line")
    query.add_argument("-u", "--unquoted", action="store_true", help="print a result that is text without quotes")
    query.set_defaults(jp_run=_query)
    parse = commands.add_parser("parse", help="show how expressions are understood")
    parse.add_argument("expressions", nargs="*", metavar="EXPRESSION", help="an expression (default: standard input)")
    parse.add_argument(
        "-f", "--file", action="append", default=[], metavar="FILE", help="a file with an expression; repeatable"
    )
    parse.set_defaults(jp_run=_parse)
    function = commands.add_parser("function", help="list the functions that expressions may call")
    function.add_argument("names", nargs="*", metavar="NAME", help="only these functions (default: all)")
    function.set_defaults(jp_run=_functions)


@endings.may_be_cut_short
def run(options: argparse.Namespace) -> int:
    """Do what was asked; returns the exit status."""
    chosen: Callable[[argparse.Namespace], int] = options.jp_run
    try:
        return chosen(options)
    except (errors.OfflineError, engine_errors.EvaluationError) as error:
        sys.stderr.write(f"Error: {error}\n")
    except jmespath.ExpressionInvalid as invalid:
        sys.stderr.write(f"Error: {invalid}\n{_pointed(invalid)}\n")
    return 1


def _query(options: argparse.Namespace) -> int:
    queries = [*options.queries, *(_read(name).strip() for name in options.query)]
    if not queries and options.input is None:
        raise _unusable("jp query", "at least one query or input object is required")
    if not queries:
        sys.stderr.write("Reading from terminal input.\nEnter a jmespath expression and hit Ctrl+D.\n")
        queries = [_read("-").strip()]
    compiled = [jmespath.compile(query) for query in queries]
    if options.input is None:
        sys.stderr.write("Reading from terminal input.\nEnter input object and hit Ctrl+D.\n")
    data = _input(options.input or "-")
    for expression in compiled:
        found = expressions.search(expression, data)
        text = found if options.unquoted and isinstance(found, str) else _json(found, compact=options.compact)
        sys.stdout.write(f"# {expression.text}\n{text}\n")
    return 0


def _parse(options: argparse.Namespace) -> int:
    expressions = [*options.expressions, *(_read(name).strip() for name in options.file)]
    if not expressions:
        sys.stderr.write("Reading from terminal input.\nEnter a jmespath expression and hit Ctrl+D.\n")
        expressions = [_read("-").strip()]
    for expression in expressions:
        lines = "\n".join(_tree(grammar.parse(expression), ""))
        sys.stdout.write(f"# {expression}\n{lines}\n")
    return 0


def _functions(options: argparse.Namespace) -> int:
    known = functions.catalogue()
    unknown = sorted(set(options.names) - {each.name for each in known})
    for each in known:
        if not options.names or each.name in options.names:
            sys.stdout.write(f"Name: {each.name}\n  Signature: {each}\n  Note:      {each.note}\n\n")
    for name in unknown:
        sys.stderr.write(f"Error: there is no function {name}\n")
    return 1 if unknown else 0


def _json(value: Any, *, compact: bool) -> str:
    """A result as JSON, with sorted keys and whole numbers without a fraction."""
    plain = orjson.loads(values.to_json(value, budgets.Budget()))
    return orjson.dumps(plain, option=0 if compact else orjson.OPT_INDENT_2).decode()


def _tree(node: Any, indent: str) -> Iterator[str]:
    """A syntax tree, a node a line, what it consists of indented below it."""
    if not isinstance(node, dict):
        yield f"{indent}{node}"
        return
    value = f" {orjson.dumps(node['value']).decode()}" if "value" in node else ""
    yield f"{indent}{node['type']}{value}"
    for child in node["children"]:
        yield from _tree(child, f"{indent}  ")


def _input(name: str) -> Any:
    shown = "<stdin>" if name == "-" else name
    try:
        found = yamls.load_all(_read_bytes(name), shown)
    except yamls.YAMLInvalid as invalid:
        raise _unusable(shown, f"column {invalid.column}: {invalid.reason}", invalid.line) from invalid
    return found[0].value if found else None


def _read(name: str) -> str:
    try:
        return _read_bytes(name).decode()
    except UnicodeDecodeError as error:
        raise _unusable(name, "not UTF-8 text") from error


def _read_bytes(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else pathlib.Path(name).read_bytes()
    except OSError as error:
        raise _unusable(name, f"cannot be read: {error.strerror or error}") from error


def _pointed(invalid: jmespath.ExpressionInvalid) -> str:
    """The line of the expression that is wrong, and a mark under the place."""
    before = invalid.expression[: invalid.position]
    start = before.rfind("\n") + 1
    line = invalid.expression[start:].partition("\n")[0]
    at = invalid.position - start
    first = max(0, at - 100)
    return f"{line[first : at + 100]}\n{' ' * (at - first)}^"


def _unusable(name: str, reason: str, line: int = 0) -> errors.InputInvalid:
    return errors.InputInvalid((errors.InputProblem(name, line, "", reason),))
