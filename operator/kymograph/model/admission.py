"""AdmissionReview (`admission.k8s.io/v1`): what the API server asks a webhook, and what it may be answered.

A review is untrusted input: API servers show no client certificate to webhooks unless they are configured to. Its
shape is checked once, here, so that nobody after has to.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
PATCH_TYPE = "JSONPatch"
OPERATIONS = frozenset(("CREATE", "UPDATE", "DELETE", "CONNECT"))

MOST_CHARACTERS = 1024
"""What tells an object from others is shorter: names that an API server stores have up to 253 characters."""

_STRING = frozenset({str})
_STRINGS = ("uid", "operation")
_OPTIONAL_STRINGS = ("name", "namespace", "subResource", "requestSubResource")
_OPTIONAL_OBJECTS = ("object", "oldObject", "options", "requestKind", "requestResource")
_METADATA_STRINGS = ("name", "namespace", "generateName", "uid", "resourceVersion")


class MalformedReview(ValueError):
    """A body is no AdmissionReview of version v1; the text names the field."""


def request_of(document: Any) -> dict[str, Any]:
    """The request of a decoded AdmissionReview, its shape checked.

    Afterwards `uid`, `operation`, `kind.{group,version,kind}` and `resource.{group,version,resource}` are strings,
    `userInfo`, where present, is an object with a string `username` and strings as `groups`, and `object` and
    `oldObject` are objects or null, whose `metadata` has strings and maps of strings where Kubernetes has them.

    Raises:
        MalformedReview: The document is something else.
    """
    if type(document) is not dict or document.get("kind") != KIND or document.get("apiVersion") != API_VERSION:
        raise MalformedReview(f"the body must be a {KIND} of {API_VERSION}")
    request = document.get("request")
    if type(request) is not dict:
        raise MalformedReview("request: an object is required")
    for field in _STRINGS:
        if type(request.get(field)) is not str or not request[field]:
            raise MalformedReview(f"request.{field}: a string is required")
    if request["operation"] not in OPERATIONS:
        raise MalformedReview("request.operation: must be one of CREATE, UPDATE, DELETE, CONNECT")
    for field, last in (("kind", "kind"), ("resource", "resource")):
        value = request.get(field)
        if type(value) is not dict:
            raise MalformedReview(f"request.{field}: an object is required")
        for part in ("group", "version", last):
            text = value.get(part)
            if type(text) is not str or len(text) > MOST_CHARACTERS:
                raise _unfit(text, f"{field}.{part}", "a string is required")
    for field in _OPTIONAL_STRINGS:
        text = request.get(field, "")
        if type(text) is not str or len(text) > MOST_CHARACTERS:
            raise _unfit(text, field)
    for field in _OPTIONAL_OBJECTS:
        value = request.get(field)
        if value is not None and type(value) is not dict:
            raise MalformedReview(f"request.{field}: must be an object or null")
    _check_user(request.get("userInfo"))
    for field in ("object", "oldObject"):
        _check_metadata(field, request.get(field))
    return request


def response(
    uid: str,
    *,
    allowed: bool,
    message: str = "",
    code: int = 403,
    warnings: tuple[str, ...] = (),
    audit_annotations: Mapping[str, str] | None = None,
    patch: bytes = b"",
) -> dict[str, Any]:
    """The AdmissionReview that answers a request.

    Args:
        uid: The uid of the request.
        allowed: The verdict.
        message: Why not, as the user will read it.
        code: The HTTP status the user gets when denied.
        warnings: Shown to the user as warnings.
        audit_annotations: Written to the audit event as `<webhook name>/<key>`; values are at most 10 kB.
        patch: The JSON patch (RFC 6902) to apply to the object, encoded; empty for none.
    """
    answer: dict[str, Any] = {"uid": uid, "allowed": allowed}
    if not allowed:
        answer["status"] = {"message": message, "code": code, "reason": "Forbidden", "status": "Failure"}
    if patch:
        answer["patchType"] = PATCH_TYPE
        answer["patch"] = base64.b64encode(patch).decode()
    if warnings:
        answer["warnings"] = list(warnings)
    if audit_annotations:
        answer["auditAnnotations"] = dict(audit_annotations)
    return {"apiVersion": API_VERSION, "kind": KIND, "response": answer}


def _unfit(text: Any, field: str, otherwise: str = "must be a string") -> MalformedReview:
    """Why a field is refused: it is no string, or one too long."""
    if type(text) is str:
        otherwise = f"must have at most {MOST_CHARACTERS} characters"
    return MalformedReview(f"request.{field}: {otherwise}")


def _check_user(user: Any) -> None:
    if user is None:
        return
    if type(user) is not dict:
        raise MalformedReview("request.userInfo: must be an object or null")
    if type(user.get("username", "")) is not str:
        raise MalformedReview("request.userInfo.username: must be a string")
    groups = user.get("groups")
    if groups is not None and (type(groups) is not list or not _are_strings(groups)):
        raise MalformedReview("request.userInfo.groups: must be a list of strings")


def _check_metadata(field: str, document: Any) -> None:
    if document is None:
        return
    metadata = document.get("metadata")
    if metadata is None:
        return
    if type(metadata) is not dict:
        raise MalformedReview(f"request.{field}.metadata: must be an object")
    for key in _METADATA_STRINGS:
        text = metadata.get(key, "")
        if type(text) is not str or len(text) > MOST_CHARACTERS:
            raise _unfit(text, f"{field}.metadata.{key}")
    for key in ("labels", "annotations"):
        values = metadata.get(key)
        if values is not None and (type(values) is not dict or not _are_strings(values.values())):
            raise MalformedReview(f"request.{field}.metadata.{key}: must be an object of strings")


def _are_strings(values: Iterable[Any]) -> bool:
    return _STRING.issuperset(map(type, values))
