"""Generate rules: what is to exist must be named, lie in the right scope, and come from exactly one place.

Whether the operator may write the objects is a question to the API server and not asked here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.engine import fields
from kymograph.engine.pattern import anchors
from kymograph.engine.validation import scopes, subject

_SOURCES = ("data", "clone", "cloneList", "foreach")


def check(policy: subject.Policy, problems: fields.Problems, scope: scopes.Scope) -> None:
    """Check the `generate` of every rule."""
    for rule in policy.rules:
        generate, path = rule.table("generate"), f"{rule.path}.generate"
        if not generate:
            continue
        if sum(bool(generate.get(source)) for source in _SOURCES) > 1:
            problems.add(path, "only one of generate patterns(data, clone, cloneList and foreach) can be specified")
            continue
        for pattern, where in patterns(generate, path):
            _check_target(policy, pattern, where, problems, scope)
            _check_clone_list(policy, pattern, where, problems, scope)
            _check_anchors(pattern.get("data"), f"{where}.data", problems)
        matched = subject.texts(subject.table(rule.table("match").get("resources")).get("kinds"))
        if generate.get("kind") in matched:
            problems.add(f"{path}.kind", "generation kind and match resource kind should not be the same")


def warnings(policy: subject.Policy) -> Iterator[str]:
    """Say where synchronization will not find again what a rule generated."""
    for rule in policy.rules:
        for pattern, path in patterns(rule.table("generate"), f"{rule.path}.generate"):
            named = {field: pattern.get(field) for field in ("apiVersion", "kind", "clone", "cloneList")}
            if "{{" in subject.digest(named):
                yield f"variables in {path}.clone/cloneList would lead to incorrect synchronization behavior"


def patterns(generate: Mapping[str, Any], path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """What a `generate` describes: itself, or each of its loops; with paths."""
    loops = subject.items(generate.get("foreach"))
    if loops:
        yield from ((subject.table(loop), f"{path}.foreach[{index}]") for index, loop in enumerate(loops))
    elif generate:
        yield generate, path


def _check_target(
    policy: subject.Policy, pattern: Mapping[str, Any], path: str, problems: fields.Problems, scope: scopes.Scope
) -> None:
    api_version, kind = subject.text(pattern.get("apiVersion")), subject.text(pattern.get("kind"))
    namespace = subject.text(pattern.get("namespace"))
    clone_list = bool(subject.items(subject.table(pattern.get("cloneList")).get("kinds")))
    if policy.namespaced:
        mismatch = _outside(policy, pattern, scope)
        if mismatch:
            problems.add(f"{path}.namespace", f"target resource scope mismatched: {mismatch}")
    namespaced = scope(api_version, kind.partition("/")[0].strip()) if kind else None
    if namespaced is True and not namespace:
        problems.add(f"{path}.namespace", "target namespace must be set for a namespaced resource")
    if namespaced is False and namespace:
        problems.add(f"{path}.namespace", "target namespace must not be set for a cluster-wide resource")
    if not clone_list:
        for field in ("kind", "name", "apiVersion"):
            if not pattern.get(field):
                problems.add(f"{path}.{field}", f"{field} can not be empty")


def _outside(policy: subject.Policy, pattern: Mapping[str, Any], scope: scopes.Scope) -> str:
    """How a Policy reaches outside of its namespace; empty where it does not."""
    api_version, kind = subject.text(pattern.get("apiVersion")), subject.text(pattern.get("kind"))
    if kind and scope(api_version, kind) is False:
        return f"the target must be a namespaced resource: {api_version}/{kind}"
    namespace = subject.text(pattern.get("namespace"))
    if namespace != policy.namespace:
        return (
            "a namespaced policy cannot generate resources in other namespaces, "
            f"expected: {policy.namespace}, received: {namespace}"
        )
    clone = subject.table(pattern.get("clone"))
    if clone.get("name") and clone.get("namespace") != policy.namespace:
        return (
            "a namespaced policy cannot clone resources from other namespaces, "
            f"expected: {policy.namespace}, received: {clone.get('namespace') or ''}"
        )
    return ""


def _check_clone_list(
    policy: subject.Policy, pattern: Mapping[str, Any], path: str, problems: fields.Problems, scope: scopes.Scope
) -> None:
    clone_list, where = subject.table(pattern.get("cloneList")), f"{path}.cloneList"
    named = subject.texts(clone_list.get("kinds"))
    if not named:
        return
    selector = subject.digest(clone_list.get("selector"))
    if "*" in selector or "?" in selector:
        problems.add(f"{where}.selector", "wildcard characters `*/?` not supported")
    known = [_namespaced(kind, scope) for kind in named]
    namespace = subject.text(clone_list.get("namespace"))
    if policy.namespaced:
        for kind, namespaced in zip(named, known, strict=True):
            if namespaced is False:
                problems.add(f"{where}.kinds", f"the source in cloneList must be a namespaced resource: {kind}")
        if namespace != policy.namespace:
            problems.add(
                f"{where}.namespace",
                "a namespaced policy cannot clone resources from other namespace, "
                f"expected: {policy.namespace}, received: {namespace}",
            )
    if True in known and False in known:
        problems.add(f"{where}.kinds", "mixed scope of target resources is forbidden")
    if known[0] is True and not namespace:
        problems.add(f"{where}.namespace", "namespace is required for namespaced target resources")
    if known[0] is False and namespace and not policy.namespaced:
        problems.add(f"{where}.namespace", "namespace is forbidden for cluster-wide target resources")


def _namespaced(kind: str, scope: scopes.Scope) -> bool | None:
    """Of a kind as `cloneList` writes it: apiVersion and kind, so that `v1/Secret` is of the core group."""
    api_version, _, name = kind.rpartition("/")
    return scope(api_version, name)


def _check_anchors(data: Any, path: str, problems: fields.Problems) -> None:
    if isinstance(data, Mapping):
        for key, value in data.items():
            if anchors.parse(str(key)) is not None:
                problems.add(f"{path}.{key}", f"anchors not supported on generate resources: unsupported anchor {key}")
            _check_anchors(value, f"{path}.{key}", problems)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            _check_anchors(value, f"{path}[{index}]", problems)
