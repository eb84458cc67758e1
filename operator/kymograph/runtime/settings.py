"""What the operator is started with. What can change while it runs is in the TracingConfiguration instead."""

import dataclasses
import pathlib

from kymograph.model import policyreport
from kymograph.telemetry import defaults

CONTROLLERS = ("admission", "background", "cleanup", "reports")


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process.

    Attributes:
        controllers: Which controllers run here.
        kubeconfig: The cluster to work for; None for the one this Pod is in.
        namespace: The operator's own namespace; None for that of the identity it runs under.
        service: The Service by which the API server reaches the webhooks.
        service_port: Its port.
        webhook_url: How the API server reaches the webhooks from outside the cluster, instead of the Service.
        webhook_host: The address the webhook server binds; `::` for all.
        webhook_port: The port of the webhook server.
        webhook_client_ca: PEM file of the CA whose client certificates the webhook server demands; None demands none.
        health_port: The port of /livez and /readyz.
        shutdown_delay: Seconds between failing readiness and refusing connections, for endpoints to be withdrawn.
        enable_policy_exception: Whether PolicyExceptions count at all.
        exception_namespace: Where they count: a namespace, `*` for all; None for the operator's own.
        service_call_trusted: Hosts, addresses and networks that policies may call whatever they are.
        service_call_token_file: The token that calls on behalf of the following policies carry.
        service_call_token_namespaces: Namespaces of these policies; see `clients.http.token`.
        max_api_call_response_length: Bytes that an answer to a policy's call may have.
        image_pull_secrets: Secrets of the operator's namespace that are shown to their registries for every policy.
        allow_insecure_registry: Whether registries may be called without TLS, whatever a policy says.
        background_scan: Whether existing objects are scanned.
        background_scan_interval: Seconds between two scans of all existing objects.
        skip_resource_filters: Whether scans look at objects that `resourceFilters` keep from webhooks.
        admission_reports: Whether what reviews found gets into reports.
        allowed_results: What of it does, and of what scans found: `pass`, `fail`, ...
        openreports: Whether reports are those of `openreports.io`.
        omit_events: Reasons of Events that are not wanted.
        max_queued_events: How many Events may wait to be written.
        config_map: The ConfigMap that says what policies are not for: `name` in the operator's namespace, or
            `namespace/name`.
        webhook_names: What webhook configurations are called: in the words of `kymograph` or of `kyverno`.
        webhook_timeout: Seconds that API servers wait for an answer where no policy asks for more.
        force_failure_policy_ignore: Whether every policy counts as one with `failurePolicy: Ignore`.
        exclude_bootstrap_resources: Whether Fail webhooks leave out what nodes need to join.
        protect_managed_resources: Whether what Kyverno manages is changed and deleted by the operator alone.
        log_format: `text` or `json`.
        log_level: A level of the standard library's logging, in lower case.
        metrics_host: The address that metrics are served on; None for all.
        telemetry: What applies where the TracingConfiguration says nothing.
    """

    controllers: frozenset[str] = frozenset(CONTROLLERS)
    kubeconfig: pathlib.Path | None = None
    namespace: str | None = None
    service: str = "kymograph"
    service_port: int = 443
    webhook_url: str | None = None
    webhook_host: str = "::"
    webhook_port: int = 9443
    webhook_client_ca: pathlib.Path | None = None
    health_port: int = 8081
    shutdown_delay: float = 5.0
    enable_policy_exception: bool = True
    exception_namespace: str | None = None
    service_call_trusted: tuple[str, ...] = ()
    service_call_token_file: pathlib.Path = pathlib.Path("/var/run/secrets/kymograph/service-calls/token")
    service_call_token_namespaces: frozenset[str] = frozenset()
    max_api_call_response_length: int = 10_000_000
    image_pull_secrets: frozenset[str] = frozenset()
    allow_insecure_registry: bool = False
    background_scan: bool = True
    background_scan_interval: float = 3600.0
    skip_resource_filters: bool = True
    admission_reports: bool = True
    allowed_results: frozenset[str] = frozenset(policyreport.RESULTS)
    openreports: bool = False
    omit_events: frozenset[str] = frozenset({"PolicyApplied", "PolicySkipped"})
    max_queued_events: int = 1_000
    config_map: str = "kyverno"
    webhook_names: str = "kymograph"
    webhook_timeout: int = 10
    force_failure_policy_ignore: bool = False
    exclude_bootstrap_resources: bool = False
    protect_managed_resources: bool = False
    log_format: str = "text"
    log_level: str = "info"
    metrics_host: str | None = None
    telemetry: defaults.Defaults = defaults.NONE
