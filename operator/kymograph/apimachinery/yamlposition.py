"""The line that a field of a document stands on.

Asked only when something is to be said about a field, so the document is parsed again with its positions then.
"""

import functools
from typing import Any

import yaml

Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # what scalars mean is of no interest here


def line_of(text: str, path: str) -> int:
    """The line of a field within a document, from 0; of the nearest field above it, when it is not there.

    Args:
        text: One document that `yamlbuild` can read.
        path: Keys and indices as in `spec.rules[0].match`; a key may contain dots.
    """
    node = _composed(text)
    line = _first(node)
    rest = path
    while rest and node is not None:
        if isinstance(node, yaml.SequenceNode):
            index, _, rest = rest.removeprefix("[").partition("]")
            if not index.isdecimal() or int(index) >= len(node.value):
                return line
            node = node.value[int(index)]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            found = _field(node, rest)
            if found is None:
                return line
            line, node, rest = found
        else:
            return line
        rest = rest.removeprefix(".")
    return line


@functools.lru_cache(maxsize=4)  # who asks for one line of a document often asks for more: a test has one for each row
def _composed(text: str) -> Any:
    try:
        return yaml.compose(text, Loader)
    except yaml.YAMLError:  # JSON that is no YAML, such as one with surrogate pairs, or several values
        return None


def _first(node: Any) -> int:
    line: int = node.start_mark.line if node is not None else 0
    return line


def _field(node: yaml.MappingNode, rest: str) -> tuple[int, Any, str] | None:
    """Line, value and remaining path of the longest key that the path begins with; the last one written counts."""
    best: tuple[int, Any, str] | None = None
    length = -1
    merged = []
    for key, value in node.value:
        name = key.value
        if name == "<<":
            merged.append(value)
        if not isinstance(name, str) or not rest.startswith(name) or len(name) < length:
            continue
        if rest[len(name) : len(name) + 1] in {"", ".", "["}:
            best, length = (key.start_mark.line, value, rest[len(name) :]), len(name)
    for value in merged if best is None else ():
        for source in value.value if isinstance(value, yaml.SequenceNode) else (value,):
            if isinstance(source, yaml.MappingNode) and best is None:
                best = _field(source, rest)
    return best
