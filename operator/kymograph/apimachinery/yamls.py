"""YAML as Kubernetes reads it.

Documents are separated by lines that begin with `---`; each becomes JSON by the rules of sigs.k8s.io/yaml (YAML 1.1 of
go-yaml v2, see `yamlscalar`). JSON is YAML too: one value, several after each other, or one a line. Policies are read
strictly (a key set twice is refused, as strict decoding does), resources leniently (the last one counts).

Refused, where Kubernetes is silent: a second document after `...` in the same part, which it drops. The places of
fields are worked out only when somebody asks for one.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson
import yaml

from kymograph.apimachinery import yamlbuild, yamlposition, yamlscalar

_SEPARATOR: Final = re.compile(r"^---[^\n]*\n?", re.MULTILINE)
_JSON_NUMBER: Final = re.compile(r"(?:^|[:\[,\s])-?(?:[0-9]+[.eE]|[0-9]{19})")
_LIST: Final = "List"


class YAMLInvalid(ValueError):
    """A text is not YAML, or YAML that Kubernetes cannot read.

    Attributes:
        file: The name the text was loaded under.
        line: From 1.
        column: From 1.
        reason: What is wrong there.
    """

    def __init__(self, file: str, line: int, column: int, reason: str) -> None:
        super().__init__(f"{file}:{line}:{column}: {reason}")
        self.file = file
        self.line = line
        self.column = column
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.file, self.line, self.column, self.reason)


class Loaded(NamedTuple):
    """One value of a file and where it stands.

    Attributes:
        value: dict, list or scalar; never None.
        file: The name of the file.
        line: The line its document begins on, from 1.
        text: The document.
        within: The path inside the document, when the value is an item of a list.
    """

    value: Any
    file: str
    line: int
    text: str
    within: str = ""

    def line_of(self, path: str = "") -> int:
        """The line of a field, written `spec.rules[0].match`; of the nearest field above it, when it is absent."""
        separator = "." if self.within and path and not path.startswith("[") else ""
        return self.line + yamlposition.line_of(self.text, f"{self.within}{separator}{path}")

    def place(self, path: str = "") -> str:
        """`file:line` of a field."""
        return f"{self.file}:{self.line_of(path)}"


class Reader:
    """Reads documents one at a time; one reader for many documents is faster than one for each."""

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._builder = yamlbuild.Builder(strict=strict)

    def values(self, text: str, file: str, line: int = 1) -> list[Any]:
        """The values of one document: one, none when it is empty, or several JSON values after each other.

        Args:
            text: The document, without separators.
            file: Its name in errors.
            line: The line of the file it begins on, from 1.

        Raises:
            YAMLInvalid: It cannot be read.
        """
        looks_like_json = text.lstrip()[:1] in {"{", "["}
        if looks_like_json and not self._strict:
            try:
                return [_json_value(orjson.loads(text), text, file, line)]
            except orjson.JSONDecodeError:
                pass
        try:
            value = self._builder.document(text)
        except (yaml.YAMLError, yamlbuild.BuildFailed, UnicodeEncodeError) as error:
            if looks_like_json:
                found = _json_stream(text, file, line, strict=self._strict)
                if found is not None:
                    return found
            raise _located(error, text, file, line) from None
        return [] if value is None else [value]


def load_all(text: str | bytes, file: str, *, strict: bool = False) -> list[Loaded]:
    """Every value of a file, empty documents left out.

    Args:
        text: The whole file; bytes are UTF-8, or UTF-16 with a byte order mark.
        file: Its name in errors and places.
        strict: Refuse a key that a map sets twice.

    Raises:
        YAMLInvalid: It cannot be read.
    """
    reader = Reader(strict=strict)
    return [
        Loaded(value, file, line, part)
        for line, part in documents(decoded(text, file), file)
        for value in reader.values(part, file, line)
    ]


def documents(text: str, file: str) -> Iterator[tuple[int, str]]:
    """The documents of a text, each with the line it begins on, split as Kubernetes splits them.

    Raises:
        YAMLInvalid: A line that begins with `---` goes on with more than a comment.
    """
    start, line = 0, 1
    for separator in _SEPARATOR.finditer(text):
        rest = separator[0][3:].strip()
        if rest and not rest.startswith("#"):
            at = line + text.count("\n", start, separator.start())
            raise YAMLInvalid(file, at, 4, f"invalid Yaml document separator: {rest}")
        part = text[start : separator.start()]
        if not _is_empty(part):
            yield line, part
        line += text.count("\n", start, separator.end())
        start = separator.end()
    part = text[start:]
    if not _is_empty(part):
        yield line, part


def decoded(text: str | bytes, file: str) -> str:
    """A file's text without its byte order mark.

    Raises:
        YAMLInvalid: The bytes are no text.
    """
    if isinstance(text, bytes):
        encoding = "utf-16" if text[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8"
        try:
            return text.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            before = text[: error.start].decode(encoding, "replace")
            column = len(before) - before.rfind("\n")
            raise YAMLInvalid(file, before.count("\n") + 1, column, f"not {encoding.upper()} text") from None
    return text.removeprefix("\ufeff")


def flatten(loaded: Loaded) -> Iterator[Loaded]:
    """The objects of a `kind: List` (or `PodList`, ...) one by one; anything else as it is.

    Items of a typed list take the kind and version that its own imply, as API servers leave them out.
    """
    for within, value in objects(loaded.value, loaded.within):
        yield loaded._replace(value=value, within=within)


def objects(value: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    """The objects of a value with their paths in it: those of a list, or the value itself."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind.endswith(_LIST) or not isinstance(value.get("items"), list):
        yield within, value
        return
    implied = {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix(_LIST)} if kind != _LIST else {}
    for index, item in enumerate(value["items"]):
        path = f"{within}.items[{index}]" if within else f"items[{index}]"
        complete = {**implied, **item} if implied and isinstance(item, dict) else item
        yield from objects(complete, path)


