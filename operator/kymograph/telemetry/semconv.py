"""Attribute keys of our spans and resources, in one place.

Three vocabularies: Kyverno's (`admission.*`, `kyverno.*`, `kube.client.*`), so that saved queries keep working;
OpenTelemetry's semantic conventions where they name the thing; and `kymograph.*` for what neither names.
"""

from opentelemetry.semconv.attributes import (
    error_attributes,
    exception_attributes,
    http_attributes,
    server_attributes,
    service_attributes,
    url_attributes,
)

# Kyverno: the request under review (set at its start)
REQUEST_NAME = "admission.request.name"
REQUEST_NAMESPACE = "admission.request.namespace"
REQUEST_UID = "admission.request.uid"
REQUEST_OPERATION = "admission.request.operation"
REQUEST_DRY_RUN = "admission.request.dryrun"
REQUEST_KIND_GROUP = "admission.request.kind.group"
REQUEST_KIND_VERSION = "admission.request.kind.version"
REQUEST_KIND_KIND = "admission.request.kind.kind"
REQUEST_SUBRESOURCE = "admission.request.subresource"
REQUEST_REQUEST_KIND_GROUP = "admission.request.requestkind.group"
REQUEST_REQUEST_KIND_VERSION = "admission.request.requestkind.version"
REQUEST_REQUEST_KIND_KIND = "admission.request.requestkind.kind"
REQUEST_REQUEST_SUBRESOURCE = "admission.request.requestsubresource"
REQUEST_RESOURCE_GROUP = "admission.request.resource.group"
REQUEST_RESOURCE_VERSION = "admission.request.resource.version"
REQUEST_RESOURCE_RESOURCE = "admission.request.resource.resource"
REQUEST_REQUEST_RESOURCE_GROUP = "admission.request.requestresource.group"
REQUEST_REQUEST_RESOURCE_VERSION = "admission.request.requestresource.version"
REQUEST_REQUEST_RESOURCE_RESOURCE = "admission.request.requestresource.resource"
REQUEST_FILTERED = "admission.request.filtered"
REQUEST_USER_NAME = "admission.request.user.name"
REQUEST_USER_UID = "admission.request.user.uid"
REQUEST_USER_GROUPS = "admission.request.user.groups"

# Kyverno: the answer (set at the request's end)
RESPONSE_UID = "admission.response.uid"
RESPONSE_ALLOWED = "admission.response.allowed"
RESPONSE_WARNINGS = "admission.response.warnings"
RESPONSE_RESULT_STATUS = "admission.response.result.status"
RESPONSE_RESULT_MESSAGE = "admission.response.result.message"
RESPONSE_RESULT_REASON = "admission.response.result.reason"
RESPONSE_RESULT_CODE = "admission.response.result.code"
RESPONSE_PATCH_TYPE = "admission.response.patchtype"

# What Kyverno says of policies and rules
POLICY_GROUP = "kyverno.policy.group"
POLICY_VERSION = "kyverno.policy.version"
POLICY_KIND = "kyverno.policy.kind"
POLICY_NAME = "kyverno.policy.name"
POLICY_NAMESPACE = "kyverno.policy.namespace"
RULE_NAME = "kyverno.rule.name"

# Kyverno: calls to the API server
KUBE_CLIENT_GROUP = "kube.client.group"
KUBE_CLIENT_KIND = "kube.client.kind"
KUBE_CLIENT_OPERATION = "kube.client.operation"
KUBE_CLIENT_NAMESPACE = "kube.client.namespace"

# Kymograph: the steps of an evaluation
POLICY_RESULT = "kymograph.policy.result"
POLICY_GENERATION = "kymograph.policy.generation"
POLICY_RULES = "kymograph.policy.rules"
RULE_RESULT = "kymograph.rule.result"
RULE_TYPE = "kymograph.rule.type"
RULE_FAILURE_ACTION = "kymograph.rule.failure_action"
MATCH_RESULT = "kymograph.match.result"
CONTEXT_NAME = "kymograph.context.name"
CONTEXT_RESULT = "kymograph.context.result"
PRECONDITIONS_RESULT = "kymograph.preconditions.result"
NEED_RESULT = "kymograph.need.result"
NEED_TYPE = "kymograph.need.type"
EXCEPTION_NAME = "kymograph.exception.name"
EXCEPTION_NAMESPACE = "kymograph.exception.namespace"
EXCEPTION_RESULT = "kymograph.exception.result"
MESSAGE = "kymograph.message"
STEPS_DROPPED = "kymograph.steps.dropped"
KEPT_BY = "kymograph.kept_by"
PARENT_SAMPLED = "kymograph.parent.sampled"
CONTROLLER = "kymograph.controller"

