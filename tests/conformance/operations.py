"""The operations of a case: apply, create, update, patch, delete, assert, error, script, command, sleep, wait.

All but deletions are tried until they do what the case says or their time is up, as chainsaw does, and first after a
pause: a write that the API server refuses, or one that it takes where a refusal is expected, is written again. What a
case created is remembered and deleted after it. Operations that show what a failure left behind (`describe`, `get`,
`events`, `podLogs`) run kubectl; any other is refused by name.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from conformance import api, assertions, cases, expressions, processes, scopes
from kymograph.apimachinery import duration
from kymograph.localcluster import errors

_PAUSE = 0.05
"""Seconds before each try: chainsaw's. It gives whoever is tested as long to notice the step before."""


def run(operation: cases.Operation, scope: scopes.Scope) -> dict[str, Any]:
    """Run an operation; returns what it binds for those after it (`outputs`).

    Raises:
        scopes.OperationFailed: It did not do what the case says.
        CaseInvalid: One of its files cannot be read.
    """
    written = {key: value for key, value in operation.items() if key not in {"description", "bindings", "outputs"}}
    if len(written) != 1:
        raise scopes.OperationFailed(f"not one operation: {sorted(written)}")
    [(name, body)] = written.items()
    given = {**body, **{key: operation[key] for key in ("bindings", "outputs") if key in operation}}
    try:
        inside = dataclasses.replace(scope, bindings=cases.bound(given.get("bindings", ()), scope.bindings))
        if name not in _OPERATIONS:
            raise scopes.OperationFailed(f"operation {name} is not known")
        result = _OPERATIONS[name](given, inside)
        outputs = given.get("outputs", ())
        made = cases.bound(outputs, {**inside.bindings, **result}) if outputs else {}
        return {each["name"]: made[each["name"]] for each in outputs}
    except (expressions.ExpressionFailed, api.KindUnknown) as error:
        raise scopes.OperationFailed(f"{name}: {error}") from error
    except OSError as error:
        raise scopes.OperationFailed(f"{name}: the API server does not answer: {error}") from error


