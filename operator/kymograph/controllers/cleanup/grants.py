"""Which kinds of objects the operator may clean up: what its roles let it list, watch and delete in every namespace.

Found out by one SelfSubjectRulesReview. Grants that hold for one namespace (a RoleBinding) or for some names
(`resourceNames`) do not count: a kind is watched in the whole cluster or not at all. Nor do grants by authorizers that
cannot list their rules, such as webhooks.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from kymograph.clients.kubernetes import discovery, resources

VERBS = ("list", "watch", "delete")
"""What it takes to clean up a kind; `get` is not needed."""

_REVIEWS = resources.Resource(
    "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False
)
_NOWHERE = "-"
"""The review has to name a namespace, and answers with the rules of its RoleBindings too. No namespace can have this
name, so only what holds everywhere is left."""

_ANY = "*"


class Creating(Protocol):
    """What a review is asked of: the client of the API server."""

    async def create(self, resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; the answer is the object with its status."""


class Grants:
    """What the operator may do in every namespace.

    Args:
        rules: `status.resourceRules` of a SelfSubjectRulesReview.
        verbs: What has to be granted together.
    """

    def __init__(self, rules: Iterable[Mapping[str, Any]] = (), verbs: Iterable[str] = VERBS) -> None:
        self._granted: dict[str, set[tuple[str, str]]] = {verb: set() for verb in verbs}
        for rule in rules:
            if rule.get("resourceNames"):
                continue
            pairs = {(group, plural) for group in rule.get("apiGroups") or () for plural in rule.get("resources") or ()}
            for verb, granted in self._granted.items():
                if verb in rule["verbs"] or _ANY in rule["verbs"]:
                    granted.update(pairs)

    def __bool__(self) -> bool:
        return all(self._granted.values())

    def allow(self, group: str, plural: str) -> bool:
        """Whether objects of a resource may be cleaned up."""
        ways = {(group, plural), (group, _ANY), (_ANY, plural), (_ANY, _ANY)}
        return all(not ways.isdisjoint(granted) for granted in self._granted.values())


async def read(client: Creating, verbs: Iterable[str] = VERBS, namespace: str = _NOWHERE) -> Grants:
    """Ask the API server what we may do.

    Args:
        client: Asks.
        verbs: What has to be granted together.
        namespace: Count what is granted in this namespace too.

    Raises:
        KubernetesError: It did not answer.
    """
    review = {"apiVersion": _REVIEWS.api_version, "kind": _REVIEWS.kind, "spec": {"namespace": namespace}}
    answered = await client.create(_REVIEWS, review)
    return Grants((answered.get("status") or {}).get("resourceRules") or (), verbs)


def cleanable(catalogue: discovery.Catalogue, grants: Grants) -> frozenset[resources.Resource]:
    """The resources to watch: served with all verbs needed and granted, each in the version its group prefers."""
    preferred: dict[tuple[str, str], resources.Resource] = {}
    for served in catalogue.served:
        name = (served.group, served.plural)
        if served.subresource or name in preferred or not served.verbs.issuperset(VERBS) or not grants.allow(*name):
            continue
        preferred[name] = resources.Resource(
            served.group, served.version, served.plural, served.kind, namespaced=served.namespaced
        )
    return frozenset(preferred.values())
