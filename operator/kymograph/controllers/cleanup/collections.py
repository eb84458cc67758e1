"""Which collections of the API server a cleanup policy is about, and whether the operator may clear them up.

A kind that is named must be granted, or the policy is refused when it is written; of kinds that a wildcard stands for
those are cleared up that are granted. As in Kyverno a kind named without its group is the one that the API server
lists first.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import yaml

from kymograph.apimachinery import gvk, wildcard
from kymograph.clients.kubernetes import discovery, errors, resources
from kymograph.controllers.cleanup import grants
from kymograph.engine import cleanup
from kymograph.engine import errors as engine_errors

VERBS = ("delete", "list")
"""What it takes, in the order in which Kyverno asks for it."""

_GRANTED = ("delete", "get", "list")
"""What is worth granting: what changed meanwhile is looked at again by `get`."""

AGGREGATION_LABEL = "rbac.kymograph.dev/aggregate-to-cleanup"
"""The label by which a ClusterRole becomes part of `kymograph:cleanup`."""

_REVIEWS = resources.Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)


class Creating(Protocol):
    """What a review is asked of: the client of the API server."""

    async def create(self, resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; the answer is the object with its status."""


def named(policy: cleanup.CleanupPolicy, catalogue: discovery.Catalogue) -> tuple[resources.Resource, ...]:
    """The resources of the kinds that a policy names without wildcards, as far as they are served."""
    found = [resource for selector in policy.selectors for resource in _served(policy, selector, catalogue)]
    return tuple(dict.fromkeys(found))


async def all_of(
    policy: cleanup.CleanupPolicy, catalogue: discovery.Catalogue, client: Creating
) -> tuple[resources.Resource, ...]:
    """The resources that a run of a policy goes through, each in one version.

    Raises:
        KubernetesError: The API server did not say what is granted.
    """
    found = list(named(policy, catalogue))
    wild = [selector for selector in policy.selectors if _is_wild(selector)]
    if wild:
        granted = await grants.read(client, VERBS, *([policy.namespace] if policy.namespace else ()))
        for selector in wild:
            found += [
                _resource(served)
                for served in catalogue.find(selector.group, selector.version, selector.kind, "")
                if _may_hold(policy, served) and granted.allow(served.group, served.plural)
            ]
    once: dict[tuple[str, str], resources.Resource] = {}
    for resource in found:
        once.setdefault((resource.group, resource.plural), resource)
    return tuple(once.values())


class Check:
    """Looks at cleanup policies before they are written.

    Args:
        client: Asks what the operator may do.
        catalogues: What the API server serves.
    """

    def __init__(self, client: Creating, catalogues: discovery.Catalogues) -> None:
        self._client = client
        self._catalogues = catalogues

    async def __call__(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        """Look at a policy; returns what its author should know.

        Raises:
            PolicyInvalid: It does not compile, is of a namespace and names a kind of the cluster, or names a kind that
                the operator may not list and delete.
        """
        policy = cleanup.compile(document)
        try:
            catalogue = await self._catalogues.refresh()
            problems = [*_of_scope(policy, catalogue), *await self._of_rights(policy, catalogue)]
        except errors.KubernetesError as error:
            return (f"whether the operator may delete what the policy names is not known now: {error}",)
        if problems:
            raise engine_errors.PolicyInvalid(tuple(problems))
        return tuple(
            f"spec.match: the API server does not serve {text(selector)}; nothing of it is deleted until it does"
            for selector in policy.selectors
            if not _is_wild(selector) and not any(catalogue.find(selector.group, selector.version, selector.kind, ""))
        )

    async def _of_rights(
        self, policy: cleanup.CleanupPolicy, catalogue: discovery.Catalogue
    ) -> list[engine_errors.Problem]:
        problems, lacking = [], []
        for resource in named(policy, catalogue):
            for verb in VERBS:
                if not await self._allowed(resource, verb, policy.namespace):
                    reason = f"cleanup controller has no permission to {verb} kind {resource.kind}"
                    problems.append(engine_errors.Problem("spec.match", reason))
                    lacking.append(resource)
                    break
        if lacking:
            reason = f"to grant what is missing, apply:\n{role(policy, lacking)}"
            problems.append(engine_errors.Problem("spec.match", reason))
        return problems

    async def _allowed(self, resource: resources.Resource, verb: str, namespace: str) -> bool:
        wanted = {"group": resource.group, "resource": resource.plural, "verb": verb, "namespace": namespace}
        review = {
            "apiVersion": _REVIEWS.api_version,
            "kind": _REVIEWS.kind,
            "spec": {"resourceAttributes": {name: value for name, value in wanted.items() if value}},
        }
        answered = await self._client.create(_REVIEWS, review)
        return bool((answered.get("status") or {}).get("allowed"))


def role(policy: cleanup.CleanupPolicy, lacking: list[resources.Resource]) -> str:
    """The ClusterRole, as YAML, that grants a policy what it lacks; it becomes part of `kymograph:cleanup`."""
    name = f"{policy.namespace}:{policy.name}" if policy.namespace else policy.name
    plurals: dict[str, list[str]] = {}
    for resource in lacking:
        plurals.setdefault(resource.group, []).append(resource.plural)
    rules = [{"apiGroups": [group], "resources": found, "verbs": [*_GRANTED]} for group, found in plurals.items()]
    return yaml.safe_dump(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"kymograph:cleanup:{name}", "labels": {AGGREGATION_LABEL: "true"}},
            "rules": rules,
        },
        sort_keys=False,
    )


def text(selector: gvk.KindSelector) -> str:
    """A kind as policies write it."""
    return "/".join(part for part in (selector.group, selector.version, selector.kind) if part != "*") or "*"


def _of_scope(policy: cleanup.CleanupPolicy, catalogue: discovery.Catalogue) -> list[engine_errors.Problem]:
    problems = []
    for selector in policy.selectors if policy.namespace else ():
        served = list(catalogue.find(selector.group, selector.version, selector.kind, ""))
        if served and not _is_wild(selector) and not any(each.namespaced for each in served):
            reason = f"Cluster wide resource '{text(selector)}' not allowed in namespaced policy"
            problems.append(engine_errors.Problem("spec.match", reason))
    return problems


def _served(
    policy: cleanup.CleanupPolicy, selector: gvk.KindSelector, catalogue: discovery.Catalogue
) -> list[resources.Resource]:
    if _is_wild(selector):
        return []
    served = [
        each
        for each in catalogue.find(selector.group, selector.version, selector.kind, "")
        if not each.subresource and _may_hold(policy, each)
    ]
    return [_resource(served[0])] if served else []


def _is_wild(selector: gvk.KindSelector) -> bool:
    return wildcard.has(selector.kind)


def _may_hold(policy: cleanup.CleanupPolicy, served: discovery.Served) -> bool:
    """Whether objects can be listed and deleted at all, and be where the policy is."""
    return not served.subresource and served.verbs.issuperset(VERBS) and (served.namespaced or not policy.namespace)


def _resource(served: discovery.Served) -> resources.Resource:
    return resources.Resource(served.group, served.version, served.plural, served.kind, served.namespaced)
