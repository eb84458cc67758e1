"""Generated objects in the cluster: written, found again by their labels, deleted.

They are applied server-side under our field manager. Where the operator's roles have no `patch` (those made for
Kyverno do not) they are created and replaced instead, in the version that was read. A delete names uid and
resourceVersion of what was seen, so that a leader that lost its Lease without knowing deletes nothing new.
"""

import collections
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

from kymograph.apimachinery import labels as label_rules
from kymograph.apimachinery import objectkey
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import updaterequests
from kymograph.controllers.background import errors
from kymograph.engine.generate import labels, wanted
from kymograph.telemetry import subject

logger = logging.getLogger(__name__)

TRIGGER_NAME = "kymograph.dev/trigger-name"
"""Annotation on a generated object: the name of its trigger, which a label could not always hold."""

WITH_RULE = "kymograph.dev/goes-with-rule"
"""Annotation on a generated object: it is to be deleted with the rule. A rule that is gone cannot be asked."""

_TRIGGER_NAME_LABEL = "generate.kyverno.io/trigger-name"
"""By which versions of Kyverno before 1.12 named the trigger; they wrote no uid."""

_UNPATCHED = "cannot patch resource"
"""Part of the answer to a patch that the operator's roles do not grant."""

_UNDECLARED = "failed to create typed patch object"
"""Part of the answer to an application with a field that the kind does not have; a creation just loses the field."""

_ENDING = "because it is being terminated"
"""Part of the answer to a creation in a namespace that is being deleted."""

MOST_REMEMBERED = 10_000
"""Own writes that are remembered, so that what a watch tells of them is no news."""


