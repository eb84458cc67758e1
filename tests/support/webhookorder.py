"""Waiting until an API server acts on webhook configurations: it stores them, and hears of them a moment later."""

import uuid
from collections.abc import Callable
from typing import Any

from kymograph.localcluster import errors, rest
from support import waiting

_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
_RUNTIME_CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
_NOBODY = "https://127.0.0.1:1/"


def until_in_force(api: rest.Client) -> None:
    """Wait until the next request is judged by all webhook configurations that are stored now.

    The API server hears of those of one kind in the order in which they were written. So one more of each kind is
    written, whose webhook nobody answers, and an object that only these are about is tried, without being stored, until
    it is refused for them: then those before are in force as well.
    """
    for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
        marker = f"heard-of-{uuid.uuid4().hex}.kymograph.test"
        _until_taken(lambda kind=kind, marker=marker: api.request("POST", f"{_CONFIGURATIONS}/{kind}", _about(marker)))
        try:
            waiting.until(f"a new one of the {kind} is in force", lambda marker=marker: _is_refused(api, marker))
        finally:
            _until_taken(lambda kind=kind, marker=marker: api.request("DELETE", f"{_CONFIGURATIONS}/{kind}/{marker}"))


def _about(marker: str) -> dict[str, Any]:
    """A configuration with one webhook, about objects that are labelled so."""
    webhook = {
        "name": marker,
        "clientConfig": {"url": _NOBODY},
        "rules": [{"apiGroups": ["node.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["*"]}],
        "objectSelector": {"matchLabels": {"kymograph.test/marker": marker}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {"metadata": {"name": marker}, "webhooks": [webhook]}


def _is_refused(api: rest.Client, marker: str) -> bool:
    metadata = {"name": "never-stored", "labels": {"kymograph.test/marker": marker}}
    try:
        api.request("POST", f"{_RUNTIME_CLASSES}?dryRun=All", {"metadata": metadata, "handler": "none"})
    except errors.RequestRefused as refused:
        return marker in str(refused)
    return False


def _until_taken(request: Callable[[], object]) -> None:
    """Make a request again while the API server has no time."""

    def taken() -> bool:
        try:
            request()
        except errors.RequestRefused as refused:
            if refused.status != 429:
                raise
            return False
        return True

    waiting.until("the API server has time", taken)
