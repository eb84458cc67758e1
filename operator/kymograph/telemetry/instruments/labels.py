"""The label sets that instruments share: named tuples, so that their values can be bound as they are."""

from typing import NamedTuple


class Review(NamedTuple):
    """One admission review, as Kyverno labels it.

    Attributes:
        resource_kind: The object's kind, `Pod`.
        resource_namespace: Its namespace, or an empty string.
        resource_request_operation: In lower case, `create`.
        request_allowed: `true` or `false`.
        request_webhook: `MutatingWebhookConfiguration` or `ValidatingWebhookConfiguration`.
    """

    resource_kind: str
    resource_namespace: str
    resource_request_operation: str
    request_allowed: str
    request_webhook: str


class Rule(NamedTuple):
    """One rule of one policy applied to one object, as Kyverno labels it.

    Attributes:
        policy_validation_mode: `enforce` or `audit`.
        policy_type: `cluster` or `namespaced`; the kind where it is neither a ClusterPolicy nor a Policy.
        policy_background_mode: `true` or `false`.
        policy_namespace: The policy's namespace, `-` for a cluster-wide one.
        policy_name: The policy's name.
        resource_kind: The object's kind.
        resource_namespace: The object's namespace, or an empty string.
        resource_request_operation: `create`, `update`, `delete`, `connect`, or empty outside admission.
        rule_name: The rule's name.
        rule_result: `pass`, `fail`, `warn`, `error` or `skip`.
        rule_type: `validate`, `mutate`, `generate` or `imageVerify`.
        rule_execution_cause: `admission_request` or `background_scan`.
        dry_run: `true` or `false`.
    """

    policy_validation_mode: str
    policy_type: str
    policy_background_mode: str
    policy_namespace: str
    policy_name: str
    resource_kind: str
    resource_namespace: str
    resource_request_operation: str
    rule_name: str
    rule_result: str
    rule_type: str
    rule_execution_cause: str
    dry_run: str


class Judged(NamedTuple):
    """One policy that judges objects by CEL, applied to one object, as Kyverno labels it; see `Rule`.

    Attributes:
        policy_validation_mode: `Deny` or `Audit`.
        policy_background_mode: `true` or `false`.
        policy_name: The policy's name.
        policy_namespace: The policy's namespace, or an empty string.
        resource_kind: The object's kind.
        resource_namespace: The object's namespace, or an empty string.
        resource_request_operation: In lower case.
        execution_cause: `admission_request` or `background_scan`.
        result: `pass`, `fail`, `warn`, `error` or `skip`.
    """

    policy_validation_mode: str
    policy_background_mode: str
    policy_name: str
    policy_namespace: str
    resource_kind: str
    resource_namespace: str
    resource_request_operation: str
    execution_cause: str
    result: str


class Mutated(NamedTuple):
    """One policy that changes objects by CEL; see `Judged`."""

    policy_background_mode: str
    policy_name: str
    policy_namespace: str
    resource_kind: str
    resource_namespace: str
    resource_request_operation: str
    execution_cause: str
    result: str


class Generated(NamedTuple):
    """One policy that makes objects by CEL; see `Judged`."""

    policy_name: str
    policy_namespace: str
    resource_kind: str
    resource_namespace: str
    resource_request_operation: str
    execution_cause: str
    result: str


class Change(NamedTuple):
    """One change of a policy, as Kyverno labels it; see `Rule`.

    Attributes:
        policy_validation_mode: `enforce` or `audit`.
        policy_type: `cluster` or `namespaced`.
        policy_background_mode: `true` or `false`.
        policy_namespace: The policy's namespace, `-` for a cluster-wide one.
        policy_name: The policy's name.
        policy_change_type: `created`, `updated` or `deleted`.
    """

    policy_validation_mode: str
    policy_type: str
    policy_background_mode: str
    policy_namespace: str
    policy_name: str
    policy_change_type: str


class RuleInfo(NamedTuple):
    """One rule that there is, as Kyverno labels it; see `Rule`.

    Attributes:
        policy_namespace: The policy's namespace, `-` for a cluster-wide one.
        policy_name: The policy's name.
        status_ready: `true` or `false`: what the policy's condition `Ready` says.
        policy_validation_mode: `enforce` or `audit`.
        policy_type: `cluster` or `namespaced`.
        policy_background_mode: `true` or `false`.
        rule_name: The rule's name, `autogen-...` for one made for the controllers of Pods.
        rule_type: `validate`, `mutate`, `generate` or `imageVerify`.
    """

    policy_namespace: str
    policy_name: str
    status_ready: str
    policy_validation_mode: str
    policy_type: str
    policy_background_mode: str
    rule_name: str
    rule_type: str


class Refusal(NamedTuple):
    """Why a request to the webhook server was refused before it was a review: `too_large`, `not_json`, ..."""

    reason: str


class Deprecated(NamedTuple):
    """A request for something deprecated, as Kyverno labels it.

    Attributes:
        group: The API group of what is written.
        version: The version that its author wrote.
        kind: Its kind.
        field: The path of a field in it, without indices; empty where the kind is meant.
    """

    group: str
    version: str
    kind: str
    field: str


