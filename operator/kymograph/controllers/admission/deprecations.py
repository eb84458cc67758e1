"""Reviews of what Kyverno has deprecated in favour of its CEL policies: its classic kinds, and old spellings of fields.

Here these kinds stay, and nobody is told to rewrite them. They are counted as Kyverno counts them (`pkg/deprecations`),
so that who is on the way from one form to the other sees how far that is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.engine import validation
from kymograph.model import cleanuppolicy, policy
from kymograph.telemetry.instruments import labels

_POLICIES = frozenset(policy.PLURALS)
_CLEANUP = frozenset(cleanuppolicy.PLURALS)
_KINDS = _POLICIES | _CLEANUP | {"PolicyException"}


def requested(request: Mapping[str, Any], *, allowed: bool) -> Iterator[labels.Deprecated]:
    """What is deprecated of a request: its kind, with an empty field, and each field that is.

    Args:
        request: The AdmissionRequest, its shape checked.
        allowed: Whether it was allowed: Kyverno counts no cleanup policy that it refuses.
    """
    sent = request.get("requestKind") or request["kind"]  # in the version that its author wrote
    group, version, kind = (str(sent.get(part) or "") for part in ("group", "version", "kind"))
    if group != policy.GROUP or kind not in _KINDS or (kind in _CLEANUP and not allowed):
        return
    yield labels.Deprecated(group, version, kind, "")
    if kind in _POLICIES:
        for field in validation.deprecated_fields(request.get("object") or {}):
            yield labels.Deprecated(group, version, kind, field)
