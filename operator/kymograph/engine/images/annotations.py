"""What is noted on an object about its images: which ones each rule has verified.

The mutating review writes the annotations, the validating one reads them, and so does the mutating review of the next
update, which need not verify again what has not changed. Names and contents are Kyverno's: objects that it has
admitted are understood, and the other way round.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import orjson

from kymograph.engine import errors

PLAIN = "kyverno.io/verify-images"
"""The status of each image, whichever rule it is due to: for people and older readers."""

SCOPED = "kyverno.io/verify-images-scoped"
"""The status of each image by policy and rule: the one that counts."""

PASS, FAIL, SKIP = "pass", "fail", "skip"

_VERSION = 1


class Scope(NamedTuple):
    """The rule that a status is due to.

    Attributes:
        policy: `namespace/name`; `/name` for a policy of the cluster.
        rule: Name of the rule.
    """

    policy: str
    rule: str


Notes: TypeAlias = Mapping[tuple[Scope, str], str]
"""The status of each image (a full reference) by the rule that has looked at it, in the order of looking."""


def noted(resource: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """The object with notes in its annotations; itself where there are none.

    Args:
        resource: The object; it is not changed.
        notes: What has been found out.
    """
    if not notes:
        return resource
    plain: dict[str, str] = {}
    scoped: dict[str, dict[str, dict[str, str]]] = {}
    for (scope, image), found in notes.items():
        plain[image] = found
        scoped.setdefault(scope.policy, {}).setdefault(scope.rule, {})[image] = found
    written = {PLAIN: _sorted(plain), SCOPED: f'{{"version":{_VERSION},"policies":{_sorted(scoped)}}}'}
    metadata = resource.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), **written}
    return {**resource, "metadata": {**metadata, "annotations": annotations}}


def status(resource: Mapping[str, Any] | None, scope: Scope, image: str) -> str:
    """What an object's annotations say of an image: `pass`, `skip`, or `fail`, also where they say nothing.

    Raises:
        EvaluationError: The annotation cannot be read.
    """
    text = _annotations(resource).get(SCOPED)
    if not isinstance(text, str):
        return FAIL
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise errors.EvaluationError(f"failed to parse scoped image metadata: {error}") from error
    if _holds_statuses(document, depth=1):  # of the plain annotation, which proves nothing
        return FAIL
    policies: Any = (
        document.get("policies") if isinstance(document, dict) and document.get("version") == _VERSION else None
    )
    if not _holds_statuses(policies, depth=3):
        raise errors.EvaluationError("failed to parse scoped image metadata: it does not hold a status by image")
    found: str = policies.get(scope.policy, {}).get(scope.rule, {}).get(image, FAIL)
    return found


def _holds_statuses(value: Any, *, depth: int) -> bool:
    """Whether a value is maps, as deep as said, that end in text."""
    if not depth:
        return isinstance(value, str)
    return isinstance(value, dict) and all(_holds_statuses(each, depth=depth - 1) for each in value.values())


def _annotations(resource: Mapping[str, Any] | None) -> Mapping[str, Any]:
    metadata = (resource or {}).get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


def _sorted(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
