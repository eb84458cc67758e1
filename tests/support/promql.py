"""What a PromQL expression asks for: the series that it selects, and the labels that it goes by.

It reads as much of the language as that takes. Whether an expression is one at all is for a real Prometheus to say.

Source: https://prometheus.io/docs/prometheus/latest/querying/basics/.
"""

import dataclasses
import re

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<range>\[[^]]*\])"""
    r"""|(?P<number>\d[\w.]*)"""
    r"""|(?P<name>[a-zA-Z_:][\w:]*)"""
    r"""|(?P<sign>=~|!~|!=|==|>=|<=|\S)"""
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_CALLS = _GROUPING | {"("}
"""What follows the name of a function or an aggregation."""

_WORDS = frozenset({"and", "or", "unless", "offset", "bool", "atan2", "inf", "nan"})


@dataclasses.dataclass(frozen=True)
class Selector:
    """A vector selector.

    Attributes:
        metric: The metric's name; empty where the selector names none.
        labels: The labels that it matches.
        text: It, without a range.
    """

    metric: str
    labels: frozenset[str]
    text: str


def selectors(expression: str) -> list[Selector]:
    """All vector selectors of an expression, in order."""
    tokens = list(_TOKEN.finditer(expression))
    found, at = [], 0
    while at < len(tokens):
        token = tokens[at]
        following = tokens[at + 1][0] if at + 1 < len(tokens) else ""
        if token["name"] and token[0] in _GROUPING:
            at = _closing(tokens, at, ")") if following == "(" else at
        elif token[0] == "{" or (token["name"] and following not in _CALLS and token[0] not in _WORDS):
            start, metric = at, "" if token[0] == "{" else token[0]
            if metric and following == "{":
                at += 1
            end = _closing(tokens, at, "}") if tokens[at][0] == "{" else at
            labels = frozenset(each[0] for each in tokens[at:end] if each["name"])
            found.append(Selector(metric, labels - {metric}, expression[tokens[start].start() : tokens[end].end()]))
            at = end
        at += 1
    return found


def groupings(expression: str) -> frozenset[str]:
    """The labels that results are grouped by or matched on."""
    listed = re.findall(rf"\b(?:{'|'.join(sorted(_GROUPING))})\s*\(([^)]*)\)", expression)
    return frozenset(label.strip() for labels in listed for label in labels.split(",") if label.strip())


def _closing(tokens: list[re.Match[str]], at: int, bracket: str) -> int:
    return next(each for each in range(at, len(tokens)) if tokens[each][0] == bracket)
