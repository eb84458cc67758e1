"""What the spans of a review are called and what they say: names of low cardinality, Kyverno's keys where they exist.

The user's identity is not among the attributes: it leaves the cluster only where somebody configured that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kymograph.controllers.admission import webhooks
from kymograph.engine.exceptions import CompiledException
from kymograph.engine.policy import CompiledPolicy, CompiledRule
from kymograph.engine.watching import Step
from kymograph.telemetry import semconv
from kymograph.telemetry.recorder import Event

Attributes = Mapping[str, Any]

FORBIDDEN = 403
"""The HTTP status of what policies deny."""

_STEP_NAMES = {
    Step.MATCH: "MATCH",
    Step.PRECONDITIONS: "PRECONDITIONS",
    Step.CONTEXT: "CONTEXT",
    Step.NEED: "NEED",
    Step.EXCEPTION: "EXCEPTION",
}
_JUDGING = frozenset(("validate", "imageVerify"))
_SAID_OF_ANSWERS = frozenset((semconv.RESPONSE_ALLOWED, semconv.RESPONSE_UID, semconv.HTTP_RESPONSE_STATUS_CODE))
_NONE: Attributes = {}


def describe(step: int, subject: object) -> tuple[str, Attributes]:
    """The name and constant attributes of a step's span; whoever writes many remembers what they come to."""
    if isinstance(subject, CompiledPolicy) and step == Step.POLICY:
        return f"POLICY {subject.namespace}/{subject.name}", {
            semconv.POLICY_GROUP: subject.group,
            semconv.POLICY_VERSION: subject.version,
            semconv.POLICY_KIND: subject.kind,
            semconv.POLICY_NAME: subject.name,
            semconv.POLICY_NAMESPACE: subject.namespace,
        }
    if isinstance(subject, CompiledRule) and step == Step.RULE:
        said = {semconv.RULE_NAME: subject.name, semconv.RULE_TYPE: subject.type}
        if subject.fixed_action and subject.type in _JUDGING:  # else it depends on the namespace
            said[semconv.RULE_FAILURE_ACTION] = subject.fixed_action
        return f"RULE {subject.name}", said
    name = _STEP_NAMES[Step(step)]
    if step == Step.CONTEXT:
        return name, {semconv.CONTEXT_NAME: str(subject)}
    if step == Step.NEED and subject is not None:
        return name, {semconv.NEED_TYPE: type(subject).__name__}
    if isinstance(subject, CompiledException):
        return name, {semconv.EXCEPTION_NAME: subject.name, semconv.EXCEPTION_NAMESPACE: subject.namespace}
    return name, _NONE