# Kymograph: an object that something is done with outside of admission
OBJECT_GROUP = "kymograph.object.group"
OBJECT_VERSION = "kymograph.object.version"
OBJECT_RESOURCE = "kymograph.object.resource"
OBJECT_KIND = "kymograph.object.kind"
OBJECT_NAMESPACE = "kymograph.object.namespace"
OBJECT_NAME = "kymograph.object.name"
OBJECT_UID = "kymograph.object.uid"

# Kymograph: the deletion of an object that asked for it
CLEANUP_TTL = "kymograph.cleanup.ttl"
CLEANUP_CAUSE = "kymograph.cleanup.cause"
CLEANUP_DUE = "kymograph.cleanup.due"
CLEANUP_PROPAGATION = "kymograph.cleanup.propagation_policy"
CLEANUP_RESULT = "kymograph.cleanup.result"
CLEANUP_REASON = "kymograph.cleanup.reason"

# Kymograph: one run of a cleanup policy
CLEANUP_LOOKED = "kymograph.cleanup.objects_looked_at"
CLEANUP_DELETED = "kymograph.cleanup.objects_deleted"
CLEANUP_FAILED = "kymograph.cleanup.objects_failed"

# Kymograph: work that a request or a policy asked for
UPDATE_REQUEST_NAME = "kymograph.updaterequest.name"
UPDATE_REQUEST_STATE = "kymograph.updaterequest.state"
UPDATE_REQUEST_RETRIES = "kymograph.updaterequest.retries"
UPDATE_REQUEST_OBJECTS = "kymograph.updaterequest.objects"

# Kymograph: the lookup of an image
REGISTRY_REPOSITORY = "kymograph.registry.repository"
REGISTRY_REFERENCE = "kymograph.registry.reference"

# Kymograph: the writing of an Event
EVENT_REASON = "kymograph.event.reason"
EVENT_ACTION = "kymograph.event.action"
EVENT_OUTCOME = "kymograph.event.outcome"

# Kymograph: the writing of a report
REPORT_OUTCOME = "kymograph.report.outcome"

# Kymograph: the scan of the objects of a resource
SCAN_POLICIES = "kymograph.scan.policies"
SCAN_OBJECTS = "kymograph.scan.objects"
SCAN_NEWS = "kymograph.scan.news"
SCAN_BATCH = "kymograph.scan.batch"

# Kymograph: which replica leads, and what the webhooks are served with
LEADER_IDENTITY = "kymograph.leader.identity"
LEADER_CHANGE = "kymograph.leader.change"
LEADER_REASON = "kymograph.leader.reason"
CERTIFICATE_OUTCOME = "kymograph.certificate.outcome"

# Kymograph: events on spans
EVENT_DENIED = "kymograph.denied"
EVENT_VIOLATION = "kymograph.violation"

# OpenTelemetry
ERROR_TYPE = error_attributes.ERROR_TYPE
EVENT_EXCEPTION = "exception"
EXCEPTION_TYPE = exception_attributes.EXCEPTION_TYPE
EXCEPTION_MESSAGE = exception_attributes.EXCEPTION_MESSAGE
HTTP_REQUEST_METHOD = http_attributes.HTTP_REQUEST_METHOD
HTTP_RESPONSE_STATUS_CODE = http_attributes.HTTP_RESPONSE_STATUS_CODE
HTTP_ROUTE = http_attributes.HTTP_ROUTE
SERVER_ADDRESS = server_attributes.SERVER_ADDRESS
SERVER_PORT = server_attributes.SERVER_PORT
URL_FULL = url_attributes.URL_FULL
URL_PATH = url_attributes.URL_PATH
URL_SCHEME = url_attributes.URL_SCHEME
URL_TEMPLATE = "url.template"  # in development: https://opentelemetry.io/docs/specs/semconv/registry/attributes/url/
SERVICE_NAME = service_attributes.SERVICE_NAME
SERVICE_VERSION = service_attributes.SERVICE_VERSION
SERVICE_INSTANCE_ID = service_attributes.SERVICE_INSTANCE_ID
