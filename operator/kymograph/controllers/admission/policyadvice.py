"""What the author of a policy is told of it that its compilation cannot say: it depends on the cluster, or is old.

A kind that the API server does not serve is no mistake (its CustomResourceDefinition may come later) but is worth a
warning. A Policy cannot be about cluster-wide kinds, and no policy about `Scale` without the resource that is scaled:
either would be accepted and enforce nothing, so it is refused. What is deprecated works, and says what to write
instead. The words are Kyverno's where it has any.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kymograph.apimachinery import gvk
from kymograph.clients.kubernetes import discovery
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.engine import errors, validation
from kymograph.engine.validation import scopes, subject, updates


class Advice(NamedTuple):
    """What is to be said of a policy that compiles.

    Attributes:
        problems: Why it is refused; empty where it is accepted.
        warnings: What its author should know in any case.
    """

    problems: tuple[errors.Problem, ...]
    warnings: tuple[str, ...]


async def of(
    document: Mapping[str, Any], catalogues: discovery.Catalogues, old: Mapping[str, Any] | None = None
) -> Advice:
    """Look at a policy that compiles.

    Args:
        document: The policy.
        catalogues: What the API server serves; asked again before anything is said about a kind.
        old: The policy that it replaces; None where it is new.
    """
    warnings = validation.warnings(document)
    if old is not None:
        disallowed = updates.problems(old, document)
        if disallowed:
            return Advice(disallowed, warnings)
        warnings += updates.warnings(old, document)
    if _of_kinds(document, catalogues.current) == _NOTHING:
        return Advice((), warnings)
    try:
        problems, unknown = _of_kinds(document, await catalogues.refresh())
    except kubernetes_errors.KubernetesError as error:
        return Advice((), (*warnings, f"whether the API server serves all kinds is not known now: {error}"))
    return Advice(problems, (*warnings, *unknown))


_NOTHING = Advice((), ())


def _of_kinds(document: Mapping[str, Any], catalogue: discovery.Catalogue) -> Advice:
    problems, unknown = [], []
    for text, path in _kinds(document["spec"]):
        selector = gvk.parse_kind_selector(text)
        if selector.kind == "*":
            continue
        served = list(catalogue.find(selector.group, selector.version, selector.kind, selector.subresource))
        if not served and catalogue.is_content(selector.kind):
            reason = f"{text} is the kind of a subresource, which is selected by its resource: `Deployment/scale`"
            problems.append(errors.Problem(path, reason))
        elif not served:
            unknown.append(f"{path}: the API server does not serve {text}; nothing is enforced on it until it does")
        elif document["kind"] == "Policy" and not any(each.namespaced for each in served):
            reason = f"Cluster wide resource '{text}' not allowed in namespaced policy"
            problems.append(errors.Problem(path, reason))
    problems += validation.problems(document, _scope(catalogue))
    return Advice(tuple(dict.fromkeys(problems)), tuple(unknown))


def _scope(catalogue: discovery.Catalogue) -> scopes.Scope:
    """Whether kinds are namespaced, as the API server says, and of those it does not serve as Kubernetes has them."""

    def is_namespaced(api_version: str, kind: str) -> bool | None:
        group, version = gvk.split_api_version(api_version) if api_version else ("*", "*")
        served = list(catalogue.find(group, version, kind, ""))
        return any(each.namespaced for each in served) if served else scopes.builtin(api_version, kind)

    return is_namespaced


def _kinds(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The kinds of a policy as they are written, with their paths."""
    for index, rule in enumerate(spec["rules"]):
        for block in ("match", "exclude"):
            for resources, path in subject.descriptions(rule.get(block), f"spec.rules[{index}].{block}"):
                for position, text in enumerate(resources.get("kinds") or ()):
                    yield text, f"{path}.kinds[{position}]"
