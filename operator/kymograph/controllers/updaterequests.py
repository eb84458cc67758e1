"""UpdateRequests as documents: how work is written down by whoever asks for it, and read by whoever does it.

The name of a request is a digest of what it is about, so that asking twice is asking once: the second creation finds
that it exists. The object of the admission request is left out, because whoever works reads it from the API server
again: a review is untrusted, and the request may yet be denied.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kymograph.apimachinery import labels, objectkey
from kymograph.clients.kubernetes import resources
from kymograph.engine import policyset

GENERATE, MUTATE = "generate", "mutate"

PENDING, COMPLETED, FAILED, SKIP = "Pending", "Completed", "Failed", "Skip"
FINAL = frozenset({COMPLETED, FAILED, SKIP})

MOST = 10_000
"""UpdateRequests that there may be at once, where nothing else is said; with those that have ended and are still kept.
Kyverno's 1,000 (`updateRequestThreshold`) are too few for those who keep outcomes for a while."""

TRACEPARENT = "kymograph.dev/traceparent"
"""Annotation: the trace of the request that asked for the work."""

UNCHANGED = "kymograph.dev/unchanged"
"""Annotation: the request updates an object to what it is already; the API server will not store it anew."""

KINDS = "kymograph.dev/downstream-kinds"
"""Annotation: kinds (`v1/ConfigMap,...`) of which everything is to be deleted that a rule generated which is gone."""

MARKED = "kymograph.dev/only-marked"
"""Annotation, with the one above: only what says that it goes with its rule; the rule's text is not known any more."""