class Cluster(Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""

    async def create(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Create an object."""

    async def update(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = "", subresource: str = ""
    ) -> dict[str, Any]:
        """Replace an object in the version that the document names."""

    async def apply(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Apply the fields of a document."""

    async def merge(
        self, resource: resources.Resource, name: str, patch: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Patch an object."""

    async def delete(
        self,
        resource: resources.Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Delete the object if it has that uid and version."""

    def pages(
        self,
        resource: resources.Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection in pages."""


class Downstream:
    """Writes generated objects.

    Args:
        client: Calls the API server.
    """

    def __init__(self, client: Cluster) -> None:
        self._client = client
        self._unpatchable: set[tuple[str, str]] = set()
        self._written: collections.OrderedDict[tuple[str, str], None] = collections.OrderedDict()

    def wrote(self, uid: str, version: str) -> bool:
        """Whether that version of an object, or its deletion (an empty version), is our own doing."""
        return (uid, version) in self._written

    async def ensure(
        self, resource: resources.Resource, each: wanted.Wanted, trigger: str, *, synchronize: bool, with_rule: bool
    ) -> dict[str, Any] | None:
        """Have a wanted object exist; if it exists, it is brought in line only where it is to be kept in step.

        Args:
            resource: What serves it.
            each: The object.
            trigger: Name of its trigger.
            synchronize: It is to be kept in step.
            with_rule: It is to be deleted with its rule.

        Returns:
            The object as it was before; None where it did not exist.

        Raises:
            Needless: Its namespace is being deleted.
            Forbidden: The operator's roles do not grant it.
            Failing: It cannot be written as it is wanted, or one of its name is being deleted.
            KubernetesError: The API server did not answer.
        """
        target = each.target
        if resource.namespaced and not target.namespace:
            raise errors.Failing(f"the rule names no namespace for the {target.kind} {target.name}")
        if not target.name:
            raise errors.Failing(f"the rule names no {target.kind}")
        manifest = _manifest(each, trigger, with_rule=with_rule)
        namespace = target.namespace if resource.namespaced else ""
        try:
            existing: dict[str, Any] | None = await self._client.get(resource, target.name, namespace=namespace)
        except kubernetes_errors.NotFound:
            existing = None
        except kubernetes_errors.Forbidden as error:
            raise errors.Forbidden(str(error)) from error
        if existing is not None:
            if existing["metadata"].get("deletionTimestamp"):
                waits = ", ".join(existing["metadata"].get("finalizers") or ()) or "none"
                raise errors.Failing(f"{target.kind} {target.name} is being deleted, finalizers left: {waits}")
            if not synchronize:
                return existing
        try:
            stored = await self._write(resource, manifest, existing, namespace)
        except kubernetes_errors.Forbidden as error:
            if _ENDING in error.message:
                raise errors.Needless(f"namespace {namespace} is being deleted") from error
            raise errors.Forbidden(str(error)) from error
        if stored is not None:
            self._remember(stored["metadata"]["uid"], stored["metadata"]["resourceVersion"])
        return existing

    async def _write(
        self,
        resource: resources.Resource,
        manifest: dict[str, Any],
        existing: dict[str, Any] | None,
        namespace: str,
    ) -> dict[str, Any] | None:
        place = (resource.group, resource.plural)
        if place not in self._unpatchable:
            try:
                return await self._client.apply(resource, manifest, namespace=namespace)
            except kubernetes_errors.StatusError as error:
                if _UNPATCHED in error.message:
                    self._unpatchable.add(place)
                    logger.info("The operator's roles do not grant patch on %s: replacing instead", resource.plural)
                elif _UNDECLARED not in error.message:
                    raise
        if existing is None:
            return await self._client.create(resource, manifest, namespace=namespace)
        replaced = _replaced(existing, manifest)
        if replaced == existing:
            return None
        return await self._client.update(resource, replaced, namespace=namespace)

    async def mark_source(self, resource: resources.Resource, source: wanted.Reference) -> None:
        """Label an object as one that others are cloned from, as Kyverno does, so that its changes are seen.

        Raises:
            Failing: It is gone.
            KubernetesError: The API server did not answer.
        """
        namespace = source.namespace if resource.namespaced else ""
        try:
            document = await self._client.get(resource, source.name, namespace=namespace)
            metadata = document["metadata"]
            if labels.CLONE_SOURCE in (metadata.get("labels") or {}):
                return
            await self._relabel(resource, metadata, {labels.CLONE_SOURCE: ""})
        except kubernetes_errors.NotFound as error:
            raise errors.Failing(f"source resource {source} not found") from error
        except kubernetes_errors.Forbidden as error:
            logger.info("%s cannot be labelled as a source, its changes go unseen: %s", source, error)

    async def _relabel(
        self, resource: resources.Resource, metadata: Mapping[str, Any], change: Mapping[str, str | None]
    ) -> None:
        """Set labels of an object, or take off those that are None."""
        namespace, name, place = metadata.get("namespace") or "", metadata["name"], (resource.group, resource.plural)
        stored = None
        if place not in self._unpatchable:
            patch = {"metadata": {"uid": metadata["uid"], "labels": change}}
            try:
                stored = await self._client.merge(resource, name, patch, namespace=namespace)
            except kubernetes_errors.Forbidden as error:
                if _UNPATCHED not in error.message:
                    raise
                self._unpatchable.add(place)
        if stored is None:
            document = await self._client.get(resource, name, namespace=namespace)
            told = {**(document["metadata"].get("labels") or {}), **change}
            told = {key: value for key, value in told.items() if value is not None}
            document = {**document, "metadata": {**document["metadata"], "labels": told}}
            stored = await self._client.update(resource, document, namespace=namespace)
        self._remember(stored["metadata"]["uid"], stored["metadata"]["resourceVersion"])

    async def release(self, resource: resources.Resource, metadata: Mapping[str, Any]) -> None:
        """Take off the labels by which a generated object belongs to a rule, as Kyverno does; one gone is as good.

        Raises:
            KubernetesError: It may not be changed, or the API server did not answer.
        """
        with contextlib.suppress(kubernetes_errors.NotFound):
            await self._relabel(resource, metadata, dict.fromkeys(labels.RULE))

    async def of(
        self,
        resource: resources.Resource,
        policy: str,
        rule: str,
        trigger: updaterequests.Reference | None = None,
    ) -> list[dict[str, Any]]:
        """The metadata of what a rule generated, because of a trigger or (None) of any.

        What an old Kyverno has made is found by the name of its trigger, where nothing is found by the uid.

        Raises:
            Forbidden: The operator's roles do not grant listing them.
            KubernetesError: The API server did not answer.
        """
        namespace, _, name = policy.rpartition("/")
        sought = labels.of_rule(name, namespace, rule)
        if trigger is None:
            return await self.labelled(resource, _query(sought))
        found = await self.labelled(resource, _query({**sought, labels.TRIGGER_UID: trigger.uid}))
        if found or not trigger.name or len(trigger.name) > label_rules.LONGEST_VALUE:
            return found
        named = {labels.TRIGGER_NAMESPACE: trigger.namespace, labels.TRIGGER_KIND: trigger.kind}
        found = await self.labelled(resource, _query({**sought, **named, _TRIGGER_NAME_LABEL: trigger.name}))
        return [each for each in found if not each["metadata"]["labels"].get(labels.TRIGGER_UID)]

    async def labelled(self, resource: resources.Resource, query: str) -> list[dict[str, Any]]:
        """The metadata of the objects that a label selector means; raises as `walk`."""
        return [each async for each in self.walk(resource, query)]

    async def walk(self, resource: resources.Resource, query: str) -> AsyncIterator[dict[str, Any]]:
        """The metadata of the objects that a label selector means, page by page.

        Raises:
            Forbidden: The operator's roles do not grant listing them.
            KubernetesError: The API server did not answer.
        """
        try:
            async for page in self._client.pages(resource, label_selector=query, metadata_only=True):
                for each in page.get("items") or ():
                    yield each
        except kubernetes_errors.Forbidden as error:
            raise errors.Forbidden(str(error)) from error

    async def delete(self, resource: resources.Resource, document: Mapping[str, Any]) -> updaterequests.Reference:
        """Delete a generated object as it was seen; one that is gone is as good.

        Raises:
            Forbidden: The operator's roles do not grant it.
            KubernetesError: It has changed meanwhile, or the API server did not answer.
        """
        metadata = document["metadata"]
        self._remember(metadata["uid"], "")
        try:
            await self._client.delete(
                resource,
                metadata["name"],
                namespace=metadata.get("namespace") or "",
                uid=metadata["uid"],
                resource_version=metadata["resourceVersion"],
            )
        except kubernetes_errors.NotFound:
            pass
        except kubernetes_errors.Forbidden as error:
            raise errors.Forbidden(subject.current().said(error)) from None
        except kubernetes_errors.StatusError as error:
            raise (error.bare if subject.current().unseen else error) from None
        return reference(resource, metadata)

    def _remember(self, uid: str, version: str) -> None:
        self._written[uid, version] = None
        while len(self._written) > MOST_REMEMBERED:
            self._written.popitem(last=False)


def reference(resource: resources.Resource, metadata: Mapping[str, Any]) -> updaterequests.Reference:
    """An object by its metadata."""
    return updaterequests.Reference(
        resource.api_version, resource.kind, metadata.get("namespace") or "", metadata["name"], metadata["uid"]
    )


def trigger_of(metadata: Mapping[str, Any]) -> updaterequests.Reference:
    """The trigger that a generated object says it exists because of."""
    told = metadata.get("labels") or {}
    group, version = told.get(labels.TRIGGER_GROUP) or "", told.get(labels.TRIGGER_VERSION) or ""
    return updaterequests.Reference(
        f"{group}/{version}" if group else version,
        told.get(labels.TRIGGER_KIND) or "",
        told.get(labels.TRIGGER_NAMESPACE) or "",
        (metadata.get("annotations") or {}).get(TRIGGER_NAME) or told.get(_TRIGGER_NAME_LABEL) or "",
        told.get(labels.TRIGGER_UID) or "",
    )


def owner_of(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """The policy (`name` or `namespace/name`) and the rule that generated an object; None for any other object."""
    told = document["metadata"].get("labels") or {}
    name, namespace = told.get(labels.POLICY_NAME), told.get(labels.POLICY_NAMESPACE)
    if not name or told.get(labels.MANAGED_BY) != labels.KYVERNO:
        return None
    return objectkey.of(namespace or "", name), told.get(labels.RULE_NAME) or ""


def goes_with_rule(metadata: Mapping[str, Any]) -> bool:
    """Whether a generated object is to be deleted with its rule, as was written onto it."""
    return bool((metadata.get("annotations") or {}).get(WITH_RULE) == "true")


def outlives(generate: Mapping[str, Any]) -> bool:
    """Whether what a rule generated stays without it; clones do unless it says otherwise, as in Kyverno."""
    said = generate.get("orphanDownstreamOnPolicyDelete")
    return clones(generate) if said is None else bool(said)


def kinds_of(generate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """API version and kind of what a `generate` makes, as far as they are written without variables or wildcards."""
    for pattern in (generate, *(generate.get("foreach") or ())):
        if pattern.get("kind"):
            named = [(pattern.get("apiVersion") or "", pattern["kind"])]
        else:
            listed = [str(each).rpartition("/") for each in (pattern.get("cloneList") or {}).get("kinds") or ()]
            named = [(api_version, kind) for api_version, _, kind in listed]
        for api_version, kind in named:
            if not any(mark in f"{api_version}{kind}" for mark in ("{{", "*", "?")):
                yield api_version, kind


def clones(generate: Mapping[str, Any]) -> bool:
    """Whether a `generate` copies other objects."""
    patterns = (generate, *(generate.get("foreach") or ()))
    return any("clone" in each or "cloneList" in each for each in patterns)


def _query(sought: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sought.items())


def _manifest(each: wanted.Wanted, trigger: str, *, with_rule: bool) -> dict[str, Any]:
    metadata = each.manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), TRIGGER_NAME: trigger}
    annotations.pop(WITH_RULE, None)  # of a source that was generated itself
    if with_rule:
        annotations[WITH_RULE] = "true"
    return {**each.manifest, "metadata": {**metadata, "annotations": annotations}}


def _replaced(existing: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """An object with the content of a manifest; what else its metadata say, and its status, stay."""
    before, after = existing["metadata"], manifest["metadata"]
    metadata = {**before, "labels": {**(before.get("labels") or {}), **after["labels"]}}
    metadata["annotations"] = {**(before.get("annotations") or {}), **after["annotations"]}
    kept = {"status": existing["status"]} if "status" in existing else {}
    return {**manifest, "metadata": metadata, **kept}
