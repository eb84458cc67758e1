"""Whether what was reviewed is what is stored, and what policies say of the stored object where it is not.

A review may be forged, with the name and uid of an object that exists. So its results count only for an object with
the very content that was reviewed. A stored object also differs for an honest reason: subresources change it unseen
(`status` may carry annotations, `scale` and `binding` change the spec).
Both cases end alike: the policies are asked again, about the stored object, as a scan asks them. Policies with
`background: false` may look at the user, whom nobody knows then: their earlier results stand.

A rule that tolerates what was there before says nothing of the object itself, and is asked again likewise: else a scan
that has looked at the object already would be contradicted by a review that is heard of later.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import orjson

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import policies, redaction
from kymograph.controllers.reports.findings import ByPolicy, Found, Subject
from kymograph.engine import budget, evaluate, exceptions, needs
from kymograph.engine.policy import CompiledPolicy
from kymograph.engine.rules import outcome

STEPS = 200_000
"""What the policies of one object may spend when they are asked again; where that is too little, nothing changes."""

_UNTOLD = frozenset({"resourceVersion", "generation", "managedFields"})
"""Metadata that the API server changes after, or without, a review. No policy has a use for it."""

_UNGIVEN = _UNTOLD | {"uid", "creationTimestamp", "namespace"}
"""What else a new object does not have before it is stored."""

_REVISION = "deployment.kubernetes.io/revision"
"""The annotation that every Deployment gets with its first status, and another value of with each new Pod template."""


AtHand: TypeAlias = Callable[[needs.Need, needs.Facts], bool]
"""Adds what a need turns out to be where that is known without asking anybody; whether it is."""


def nothing(_need: needs.Need, _facts: needs.Facts) -> bool:
    """Nothing is at hand."""
    return False


class Cluster(Protocol):
    """What a new evaluation asks of a Kubernetes client."""

    async def get(
        self, resource: resources.Resource, name: str, *, namespace: str = "", metadata_only: bool = False
    ) -> dict[str, Any]:
        """One object."""


def digest(document: Mapping[str, Any], *, identified: bool = True) -> bytes:
    """16 bytes that stand for an object's content: all but its status and the metadata that changes by itself.

    Not `identified`, it stands for the object as it was before the API server gave it a uid, too: mutating webhooks see
    new objects so.

    That includes the revision of a Deployment: its first would come between nearly every Deployment and its review.

    Raises:
        orjson.JSONEncodeError: The object is nested deeper than any that can be compared (254 levels).
    """
    told = {key: value for key, value in document.items() if key != "status"}
    metadata = told["metadata"] = {
        key: value for key, value in document["metadata"].items() if key not in (_UNTOLD if identified else _UNGIVEN)
    }
    if document.get("kind") == "Deployment" and _REVISION in (metadata.get("annotations") or ()):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != _REVISION}
        if not metadata["annotations"]:
            del metadata["annotations"]
    return hashlib.blake2b(orjson.dumps(told, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def content(stored: Mapping[str, Any]) -> bytes:
    """The digest of a stored object without what the scheduler adds: news of it are reason to evaluate policies again.

    Empty where the object is nested too deep.
    """
    try:
        return digest(_unbound(stored))
    except orjson.JSONEncodeError:
        return b""


def _unbound(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Pod without its node; any other object as it is."""
    if (stored.get("apiVersion"), stored.get("kind")) != ("v1", "Pod"):
        return stored
    return {**stored, "spec": {key: value for key, value in stored["spec"].items() if key != "nodeName"}}


def digests(stored: Mapping[str, Any]) -> frozenset[bytes]:
    """What the review of a stored object may have shown.

    That is the object as it is; for a Pod also as it was before the scheduler's binding named its node, which happens
    within milliseconds and is no request on the Pod itself; each also without what only a stored object has. Nothing
    where the object is nested too deep.
    """
    unbound = _unbound(stored)
    try:
        return frozenset(digest(each, identified=known) for each in (stored, unbound) for known in (True, False))
    except orjson.JSONEncodeError:
        return frozenset()


