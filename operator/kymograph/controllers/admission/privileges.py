"""Whether the operator may do what a policy asks it to do after requests: asked when the policy is admitted.

The operator generates and changes nothing that an administrator has not granted. A policy that would need more is
refused, in Kyverno's words, with the rule to grant. What is asked is what Kyverno asks: where a kind or a namespace is
a variable, nothing can be said, and what is not granted shows in the UpdateRequests.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from kymograph.apimachinery import gvk, wildcard
from kymograph.clients.kubernetes import discovery, resources
from kymograph.engine import errors

_REVIEWS = resources.Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)

_GENERATE = ("get", "create")
_SYNCHRONIZE = ("get", "list", "create", "update", "delete")
_TARGET = ("get", "update")
_AT_ONCE = 8
"""Questions that wait for an answer: a policy is admitted within milliseconds, and is no load for an API server."""

_MOST = 500
"""Questions that one policy may lead to; every kind, namespace and verb of its rules is one."""

_INSTEAD = {"update": "patch"}
"""A verb that serves where another is not granted."""


_Question: TypeAlias = tuple[discovery.Served, str, str, str]
"""What is served, the verb, and of which namespace and name."""


class Creating(Protocol):
    """What reviews are asked of."""

    async def create(self, resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; the answer is the object with its status."""


class _Needed(NamedTuple):
    """What one rule needs to be granted; with a name, for the object of that name alone."""

    path: str
    served: discovery.Served
    api_version: str
    kind: str
    namespace: str
    verbs: tuple[str, ...]
    useful: tuple[str, ...]
    name: str = ""


class Found(NamedTuple):
    """What is not granted.

    Attributes:
        problems: Why the policy is refused; empty where all that it needs is granted.
        warnings: What will not work as well as it could.
    """

    problems: tuple[errors.Problem, ...]
    warnings: tuple[str, ...]


NOTHING = Found((), ())


