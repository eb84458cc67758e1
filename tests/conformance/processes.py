"""Operations that run a process: scripts, commands, and kubectl to wait or to show what a failure left behind."""

import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from conformance import assertions, expressions, scopes

_LEAST = 20.0
"""Seconds that every process has: chainsaw's five are short for kubectl on a busy machine."""


def script(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    """Run a script in the folder of the case; returns its `stdout`, `stderr` and `error` (None where it ends well)."""
    return _execute(["sh", "-c", given["content"]], given, scope)


def command(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    """Run a program, whose arguments may name variables of its environment; returns as `script` does."""
    environ = _environ(given, scope)
    arguments = (str(expressions.filled(each, scope.bindings)) for each in given.get("args", ()))
    argv = [given["entrypoint"], *(string.Template(each).safe_substitute(environ) for each in arguments)]
    return _execute(argv, given, scope)


def _environ(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, str]:
    own = {each["name"]: str(expressions.filled(each["value"], scope.bindings)) for each in given.get("env", ())}
    return {**scope.world.environ, "NAMESPACE": scope.world.namespace, **own}


def _execute(argv: Sequence[str], given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    seconds = max(scopes.timeout(given, scope, "exec"), _LEAST)
    try:
        done = subprocess.run(
            argv,
            cwd=scope.world.folder,
            env=_environ(given, scope),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise scopes.OperationFailed(f"not done after {seconds:g} s: {given.get('content', argv)}") from None
    failure = f"exit status {done.returncode}" if done.returncode else None
    result = {"stdout": done.stdout, "stderr": done.stderr, "error": failure}
    wrong = [failure] if failure else []
    if "check" in given:
        wrong = list(assertions.mismatches(given["check"], None, {**scope.bindings, **result}))
    if wrong:
        raise scopes.OperationFailed(
            f"script: {'; '.join(wrong)}; it said: {(done.stdout + done.stderr).strip()[-1000:]}"
        )
    return result


def wait(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
    """Have kubectl wait for a condition, a field's value or a deletion."""
    condition = given["for"]
    if "condition" in condition:
        value = condition["condition"].get("value")
        told = f"condition={condition['condition']['name']}" + (f"={value}" if value else "")
    elif "jsonPath" in condition:
        told = f"jsonpath={condition['jsonPath']['path']}={condition['jsonPath']['value']}"
    else:
        told = "delete"
    seconds = scopes.timeout(given, scope, "assert")
    argv = ["kubectl", "wait", f"--for={told}", f"--timeout={seconds:g}s", *_named(given, scope)]
    return _execute(argv, {"timeout": f"{seconds + 5:g}s"}, scope)


def collect(verb: str) -> Callable[[Mapping[str, Any], scopes.Scope], dict[str, Any]]:
    """An operation that writes what kubectl says to a verb to standard error."""

    def collect(given: Mapping[str, Any], scope: scopes.Scope) -> dict[str, Any]:
        result = _execute(["kubectl", *verb.split(), *_named(given, scope)], {"timeout": "30s"}, scope)
        sys.stderr.write(result["stdout"])
        return result

    return collect


def _named(written: Mapping[str, Any], scope: scopes.Scope) -> Iterator[str]:
    """What an operation is about, as kubectl is told."""
    given = {
        key: expressions.filled(written[key], scope.bindings)
        for key in ("apiVersion", "kind", "name", "selector", "namespace")
        if key in written
    }
    if "kind" in given:
        group, _, version = given.get("apiVersion", "v1").rpartition("/")
        yield f"{given['kind']}.{version}.{group}" if group else given["kind"]
    if "name" in given:
        yield given["name"]
    if "selector" in given:
        yield f"--selector={given['selector']}"
    yield f"--namespace={given.get('namespace') or scope.world.namespace}"