def server_span(
    request: Mapping[str, Any],
    denial: str | None,
    warnings: Sequence[str],
    now: int,
    path: str,
    *,
    user: bool = False,
    verb: str = "validate",
    patch_type: str = "",
    filtered: bool = False,
    code: int = FORBIDDEN,
) -> tuple[str, Attributes, Sequence[Event]]:
    """The name, attributes and events of the span of a whole review.

    Args:
        request: The AdmissionRequest.
        denial: Why the request was denied, or None when it was allowed: an event and attributes, not an error.
        warnings: What the user is warned of.
        now: When the review ended, in monotonic nanoseconds.
        path: Where the API server sent it.
        user: Whether to say who made the request.
        verb: `validate` or `mutate`.
        patch_type: `JSONPatch` where the object is changed.
        filtered: Whether the ConfigMap said that no policy is for the request.
        code: The HTTP status that the user gets when denied; only 403 has a reason, `Forbidden`.
    """
    kind, resource = request["kind"], request["resource"]
    requested_kind = request.get("requestKind") or kind
    requested_resource = request.get("requestResource") or resource
    metadata = (request.get("object") or request.get("oldObject") or {}).get("metadata") or {}
    route, fine_grained, _ = path.partition(webhooks.FINE_GRAINED)
    attributes: dict[str, Any] = {
        semconv.HTTP_REQUEST_METHOD: "POST",
        semconv.HTTP_ROUTE: f"{route}{fine_grained}{{policy}}" if fine_grained else path,
        semconv.HTTP_RESPONSE_STATUS_CODE: 200,
        semconv.URL_PATH: path,
        semconv.URL_SCHEME: "https",
        semconv.REQUEST_NAME: request.get("name") or metadata.get("name") or "",
        semconv.REQUEST_NAMESPACE: request.get("namespace") or "",
        semconv.REQUEST_UID: request["uid"],
        semconv.REQUEST_OPERATION: request["operation"],
        semconv.REQUEST_DRY_RUN: bool(request.get("dryRun")),
        semconv.REQUEST_KIND_GROUP: kind["group"],
        semconv.REQUEST_KIND_VERSION: kind["version"],
        semconv.REQUEST_KIND_KIND: kind["kind"],
        semconv.REQUEST_SUBRESOURCE: request.get("subResource") or "",
        semconv.REQUEST_REQUEST_KIND_GROUP: str(requested_kind.get("group", "")),
        semconv.REQUEST_REQUEST_KIND_VERSION: str(requested_kind.get("version", "")),
        semconv.REQUEST_REQUEST_KIND_KIND: str(requested_kind.get("kind", "")),
        semconv.REQUEST_REQUEST_SUBRESOURCE: request.get("requestSubResource") or "",
        semconv.REQUEST_RESOURCE_GROUP: resource["group"],
        semconv.REQUEST_RESOURCE_VERSION: resource["version"],
        semconv.REQUEST_RESOURCE_RESOURCE: resource["resource"],
        semconv.REQUEST_REQUEST_RESOURCE_GROUP: str(requested_resource.get("group", "")),
        semconv.REQUEST_REQUEST_RESOURCE_VERSION: str(requested_resource.get("version", "")),
        semconv.REQUEST_REQUEST_RESOURCE_RESOURCE: str(requested_resource.get("resource", "")),
        semconv.RESPONSE_UID: request["uid"],
        semconv.RESPONSE_ALLOWED: denial is None,
    }
    if user:
        info = request.get("userInfo") or {}
        attributes[semconv.REQUEST_USER_NAME] = str(info.get("username") or "")
        attributes[semconv.REQUEST_USER_UID] = str(info.get("uid") or "")
        attributes[semconv.REQUEST_USER_GROUPS] = tuple(str(group) for group in info.get("groups") or ())
    if filtered:
        attributes[semconv.REQUEST_FILTERED] = True
    if patch_type:
        attributes[semconv.RESPONSE_PATCH_TYPE] = patch_type
    if warnings:
        attributes[semconv.RESPONSE_WARNINGS] = tuple(warnings)
    events: tuple[Event, ...] = ()
    if denial is not None:
        attributes[semconv.RESPONSE_RESULT_STATUS] = "Failure"
        if code == FORBIDDEN:
            attributes[semconv.RESPONSE_RESULT_REASON] = "Forbidden"
        attributes[semconv.RESPONSE_RESULT_CODE] = code
        attributes[semconv.RESPONSE_RESULT_MESSAGE] = denial
        events = (Event(semconv.EVENT_DENIED, {semconv.MESSAGE: denial}, now),)
    group = f"{kind['group']}/" if kind["group"] else ""
    return f"admission {verb} {request['operation']} {group}{kind['kind']}", attributes, events


def failure(kind: str, message: str, now: int) -> tuple[Attributes, Event]:
    """What the span of a review says beside all else where whoever judged raised.

    Args:
        kind: The type of the exception.
        message: What it says, as it may be told.
        now: The moment, in monotonic nanoseconds.
    """
    said = {semconv.EXCEPTION_TYPE: kind, semconv.EXCEPTION_MESSAGE: message}
    return {semconv.ERROR_TYPE: kind}, Event(semconv.EVENT_EXCEPTION, said, now)


def unanswered(attributes: Attributes, status: int) -> Attributes:
    """The attributes of a review's span where there is no verdict, but an HTTP status; 0 for none of these either."""
    said = {key: value for key, value in attributes.items() if key not in _SAID_OF_ANSWERS}
    return {**said, semconv.HTTP_RESPONSE_STATUS_CODE: status} if status else said
