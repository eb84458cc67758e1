"""Kyverno's functions of regular expressions, which are Go's; numbers are matched as text."""

from kymograph.engine import errors, regex
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath import texts
from kymograph.engine.jmespath.functions import BOOLEAN, STRING, TEXT, failure, register


@register("regex_match", STRING, TEXT, returns=BOOLEAN, note="whether a regular expression matches anywhere in a text")
def _regex_match(budget: Budget, pattern: str, subject: str | float) -> bool:
    try:
        compiled = regex.compile(pattern)
    except regex.RegexInvalid as problem:
        raise errors.EvaluationError(str(problem)) from None
    return compiled.found_in(texts.as_text(subject), budget)


@register(
    "regex_replace_all",
    STRING,
    TEXT,
    TEXT,
    returns=STRING,
    note="a text with what matches replaced; `$1` and `${name}` are groups",
)
def _regex_replace_all(budget: Budget, pattern: str, subject: str | float, template: str | float) -> str:
    compiled = _compile("regex_replace_all", pattern)
    return compiled.replace(texts.as_text(subject), texts.as_text(template), budget)


@register(
    "regex_replace_all_literal",
    STRING,
    TEXT,
    TEXT,
    returns=STRING,
    note="a text with what matches replaced by a text in which `$` means nothing",
)
def _regex_replace_all_literal(budget: Budget, pattern: str, subject: str | float, text: str | float) -> str:
    compiled = _compile("regex_replace_all_literal", pattern)
    return compiled.replace_literal(texts.as_text(subject), texts.as_text(text), budget)


def _compile(function: str, pattern: str) -> regex.Pattern:
    try:
        return regex.compile(pattern)
    except regex.RegexInvalid as problem:
        raise failure(function, str(problem)) from None