class Confirmation:
    """Tells what counts of findings.

    Args:
        client: Reads the labels of namespaces.
        store: The policies.
        clock: Monotonic nanoseconds.
        excepted: Gives the PolicyExceptions of the moment.
        at_hand: Adds what a need turns out to be where that is known without asking anybody; whether it is.
        hidden: Gives the fields of objects that reports do not tell of.
    """

    def __init__(
        self,
        client: Cluster,
        store: policies.PolicyStore,
        clock: Callable[[], int],
        excepted: Callable[[], exceptions.Exceptions] = lambda: exceptions.NONE,
        at_hand: AtHand = nothing,
        hidden: redaction.Hidden = tuple,
    ) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._excepted = excepted
        self._at_hand = at_hand
        self._hidden = hidden

    async def confirmed(self, subject: Subject, plural: str, stored: Mapping[str, Any], found: ByPolicy) -> ByPolicy:
        """Findings that are true of an object as it is stored; those that cannot be made true are left out.

        Among the latter are those of policies whose contexts ask for what is not at hand. Nobody is called for them:
        whoever forges reviews would have the operator call on and on. A scan calls, once for a hundred objects; it
        looks at every object whose content has changed, this one as well.

        Args:
            subject: The object.
            plural: The resource that serves it.
            stored: The object as it was just read.
            found: What policies found in what was reviewed.

        Raises:
            KubernetesError: The namespace could not be read.
        """
        possible = digests(stored)
        doubtful = {key for key, each in found.items() if each.reviewed and each.reviewed not in possible}
        unsaid = doubtful.union(key for key, each in found.items() if each.reviewed and _is_tolerated(each))
        if not unsaid:
            return found
        again = tuple(
            held.compiled
            for held in self._store.held
            if held.compiled is not None
            and held.compiled.background
            and not held.compiled.match_conditions
            and held.compiled.key in unsaid
        )
        facts = needs.Facts(installation=self._store.installation)
        if any(policy.needs_namespace_labels for policy in again):
            labels = await self._namespace_labels(subject.namespace)
            facts.add(needs.NamespaceLabels(subject.namespace), labels)
        request = request_about(subject, plural, stored)
        spendable = budget.Budget(steps=STEPS)
        excepted, confirmed = self._excepted(), {}
        for policy in again:
            with contextlib.suppress(needs.Needed):
                results = self._evaluated(policy, request, facts, spendable, excepted)
                confirmed[policy.key] = found[policy.key]._replace(result=results[0] if results else None)
        if spendable.steps < 0:
            confirmed = {}
        left_out = doubtful.union(policy.key for policy in again)
        return {**{key: each for key, each in found.items() if key not in left_out}, **confirmed}

    def _evaluated(
        self,
        policy: CompiledPolicy,
        request: Mapping[str, Any],
        facts: needs.Facts,
        spendable: budget.Budget,
        excepted: exceptions.Exceptions,
    ) -> Sequence[evaluate.PolicyResult]:
        """What a policy says; raises Needed where it asks for what is not at hand."""
        evaluation = evaluate.Evaluation((policy,), request, facts, spendable, self._clock, None, excepted)
        while True:
            try:
                return redaction.told(request, evaluation.run(), self._hidden())
            except needs.Needed as needed:
                if not self._at_hand(needed.need, facts):
                    raise

    async def _namespace_labels(self, namespace: str) -> Mapping[str, str]:
        if not namespace:
            return {}
        try:
            document = await self._client.get(resources.NAMESPACES, namespace, metadata_only=True)
        except errors.NotFound:
            return {}
        return document["metadata"].get("labels") or {}


def _is_tolerated(found: Found) -> bool:
    """Whether a rule was skipped because the object violated it before."""
    return found.result is not None and any(
        rule.status == outcome.SKIP and rule.message == evaluate.EXISTING for rule in found.result.rules
    )


def request_about(subject: Subject, plural: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A request about an object that exists: as if nobody in particular created it, as Kyverno's scans have it."""
    group, version = subject.group, subject.version
    return {
        "uid": "",
        "kind": {"group": group, "version": version, "kind": subject.kind},
        "resource": {"group": group, "version": version, "resource": plural},
        "name": subject.name,
        "namespace": subject.namespace,
        "operation": "CREATE",
        "object": stored,
    }
