"""The labels by which a generated object says why it exists: Kyverno's, so that either operator finds what both made.

They are written onto objects that this engine describes, and read again by whoever keeps those objects in step.
"""

from collections.abc import Mapping
from typing import Any

from kymograph.apimachinery import gvk

MANAGED_BY = "app.kubernetes.io/managed-by"
KYVERNO = "kyverno"

_PREFIX = "generate.kyverno.io/"
POLICY_NAME = f"{_PREFIX}policy-name"
POLICY_NAMESPACE = f"{_PREFIX}policy-namespace"
RULE_NAME = f"{_PREFIX}rule-name"
RULE = (POLICY_NAME, POLICY_NAMESPACE, RULE_NAME)
"""Whoever has none of them belongs to no rule (any more)."""

TRIGGER_GROUP = f"{_PREFIX}trigger-group"
TRIGGER_VERSION = f"{_PREFIX}trigger-version"
TRIGGER_KIND = f"{_PREFIX}trigger-kind"
TRIGGER_NAMESPACE = f"{_PREFIX}trigger-namespace"
TRIGGER_UID = f"{_PREFIX}trigger-uid"
SOURCE_GROUP = f"{_PREFIX}source-group"
SOURCE_VERSION = f"{_PREFIX}source-version"
SOURCE_KIND = f"{_PREFIX}source-kind"
SOURCE_NAMESPACE = f"{_PREFIX}source-namespace"
SOURCE_UID = f"{_PREFIX}source-uid"
CLONE_SOURCE = f"{_PREFIX}clone-source"
"""On a source itself: something is cloned from it. Clones carry it too, as they carry all labels of their source."""


def of_rule(policy_name: str, policy_namespace: str, rule_name: str) -> dict[str, str]:
    """The labels that say which rule wanted an object.

    Args:
        policy_name: Name of the policy.
        policy_namespace: Namespace of a Policy; empty for a ClusterPolicy.
        rule_name: Name of the rule.
    """
    return {
        MANAGED_BY: KYVERNO,
        POLICY_NAME: policy_name,
        POLICY_NAMESPACE: policy_namespace,
        RULE_NAME: rule_name,
    }


def of_trigger(trigger: Mapping[str, Any]) -> dict[str, str]:
    """The labels that say because of which object it was wanted; an object under admission may have no uid yet."""
    group, version, kind, metadata = _identity(trigger)
    return {
        TRIGGER_VERSION: version,
        TRIGGER_GROUP: group,
        TRIGGER_KIND: kind,
        TRIGGER_NAMESPACE: _text(metadata.get("namespace")),
        TRIGGER_UID: _text(metadata.get("uid")),
    }


def of_source(source: Mapping[str, Any]) -> dict[str, str]:
    """The labels that say which object a clone was made from."""
    group, version, kind, metadata = _identity(source)
    return {
        CLONE_SOURCE: "",
        SOURCE_GROUP: group,
        SOURCE_VERSION: version,
        SOURCE_KIND: kind,
        SOURCE_NAMESPACE: _text(metadata.get("namespace")),
        SOURCE_UID: _text(metadata.get("uid")),
    }


def _identity(document: Mapping[str, Any]) -> tuple[str, str, str, Mapping[str, Any]]:
    group, version = gvk.split_api_version(_text(document.get("apiVersion")))
    metadata = document.get("metadata")
    return group, version, _text(document.get("kind")), metadata if isinstance(metadata, Mapping) else {}


def _text(value: Any) -> str:
    """A text; what is none counts as absent."""
    return value if isinstance(value, str) else ""
