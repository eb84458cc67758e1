"""Overlay patterns: a document shaped like the resource, with operators in its values and anchors in its keys.

    pattern = pattern.compile({"spec": {"containers": [{"image": "!*:latest"}]}}, "spec.rules[0].validate.pattern")
    pattern.check(pod, context, budget)

A pattern without variables is compiled once. One with variables is resolved for each request and compiled through a
small cache, because resolved patterns repeat. The resource is neither copied nor changed.
"""

import collections
from typing import Any, Literal, NamedTuple

from kymograph.engine import errors, values, variables
from kymograph.engine.budget import Budget
from kymograph.engine.pattern import checks, closures
from kymograph.engine.pattern.mismatches import Kind

__all__ = ["Outcome", "Pattern", "compile"]

_CACHED = 16  # resolved forms that a pattern with variables keeps
_LONGEST_CACHED = 4096
_COMPILE_COST_PER_CHARACTER = 2  # steps that compiling a resolved pattern takes


class Outcome(NamedTuple):
    """What laying a pattern on a resource gave.

    Attributes:
        status: `pass`; `fail`; `skip` when a condition or global anchor did not hold; `error` when it cannot be said
            which: Kyverno calls a mismatch an error when an anchor's key is nowhere in the resource.
        path: Where it failed, as Kyverno prints it: `/spec/containers/0/image/`; empty unless `fail`.
        message: Why, empty for `pass`.
    """

    status: Literal["pass", "fail", "skip", "error"]
    path: str = ""
    message: str = ""


_PASS = Outcome("pass")


class Pattern:
    """A compiled pattern.

    Attributes:
        expressions: The JMESPath expressions in it.
    """

    __slots__ = ("_check", "_path", "_resolved", "_template", "expressions")

    def __init__(self, document: values.JSON, path: str) -> None:
        self._template = variables.compile(document, path)
        self._path = path
        self._resolved: collections.OrderedDict[str, checks.Check] = collections.OrderedDict()
        self.expressions = self._template.expressions
        self._check = _compile(self._template.resolve({}, Budget()), path) if self._template.static else None

    def check(self, resource: dict[str, Any], context: dict[str, Any], budget: Budget) -> Outcome:
        """Lay the pattern on a resource.

        Args:
            resource: The object, or an element of it; never changed.
            context: What the pattern's variables search.
            budget: Pays for elements looked at and for resolving.

        Raises:
            EvaluationError: A variable cannot be resolved, or the budget is exhausted.
        """
        check = self._check
        if check is None:
            document = self._template.resolve(context, budget)
            try:
                check = self._compiled(document, budget)
            except errors.PolicyInvalid as problem:
                return Outcome("error", "", str(problem))
        visited: checks.Visited = []
        try:
            mismatch = check(resource, budget, visited)
        except RecursionError:
            return Outcome("error", "", "the resource is nested too deeply")
        if mismatch is None:
            return _PASS
        message = mismatch.text(budget)
        if mismatch.skips:
            return Outcome("skip", "", message)
        path = mismatch.path()
        if not path or (mismatch.kind is not Kind.NEGATION and checks.misses_key(visited)):
            return Outcome("error", "", message)
        return Outcome("fail", path, message)

    def _compiled(self, document: values.JSON, budget: Budget) -> checks.Check:
        text = values.to_json(document, budget)
        known = self._resolved.get(text)
        if known is not None:
            self._resolved.move_to_end(text)
            return known
        budget.spend(_COMPILE_COST_PER_CHARACTER * len(text))
        check = _compile(document, self._path)
        if len(text) <= _LONGEST_CACHED:
            self._resolved[text] = check
            if len(self._resolved) > _CACHED:
                self._resolved.popitem(last=False)
        return check


def compile(document: values.JSON, path: str) -> Pattern:  # noqa: A001 - the field's word
    """Compile a pattern.

    Args:
        document: The pattern; kept, and must not change.
        path: Where it stands in the policy: `spec.rules[0].validate.pattern`.

    Raises:
        PolicyInvalid: Variables or anchors that cannot be: all of them.
    """
    return Pattern(document, path)


def _compile(document: values.JSON, path: str) -> checks.Check:
    compiler = closures.Compiler()
    try:
        check = compiler.element(document, ("/",), path)
    except RecursionError:
        raise errors.PolicyInvalid((errors.Problem(path, "nested too deeply"),)) from None
    if compiler.problems:
        raise errors.PolicyInvalid(tuple(compiler.problems))
    return check