_DIGITS = 40
"""Hexadecimal digits of a name: 160 bits of SHA-256."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """One object; the uid is empty where it does not matter, the name where there is none."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""

    def __str__(self) -> str:
        where = objectkey.of(self.namespace, self.name)
        return f"{self.kind} {where}"

    def document(self) -> dict[str, str]:
        """As an UpdateRequest holds it."""
        fields = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }
        return {field: value for field, value in fields.items() if value}


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One rule of an UpdateRequest.

    Attributes:
        rule: Its name.
        trigger: The object because of which it is to be applied.
        deletes: What was generated has lost its reason.
    """

    rule: str
    trigger: Reference
    deletes: bool


@dataclasses.dataclass(frozen=True, slots=True)
class UpdateRequest:
    """One UpdateRequest as it is stored.

    Attributes:
        name: Its name.
        uid: Its uid.
        version: Its resourceVersion.
        created: When it was created, as the API server wrote it.
        type: `generate` or `mutate`; others are not for this operator.
        policy: Key of the policy, `name` or `namespace/name`.
        parts: Its rules, at least one.
        request: The AdmissionRequest without its object; None where no request asked for the work.
        unchanged: The request does not change its object.
        kinds: API version and kind of what is to be deleted because the rule is gone; empty otherwise.
        marked: Of those only what is marked to go with its rule.
        traceparent: The trace of the request; empty for none.
        state: `Pending` (also where nothing is said yet), `Completed`, `Failed` or `Skip`.
        retries: How often it has failed so far.
    """

    name: str
    uid: str
    version: str
    created: str
    type: str
    policy: str
    parts: tuple[Part, ...]
    request: Mapping[str, Any] | None
    unchanged: bool
    kinds: tuple[tuple[str, str], ...]
    marked: bool
    traceparent: str
    state: str
    retries: int


def read(document: Mapping[str, Any]) -> UpdateRequest:
    """Read an UpdateRequest; ours, or one that Kyverno has left."""
    metadata, spec, status = document["metadata"], document["spec"], document.get("status") or {}
    annotations = metadata.get("annotations") or {}
    resource = _reference(spec.get("resource"))
    parts = tuple(
        Part(
            each["rule"],
            _reference(each.get("trigger")) if each.get("trigger") else resource,
            bool(each.get("deleteDownstream")),
        )
        for each in spec.get("ruleContext") or ()
    )
    if not parts:
        parts = (Part(spec.get("rule") or "", resource, bool(spec.get("deleteDownstream"))),)
    info = (spec.get("context") or {}).get("admissionRequestInfo") or {}
    return UpdateRequest(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        created=metadata["creationTimestamp"],
        type=spec.get("requestType") or "",
        policy=spec["policy"],
        parts=parts,
        request=info.get("admissionRequest") or None,
        unchanged=UNCHANGED in annotations,
        kinds=tuple(_split(each) for each in (annotations.get(KINDS) or "").split(",") if each),
        marked=MARKED in annotations,
        traceparent=annotations.get(TRACEPARENT) or "",
        state=status.get("state") or PENDING,
        retries=int(status.get("retryCount") or 0),
    )


def named(*about: str) -> str:
    """The name of the UpdateRequest that is about something."""
    return f"ur-{hashlib.sha256(chr(0).join(about).encode()).hexdigest()[:_DIGITS]}"


def document(
    name: str,
    type_: str,
    policy: str,
    part: Part,
    *,
    request: Mapping[str, Any] | None = None,
    traceparent: str = "",
    kinds: Iterable[tuple[str, str]] = (),
    marked: bool = False,
) -> dict[str, Any]:
    """An UpdateRequest to be created.

    Args:
        name: Its name, by `named`.
        type_: `generate` or `mutate`.
        policy: Key of the policy.
        part: The rule.
        request: The AdmissionRequest that asks for the work; None where none does.
        traceparent: The trace of that.
        kinds: See `UpdateRequest.kinds`.
        marked: See `UpdateRequest.marked`.
    """
    annotations = {TRACEPARENT: traceparent} if traceparent else {}
    if request is not None and _changes_nothing(request):
        annotations[UNCHANGED] = "true"
    listed = ",".join(f"{api_version}/{kind}" for api_version, kind in kinds)
    if listed:
        annotations[KINDS] = listed
    if marked:
        annotations[MARKED] = "true"
    spec: dict[str, Any] = {
        "requestType": type_,
        "policy": policy,
        "rule": part.rule,
        "resource": part.trigger.document(),
        "deleteDownstream": part.deletes,
        "context": {},
    }
    if type_ == GENERATE:
        trigger = part.trigger.document()
        spec["ruleContext"] = [{"rule": part.rule, "trigger": trigger, "deleteDownstream": part.deletes}]
    if request is not None:
        spec["context"] = {
            "userInfo": {"userInfo": request.get("userInfo") or {}},
            "admissionRequestInfo": {
                "admissionRequest": _without_object(request),
                "operation": request.get("operation") or "",
            },
        }
    return {
        "apiVersion": resources.UPDATE_REQUESTS.api_version,
        "kind": resources.UPDATE_REQUESTS.kind,
        "metadata": {"name": name, "labels": _labels(type_, policy, part.trigger), "annotations": annotations},
        "spec": spec,
    }


def trigger_of(request: Mapping[str, Any]) -> Reference:
    """The object that a request is about."""
    document = request.get("object") or request.get("oldObject") or {}
    metadata = document.get("metadata") or {}
    kind = request["kind"]
    group = f"{kind['group']}/" if kind["group"] else ""
    namespace = "" if kind["kind"] == "Namespace" else request.get("namespace") or ""
    name = metadata.get("name") or request.get("name") or ""
    return Reference(f"{group}{kind['version']}", kind["kind"], namespace, name, metadata.get("uid") or "")


def status(state: str, message: str, generated: Sequence[Reference], retries: int) -> dict[str, Any]:
    """A status to be written."""
    return {
        "state": state,
        "message": message[:_LONGEST_MESSAGE],
        "generatedResources": [each.document() for each in generated],
        "retryCount": retries,
    }


def _reference(document: Mapping[str, Any] | None) -> Reference:
    given = document or {}
    return Reference(*(given.get(field) or "" for field in ("apiVersion", "kind", "namespace", "name", "uid")))


def _split(text: str) -> tuple[str, str]:
    api_version, _, kind = text.rpartition("/")
    return api_version, kind


def _labels(type_: str, policy: str, trigger: Reference) -> dict[str, str]:
    """Kyverno's labels, by which UpdateRequests are found; what can be the value of none is left out."""
    _, _, name = policy.rpartition("/")
    if type_ == GENERATE:
        return {"generate.kyverno.io/policy-name": name[: labels.LONGEST_VALUE]}
    told = {
        "policy-name": name[: labels.LONGEST_VALUE],
        "trigger-name": trigger.name[: labels.LONGEST_VALUE],
        "trigger-namespace": trigger.namespace,
        "trigger-kind": trigger.kind,
        "trigger-apiversion": trigger.api_version.replace("/", "-"),
    }
    return {f"mutate.updaterequest.kyverno.io/{key}": text for key, text in told.items() if labels.is_value(text)}


def _without_object(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request without what is read again; the object stays where there is nothing to read it from.

    That is so for subresources, whose requests carry an object of a kind of its own.
    """
    kept = {field: value for field, value in request.items() if field not in ("object", "oldObject")}
    if (request.get("subResource") or "") not in policyset.SAME_KIND:
        kept["object"] = request.get("object")
    old = request.get("oldObject")
    if old is not None:
        metadata = {field: value for field, value in old["metadata"].items() if field != "managedFields"}
        kept["oldObject"] = {**old, "metadata": metadata}
    return kept


def _changes_nothing(request: Mapping[str, Any]) -> bool:
    new, old = request.get("object"), request.get("oldObject")
    if request.get("operation") != "UPDATE" or new is None or old is None:
        return False
    return _content(new) == _content(old)


def _content(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = document.get("metadata") or {}
    told = {field: value for field, value in metadata.items() if field != "managedFields"}
    return {**document, "metadata": told}


_LONGEST_MESSAGE = 32_768
"""Characters of a message that the CRD takes."""