def _is_empty(part: str) -> bool:
    if part.lstrip()[:1] not in {"", "#"}:
        return False
    return all(not line or line.startswith("#") for line in map(str.strip, part.splitlines()))


def _json_value(value: Any, text: str, file: str, line: int) -> Any:
    """A decoded JSON value with Kubernetes' numbers; not walked when it can hold no number to change."""
    deep = text.count("{") + text.count("[") > yamlbuild.MAX_DEPTH and _depth(value) > yamlbuild.MAX_DEPTH
    if deep:
        raise YAMLInvalid(file, line, 1, f"nested deeper than {yamlbuild.MAX_DEPTH} levels")
    return _numbers(value) if _JSON_NUMBER.search(text) else value


def _depth(value: Any) -> int:
    deepest, open_values = 0, [(value, 1)]
    while open_values:
        current, depth = open_values.pop()
        deepest = max(deepest, depth)
        inner = current.values() if isinstance(current, dict) else current if isinstance(current, list) else ()
        open_values.extend((item, depth + 1) for item in inner if isinstance(item, dict | list))
    return deepest


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return yamlscalar.json_value(value)


def _json_stream(text: str, file: str, line: int, *, strict: bool) -> list[Any] | None:
    """JSON values after each other; None when the text is no such stream."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique if strict else None, parse_constant=_no_constant)
    values: list[Any] = []
    position = len(text) - len(text.lstrip())
    try:
        while position < len(text):
            value, end = decoder.raw_decode(text, position)
            at = line + text.count("\n", 0, position)
            values.append(_json_value(value, text[position:end], file, at))
            position = end + len(text[end:]) - len(text[end:].lstrip())
    except (ValueError, RecursionError) as error:
        if isinstance(error, YAMLInvalid):
            raise
        return None
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is set twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _located(error: Exception, text: str, file: str, line: int) -> YAMLInvalid:
    if isinstance(error, yamlbuild.BuildFailed):
        return YAMLInvalid(file, line + error.line, error.column + 1, error.reason)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        if mark is not None:
            return YAMLInvalid(file, line + mark.line, mark.column + 1, reason)
    if isinstance(error, UnicodeEncodeError):
        before = text[: error.start]
        reason = "half of a surrogate pair is no character"
    else:
        position = getattr(error, "position", 0)
        before = text.encode()[:position].decode("utf-8", "ignore")
        reason = getattr(error, "reason", str(error))
    return YAMLInvalid(file, line + before.count("\n"), len(before) - before.rfind("\n"), reason)