def _apply(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    def write(document: api.Object) -> tuple[api.Object, bool]:
        stored = _stored(document, scope)
        if stored is None:
            return scope.world.objects.create(document), True
        version = {"resourceVersion": stored["metadata"]["resourceVersion"]}
        merged = {**document, "metadata": {**document["metadata"], **version}}
        return scope.world.objects.merge(merged), False

    return _write(given, scope, write, "apply")


def _create(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    return _write(given, scope, lambda document: (scope.world.objects.create(document), True), "apply")


def _update(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    def write(document: api.Object) -> tuple[api.Object, bool]:
        stored = _stored(document, scope)
        version = {"resourceVersion": stored["metadata"]["resourceVersion"]} if stored else {}
        replaced = {**document, "metadata": {**document["metadata"], **version}}
        return scope.world.objects.replace(replaced), False

    return _write(given, scope, write, "apply")


def _patch(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    return _write(given, scope, lambda document: (scope.world.objects.merge(document), False), "apply")


def _write(
    given: Mapping[str, Any],
    scope: scopes.Scope,
    write: Callable[[api.Object], tuple[api.Object, bool]],
    timeout: str,
) -> dict[str, Any]:
    for document in _documents(given, scope):

        def attempt(document: api.Object = document) -> str:
            refusal, result = None, document
            try:
                result, new = write(document)
                if new and not given.get("skipDelete"):
                    scope.world.created.append(result)
            except errors.RequestRefused as refused:
                refusal = str(refused)
            return _unexpected(given, scope, result, refusal)

        _until_right(attempt, scopes.timeout(given, scope, timeout), f"{timeout} {_title(document)}")
    return {}


def _unexpected(given: Mapping[str, Any], scope: scopes.Scope, result: api.Object, refusal: str | None) -> str:
    """Why an outcome is not the expected one; empty where it is."""
    bindings = {**scope.bindings, "error": refusal}
    matching = [
        expectation["check"]
        for expectation in given.get("expect", ())
        if "match" not in expectation or not list(assertions.mismatches(expectation["match"], result, {}))
    ]
    if not matching:
        return refusal or ""
    wrong = [each for check in matching for each in assertions.mismatches(check, result, bindings)]
    return "; ".join([*wrong, refusal] if wrong and refusal else wrong)


def _delete(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    references = list(_documents(given, scope)) if "file" in given else [_reference(given["ref"], scope)]
    seconds = scopes.timeout(given, scope, "delete")
    for reference in references:
        deleted, wrong = [], []
        for stored in _candidates(reference, scope):
            refusal = None
            try:
                delete(scope.world.objects, stored, given.get("deletionPropagationPolicy", "Background"))
                deleted.append(stored)
            except errors.RequestRefused as refused:
                refusal = str(refused)
            wrong.append(_unexpected(given, scope, stored, refusal))
        if any(wrong):
            raise scopes.OperationFailed(f"delete {_title(reference)}: {'; '.join(filter(None, wrong))}")
        for stored in deleted:
            _until_right(
                lambda stored=stored: _still_there(scope.world.objects, stored), seconds, "delete", pause=False
            )
    return {}


def delete(objects: api.Objects, stored: api.Object, policy: str = "Background") -> None:
    """Ask for the deletion of an object that was read."""
    metadata = stored["metadata"]
    objects.delete(stored["apiVersion"], stored["kind"], metadata.get("namespace"), metadata["name"], policy)


def _still_there(objects: api.Objects, stored: api.Object) -> str:
    """That there is an object of that name, be it a new one: chainsaw does not tell them apart."""
    metadata = stored["metadata"]
    found = objects.get(stored["apiVersion"], stored["kind"], metadata.get("namespace"), metadata["name"])
    return "" if found is None else f"{_title(stored)} is still there"


def wait_gone(objects: api.Objects, stored: api.Object, seconds: float) -> bool:
    """Whether an object goes within some seconds."""
    try:
        _until_right(lambda: _still_there(objects, stored), seconds, "delete", pause=False)
    except scopes.OperationFailed:
        return False
    return True


def _assert(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    for document in _documents(given, scope, only_identity=True):
        seconds = min(scopes.timeout(given, scope, "assert"), scope.world.limit)
        _until_right(lambda document=document: _difference(document, scope), seconds, f"assert {_title(document)}")
    return {}


def _error(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    for document in _documents(given, scope, only_identity=True):

        def attempt(document: api.Object = document) -> str:
            return "" if _difference(document, scope) else "it is as it should not be"

        seconds = min(scopes.timeout(given, scope, "error"), scope.world.limit)
        _until_right(attempt, seconds, f"error {_title(document)}")
    return {}


def _difference(expected: api.Object, scope: scopes.Scope) -> str:
    """Why no object is as expected; of several candidates, what is wrong with the one that differs least.

    What has no apiVersion and kind is about no object, only about what is bound.
    """
    if not _about_object(expected):
        return "; ".join(assertions.mismatches(expected, None, scope.bindings))
    try:
        candidates = _candidates(expected, scope)
    except api.KindUnknown as unknown:
        return str(unknown)
    differences = [list(assertions.mismatches(expected, each, scope.bindings)) for each in candidates]
    if not differences:
        return "there is no such object"
    return "; ".join(min(differences, key=len))


def _sleep(given: Mapping[str, Any], _: scopes.Scope) -> dict[str, Any]:
    time.sleep(duration.parse(given["duration"]) / 1e9)
    return {}


_OPERATIONS: dict[str, Callable[[Mapping[str, Any], scopes.Scope], dict[str, Any]]] = {
    "apply": _apply,
    "assert": _assert,
    "command": processes.command,
    "create": _create,
    "delete": _delete,
    "describe": processes.collect("describe"),
    "error": _error,
    "events": processes.collect("get events"),
    "get": processes.collect("get"),
    "patch": _patch,
    "podLogs": processes.collect("logs"),
    "script": processes.script,
    "sleep": _sleep,
    "update": _update,
    "wait": processes.wait,
}


def _documents(given: Mapping[str, Any], scope: scopes.Scope, *, only_identity: bool = False) -> Iterator[api.Object]:
    """The objects that an operation is about: expressions filled in, the namespace set where it lacks one.

    Args:
        given: The operation.
        scope: What it is run with.
        only_identity: Leave expressions that are no part of what identifies an object: they are assertions.
    """
    if "resource" in given:
        written = [given["resource"]]
    else:
        pattern = expressions.filled(given["file"], scope.bindings)
        paths = sorted(scope.world.folder.glob(pattern)) if "*" in pattern else [scope.world.folder / pattern]
        written = [document for path in paths for document in cases.load(path)]
    for document in written:
        if only_identity and isinstance(document, dict) and not _about_object(document):
            yield document
            continue
        if not isinstance(document, dict) or not _about_object(document):
            raise scopes.OperationFailed(f"{given.get('file', 'the resource')}: not an object with apiVersion and kind")
        yield _placed(_filled(document, given, scope, only_identity=only_identity), scope)


def _about_object(document: Mapping[str, Any]) -> bool:
    return {"apiVersion", "kind"} <= document.keys()


def _filled(document: api.Object, given: Mapping[str, Any], scope: scopes.Scope, *, only_identity: bool) -> api.Object:
    if given.get("template") is False:
        return document
    if not only_identity:
        filled: api.Object = expressions.filled(document, scope.bindings)
        return filled
    metadata = document.get("metadata", {})
    identity = {key: metadata[key] for key in ("name", "namespace", "labels") if key in metadata}
    return {**document, "metadata": {**metadata, **expressions.filled(identity, scope.bindings)}}


def _reference(written: api.Object, scope: scopes.Scope) -> api.Object:
    filled = expressions.filled(written, scope.bindings)
    metadata = {key: filled[key] for key in ("name", "namespace", "labels") if key in filled}
    return _placed({"apiVersion": filled["apiVersion"], "kind": filled["kind"], "metadata": metadata}, scope)


def _placed(document: api.Object, scope: scopes.Scope) -> api.Object:
    metadata = document.get("metadata") or {}
    try:
        namespaced = scope.world.objects.namespaced(document["apiVersion"], document["kind"])
    except api.KindUnknown:
        return document
    if not namespaced or metadata.get("namespace"):
        return {**document, "metadata": metadata}
    return {**document, "metadata": {**metadata, "namespace": scope.world.namespace}}


def _stored(document: api.Object, scope: scopes.Scope) -> api.Object | None:
    metadata = document["metadata"]
    if "name" not in metadata:
        return None
    namespace = metadata.get("namespace")
    return scope.world.objects.get(document["apiVersion"], document["kind"], namespace, metadata["name"])


def _candidates(document: api.Object, scope: scopes.Scope) -> list[api.Object]:
    metadata = document["metadata"]
    if "name" in metadata:
        stored = _stored(document, scope)
        return [] if stored is None else [stored]
    labels = {key: value for key, value in metadata.get("labels", {}).items() if isinstance(value, str)}
    objects = scope.world.objects
    return objects.list(document["apiVersion"], document["kind"], metadata.get("namespace"), labels)


def _until_right(attempt: Callable[[], str], seconds: float, what: str, *, pause: bool = True) -> None:
    deadline = time.monotonic() + seconds
    if pause:
        time.sleep(_PAUSE)
    while wrong := attempt():
        if time.monotonic() > deadline:
            raise scopes.OperationFailed(f"{what}: {wrong}")
        time.sleep(_PAUSE)


def _title(document: api.Object) -> str:
    metadata = document.get("metadata") or {}
    name = metadata.get("name") or metadata.get("labels") or "(any)"
    return f"{document.get('kind', 'what is bound')} {metadata.get('namespace', '')}/{name}"
