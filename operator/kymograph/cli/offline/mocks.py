"""Mocks of a test: what calls of an API answer, and what GlobalContextEntries hold."""

import json
import posixpath
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib import parse

from kymograph.cli.offline import answers, expressions
from kymograph.engine import errors, fields, jmespath

_METHODS = ("GET", "POST")
_STATUSES = (100, 599)


class GlobalEntry(NamedTuple):
    """What a GlobalContextEntry holds, as a test says it.

    Attributes:
        name: Name of the entry.
        path: Where it stands in the file, for problems found later.
        data: The value; None where files hold it.
        files: Files with the objects that are its value, in a list.
        field_path: A JMESPath that picks the value out of that; empty for all of it.
        projections: (name, JMESPath) of what is held instead of the value.
    """

    name: str
    path: str
    data: Any
    files: tuple[str, ...] | None
    field_path: str
    projections: tuple[tuple[str, str], ...]

    def value(self, held: Any) -> Any:
        """What policies get.

        Args:
            held: `data`, or the objects in `files`.

        Raises:
            EvaluationError: A JMESPath fails on it.
        """
        if self.field_path:
            held = _search(self.field_path, held)
        if not self.projections:
            return held
        return {name: _search(path, held) for name, path in self.projections}


def calls(holder: fields.Fields) -> dict[tuple[str, str], answers.Reply]:
    """Read `apiCallResponses`. What is wrong is noted in the problems of `holder`.

    Args:
        holder: The test.
    """
    found: dict[tuple[str, str], answers.Reply] = {}
    for entry, path in holder.items("apiCallResponses"):
        call = fields.Fields(entry, path, holder.problems, ("url", "urlPath", "method", "response"))
        where = _where(call)
        method = call.text("method").strip().upper()
        if method and method not in _METHODS:
            call.wrong("method", "method must be GET or POST")
        response = fields.Fields(call.raw("response"), call.at("response"), holder.problems, ("statusCode", "body"))
        low, high = _STATUSES
        status = response.integer("statusCode", low, high, f"must be between {low} and {high}")
        if not isinstance(response.raw("body"), Mapping):
            response.wrong("body", "response.body must be a JSON object")
        if (method, where) in found:
            call.problems.add(path, f"another entry has {method or 'any method'} {where} too")
        found[method, where] = answers.Reply(status or 200, response.raw("body"))
    return found


def global_entries(holder: fields.Fields) -> tuple[GlobalEntry, ...]:
    """Read `globalContextEntries`. What is wrong is noted in the problems of `holder`.

    Args:
        holder: The test.
    """
    known = ("name", "data", "resources", "resourceFiles", "fieldPath", "projections")
    found: dict[str, GlobalEntry] = {}
    for each, path in holder.items("globalContextEntries"):
        entry = fields.Fields(each, path, holder.problems, known)
        name = entry.text("name").strip()
        if not name:
            entry.wrong("name", "name is required")
        elif name in found:
            entry.wrong("name", f'duplicate name "{name}"')
        sources = [field for field in ("data", "resources", "resourceFiles") if field in entry]
        if len(sources) != 1:
            reason = "are mutually exclusive" if sources else "one of them is required"
            holder.problems.add(path, f"data, resources, and resourceFiles: {reason}")
        if "data" in entry and not isinstance(entry.raw("data"), Mapping):
            entry.wrong("data", "must be a JSON object")
        for resource, where in entry.items("resources"):
            if not isinstance(resource, Mapping):
                holder.problems.add(where, "must be a JSON object (Kubernetes resource manifest)")
        found[name] = GlobalEntry(
            name=name,
            path=path,
            data=entry.raw("data") if "data" in entry else entry.raw("resources"),
            files=_files(entry) if "resourceFiles" in entry else None,
            field_path=entry.text("fieldPath"),
            projections=_projections(entry),
        )
    return tuple(found.values())


def _where(call: fields.Fields) -> str:
    """The URL, or the path of the API, of a mocked call."""
    url, path = call.text("url").strip(), call.text("urlPath").strip()
    if bool(url) == bool(path):
        reason = "url and urlPath are mutually exclusive" if url else "either url or urlPath is required"
        call.problems.add(call.path, reason)
    if url:
        try:
            parts = parse.urlsplit(url)
            absolute = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            absolute = False
        if not absolute:
            call.wrong("url", "must be an absolute https/http URL")
    if path and not path.startswith("/"):
        call.wrong("urlPath", "must be an absolute path starting with '/'")
    return url or path


def _files(entry: fields.Fields) -> tuple[str, ...]:
    files = entry.texts("resourceFiles")
    for index, name in enumerate(files):
        clean = posixpath.normpath(name)
        if not name.strip() or clean.startswith(("/", "../")) or clean == "..":
            entry.wrong(f"resourceFiles[{index}]", "must be a path below the folder of the test")
    return files


def _projections(entry: fields.Fields) -> tuple[tuple[str, str], ...]:
    found = []
    for each, path in entry.items("projections"):
        projection = fields.Fields(each, path, entry.problems, ("name", "path"))
        name, expression = projection.text("name").strip(), projection.text("path").strip()
        for field, value in (("name", name), ("path", expression)):
            if not value:
                projection.wrong(field, "is required")
        found.append((name, expression))
    return tuple(found)


def _search(expression: str, value: Any) -> Any:
    try:
        compiled = jmespath.compile(expression)
    except jmespath.ExpressionInvalid as invalid:
        raise errors.EvaluationError(f"{json.dumps(expression)} is no JMESPath: {invalid}") from invalid
    return expressions.search(compiled, value)