class Scan(NamedTuple):
    """A background scan: `resource_kind` is the kind of its objects."""

    resource_kind: str


class Scanned(NamedTuple):
    """An object that a background scan looked at.

    Attributes:
        resource_kind: Its kind.
        outcome: `news`, `unchanged` or `disabled`.
    """

    resource_kind: str
    outcome: str


class Cleaned(NamedTuple):
    """An object that the TTL controller deals with, as Kyverno labels it.

    Attributes:
        resource_namespace: The object's namespace, or an empty string.
        resource_group: Its API group, empty for the core group.
        resource_version: The version of the API it is called in.
        resource_resource: The resource's name in paths, `pods`.
    """

    resource_namespace: str
    resource_group: str
    resource_version: str
    resource_resource: str


class CleanedByPolicy(NamedTuple):
    """An object that a cleanup policy deletes, as Kyverno labels it.

    Attributes:
        policy_type: `CleanupPolicy` or `ClusterCleanupPolicy`.
        policy_namespace: The policy's namespace, or an empty string.
        policy_name: The policy's name.
        resource_kind: The object's kind.
        resource_namespace: The object's namespace, or an empty string.
        deletion_propagation: `Foreground`, `Background`, `Orphan`, or an empty string for the kind's default.
    """

    policy_type: str
    policy_namespace: str
    policy_name: str
    resource_kind: str
    resource_namespace: str
    deletion_propagation: str


class DeletedByPolicy(NamedTuple):
    """An object that a DeletingPolicy deletes, as Kyverno labels it; see `CleanedByPolicy`.

    Attributes:
        policy_type: `DeletingPolicy` or `NamespacedDeletingPolicy`.
        policy_namespace: The policy's namespace, or an empty string.
        policy_name: The policy's name.
        resource: The resource's name in paths, `pods`.
        resource_namespace: The object's namespace, or an empty string.
        deletion_propagation: `Foreground`, `Background`, `Orphan`, or an empty string for the kind's default.
    """

    policy_type: str
    policy_namespace: str
    policy_name: str
    resource: str
    resource_namespace: str
    deletion_propagation: str


class Watched(NamedTuple):
    """A kind of objects that the TTL controller watches, as Kyverno labels it; see `Cleaned`."""

    resource_group: str
    resource_version: str
    resource_resource: str


class Ended(NamedTuple):
    """An UpdateRequest that ended.

    Attributes:
        type: `generate` or `mutate`.
        state: `Completed`, `Failed` or `Skip`.
    """

    type: str
    state: str


class KubernetesCall(NamedTuple):
    """A call to the API server.

    Attributes:
        operation: The verb as RBAC has it, `get`; `apply` for a server-side apply.
        resource_group: The API group, empty for the core group.
        resource_kind: The kind, or the plural where a policy wrote the path; empty where it names no resource.
        status_code: The HTTP status code, or the kind of failure where there was no answer.
    """

    operation: str
    resource_group: str
    resource_kind: str
    status_code: str


class Query(NamedTuple):
    """A call to the API server, as Kyverno labels it.

    Attributes:
        operation: What is done, `get`.
        client_type: `kubeclient` for Kubernetes' own groups, `kyverno` for Kyverno's, else `dynamic`.
        resource_kind: The kind.
        resource_namespace: The namespace, or an empty string.
    """

    operation: str
    client_type: str
    resource_kind: str
    resource_namespace: str


class HTTPCall(NamedTuple):
    """A request to a service or a registry, with OpenTelemetry's names.

    Attributes:
        http_request_method: `GET`.
        server_address: The host, without the port.
        http_response_status_code: The status code, or the kind of failure where there was no answer.
    """

    http_request_method: str
    server_address: str
    http_response_status_code: str


class Reconciliation(NamedTuple):
    """One unit of a controller's work.

    Attributes:
        controller_name: Whose; Kyverno's name for it where it has one.
        outcome: `success`, or the kind of the error.
    """

    controller_name: str
    outcome: str


class PolicyName(NamedTuple):
    """A policy; see `Rule`."""

    policy_type: str
    policy_namespace: str
    policy_name: str


class ReportResult(NamedTuple):
    """What reports say of one rule.

    Attributes:
        policy_type: See `Rule`.
        policy_namespace: See `Rule`.
        policy_name: See `Rule`.
        rule_name: See `Rule`.
        rule_result: See `Rule`.
        policy_severity: `critical`, `high`, `medium`, `low`, `info`, or an empty string.
        policy_category: What the policy's annotation says, or an empty string.
        resource_namespace: Of the objects that the results are about, or an empty string.
    """

    policy_type: str
    policy_namespace: str
    policy_name: str
    rule_name: str
    rule_result: str
    policy_severity: str
    policy_category: str
    resource_namespace: str


def boolean(*, value: bool) -> str:
    """Write a label's truth value."""
    return "true" if value else "false"