class Privileges:
    """Asks what is granted.

    Args:
        client: Asks with the operator's identity.
        account: Gives the operator's own user name.
    """

    def __init__(self, client: Creating, account: Callable[[], str]) -> None:
        self._client = client
        self._account = account

    async def lacking(self, document: Mapping[str, Any], catalogue: discovery.Catalogue) -> Found:
        """What a policy needs that is not granted.

        Args:
            document: A policy that compiles.
            catalogue: What the API server serves; what it does not serve is passed over.

        Raises:
            KubernetesError: The API server did not answer.
        """
        needed = list(_needed(document, catalogue))
        if not needed:
            return NOTHING
        asked = sorted(
            {(each.served, verb, each.namespace, each.name) for each in needed for verb in _asked(each)},
            key=lambda question: (question[0].group, question[0].plural, *question[1:]),
        )
        if len(asked) > _MOST:
            reason = f"they need {len(asked)} rights on kinds and namespaces, more than {_MOST}: make several policies"
            return Found((errors.Problem("spec.rules", reason),), ())
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def answer(question: _Question) -> bool:
            async with at_once:
                return await self._may(*question)

        answers = await asyncio.gather(*map(answer, asked))
        granted = dict(zip(asked, answers, strict=True))
        problems, warnings = [], []
        for each in needed:
            missing = [
                verb
                for verb in each.verbs
                if not granted[each.served, verb, each.namespace, each.name]
                and not (verb in _INSTEAD and granted[each.served, _INSTEAD[verb], each.namespace, each.name])
            ]
            if missing:
                problems.append(errors.Problem(each.path, self._words(each, missing)))
            elif not all(granted[each.served, verb, each.namespace, each.name] for verb in each.useful):
                warnings.append(
                    f"{each.path}: without the verb watch for {each.api_version}/{each.kind}, changes of what was "
                    "generated, or of its source, are not noticed"
                )
        return Found(tuple(problems), tuple(warnings))

    async def _may(self, served: discovery.Served, verb: str, namespace: str, name: str) -> bool:
        attributes = {
            "group": served.group,
            "version": served.version,
            "resource": served.plural,
            "subresource": served.subresource,
            "verb": verb,
            "namespace": namespace,
            "name": name,
        }
        review = {
            "apiVersion": _REVIEWS.api_version,
            "kind": _REVIEWS.kind,
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        answered = await self._client.create(_REVIEWS, review)
        return bool((answered.get("status") or {}).get("allowed"))

    def _words(self, each: _Needed, missing: list[str]) -> str:
        account = self._account()
        where = f" in namespace {each.namespace}" if each.namespace else ""
        said = f"{account} requires permissions {','.join(missing)} for resource {each.api_version}/{each.kind}{where}"
        if ".mutate" in each.path:
            said = f"auth check fails, additional privileges are required for the service account '{account}': {said}"
        return f"{said}\n\n{_grant(each.served, missing)}"


def _asked(each: _Needed) -> Iterator[str]:
    for verb in (*each.verbs, *each.useful):
        yield verb
        if verb in _INSTEAD:
            yield _INSTEAD[verb]


def _grant(served: discovery.Served, verbs: Iterable[str]) -> str:
    """The missing grant, ready to be applied."""
    plural = f"{served.plural}/{served.subresource}" if served.subresource else served.plural
    return f"""apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: kymograph:background:{served.plural}
  labels:
    rbac.kymograph.dev/aggregate-to-background: "true"
rules:
  - apiGroups: ["{served.group}"]
    resources: [{plural}]
    verbs: [{", ".join(verbs)}]
"""


def _needed(document: Mapping[str, Any], catalogue: discovery.Catalogue) -> Iterator[_Needed]:
    for index, rule in enumerate(document["spec"]["rules"]):
        generate = rule.get("generate") or {}
        synchronize = bool(generate.get("synchronize"))
        verbs, useful = (_SYNCHRONIZE, ("watch",)) if synchronize else (_GENERATE, ())
        for pattern in (generate, *(generate.get("foreach") or ())):
            for api_version, kind in _generated(pattern):
                resource, _, _ = kind.partition("/")  # nobody makes a subresource: its object is what is needed
                for served in _served(catalogue, api_version, resource):
                    namespace = _literal(pattern.get("namespace"))
                    yield _Needed(f"spec.rules[{index}].generate", served, api_version, kind, namespace, verbs, useful)
        for position, target in enumerate((rule.get("mutate") or {}).get("targets") or ()):
            api_version, kind = target.get("apiVersion") or "", target["kind"]
            for served in _served(catalogue, api_version, kind):
                name = _literal(target.get("name"))
                yield _Needed(
                    f"spec.rules[{index}].mutate.targets[{position}]",
                    served,
                    api_version,
                    kind,
                    _literal(target.get("namespace")),
                    _TARGET if name else (*_TARGET, "list"),
                    (),
                    name,
                )


def _generated(pattern: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if pattern.get("kind"):
        yield pattern.get("apiVersion") or "", pattern["kind"]
    for text in (pattern.get("cloneList") or {}).get("kinds") or ():
        api_version, _, kind = str(text).rpartition("/")
        yield api_version, kind


def _served(catalogue: discovery.Catalogue, api_version: str, kind: str) -> Iterator[discovery.Served]:
    """What a kind is to the API server, once for each group and plural."""
    if not _literal(f"{api_version}/{kind}"):
        return
    try:
        selector = gvk.parse_kind_selector(f"{api_version}/{kind}" if api_version else kind)
    except ValueError:
        return
    seen = set()
    group = "" if api_version and "/" not in api_version else selector.group
    for served in catalogue.find(group, selector.version, selector.kind, selector.subresource):
        if (served.group, served.plural) not in seen:
            seen.add((served.group, served.plural))
            yield served


def _literal(text: Any) -> str:
    """A text without variables and wildcards; empty for one with them, and for none."""
    return text if isinstance(text, str) and "{{" not in text and not wildcard.has(text) else ""
