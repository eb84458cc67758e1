"""`kymograph run`: the operator."""

import argparse
import asyncio
import gc
import os
import pathlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from kymograph.cli import flagvalues, kyvernoflags, telemetryflags
from kymograph.model import policyreport, tracinglogs
from kymograph.runtime import errors, kopfimport, settings

COLLECT = (50_000, 20, 50)
"""Thresholds of Python's garbage collector. A review makes hundreds of objects that die by themselves; with the usual
700 a collection would run every few reviews and find nothing."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    defaults = settings.Settings()
    parser.add_argument(
        "--controllers",
        type=flagvalues.controllers,
        default=defaults.controllers,
        metavar="LIST",
        help=f"which controllers run here, comma-separated (default: {','.join(settings.CONTROLLERS)})",
    )
    parser.add_argument(
        "--kubeconfig",
        type=pathlib.Path,
        help="the cluster to work for (default: the one this Pod runs in, else $KUBECONFIG, else ~/.kube/config)",
    )
    parser.add_argument("--namespace", help="the operator's own namespace (default: that of its identity)")
    parser.add_argument(
        "--service", default=defaults.service, help="the Service that leads to the webhooks (default: %(default)s)"
    )
    parser.add_argument(
        "--service-port",
        "--servicePort",
        type=flagvalues.port,
        default=defaults.service_port,
        help="the port of that Service (default: %(default)s)",
    )
    parser.add_argument(
        "--webhook-url",
        type=flagvalues.https_url,
        metavar="URL",
        help="how the API server reaches the webhooks of an operator outside the cluster",
    )
    parser.add_argument(
        "--webhook-host",
        "--webhookServerHost",
        metavar="ADDRESS",
        default=defaults.webhook_host,
        help="the address that webhooks are served on (default: all)",
    )
    parser.add_argument(
        "--webhook-port",
        "--webhookServerPort",
        type=flagvalues.port,
        default=defaults.webhook_port,
        help="the port of the webhooks (default: %(default)s)",
    )
    parser.add_argument(
        "--webhook-client-ca",
        type=pathlib.Path,
        metavar="FILE",
        help="demand client certificates of this CA from whoever calls a webhook",
    )
    parser.add_argument(
        "--health-port",
        type=flagvalues.port,
        default=defaults.health_port,
        help="the port of /livez and /readyz (default: %(default)s)",
    )
    parser.add_argument(
        "--shutdown-delay",
        type=flagvalues.seconds,
        default=defaults.shutdown_delay,
        metavar="SECONDS",
        help="how long to serve on after readiness fails, for the Service to notice (default: %(default)s)",
    )
    _configure_policies(parser, defaults)
    _configure_webhooks(parser, defaults)
    _configure_reports(parser, defaults)
    parser.add_argument(
        "--log-format",
        "--loggingFormat",
        choices=tracinglogs.FORMATS,
        default=defaults.log_format,
        help="how log records are written to standard error (default: %(default)s)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help=f"the least that is logged (default: {defaults.log_level})",
    )
    telemetryflags.declare(parser)
    kyvernoflags.declare(parser)


def _configure_policies(parser: argparse.ArgumentParser, defaults: settings.Settings) -> None:
    """Declare the flags about what policies may do."""
    _switch(
        parser,
        "--enable-policy-exception",
        "--enablePolicyException",
        defaults.enable_policy_exception,
        "whether PolicyExceptions count",
    )
    parser.add_argument(
        "--exception-namespace",
        "--exceptionNamespace",
        metavar="NAME",
        help="the namespace whose PolicyExceptions count, * for all (default: the operator's own)",
    )
    parser.add_argument(
        "--service-call-trusted",
        type=flagvalues.trusted,
        default=defaults.service_call_trusted,
        metavar="LIST",
        help="hosts, addresses and networks that policies may call whatever they are, comma-separated (default: none)",
    )
    parser.add_argument(
        "--service-call-token-file",
        type=pathlib.Path,
        default=defaults.service_call_token_file,
        metavar="FILE",
        help="the token that service calls of some policies carry (default: %(default)s)",
    )
    parser.add_argument(
        "--service-call-token-namespaces",
        type=flagvalues.names,
        default=defaults.service_call_token_namespaces,
        metavar="LIST",
        help="namespaces of these policies, ClusterPolicy for those of the cluster, * for all (default: none)",
    )
    parser.add_argument(
        "--max-api-call-response-length",
        "--maxAPICallResponseLength",
        type=flagvalues.size,
        default=defaults.max_api_call_response_length,
        metavar="BYTES",
        help="the most that an answer to a policy's call may have (default: %(default)s)",
    )
    parser.add_argument(
        "--image-pull-secrets",
        "--imagePullSecrets",
        type=flagvalues.names,
        default=defaults.image_pull_secrets,
        metavar="LIST",
        help="Secrets of the operator's namespace that are shown to their registries for every policy,"
        " comma-separated (default: none)",
    )
    _switch(
        parser,
        "--allow-insecure-registry",
        "--allowInsecureRegistry",
        defaults.allow_insecure_registry,
        "whether registries may be called without TLS, whatever a policy says",
    )
    _switch(
        parser,
        "--protect-managed-resources",
        "--protectManagedResources",
        defaults.protect_managed_resources,
        "whether what is labelled as managed by Kyverno is changed and deleted by the operator alone",
    )


def _configure_webhooks(parser: argparse.ArgumentParser, defaults: settings.Settings) -> None:
    """Declare the flags about webhook configurations."""
    parser.add_argument(
        "--config-map",
        metavar="[NAMESPACE/]NAME",
        default=os.environ.get("INIT_CONFIG") or defaults.config_map,
        help="the ConfigMap that says what policies are not for (default: $INIT_CONFIG, else %(default)s)",
    )
    parser.add_argument(
        "--webhook-names",
        choices=("kymograph", "kyverno"),
        default=defaults.webhook_names,
        help="whose names webhook configurations have, for tools that look for Kyverno's (default: %(default)s)",
    )
    parser.add_argument(
        "--webhook-timeout",
        "--webhookTimeout",
        type=flagvalues.timeout,
        default=defaults.webhook_timeout,
        metavar="SECONDS",
        help="how long API servers wait for an answer where no policy asks for more, 1 to 30 (default: %(default)s)",
    )
    _switch(
        parser,
        "--force-failure-policy-ignore",
        "--forceFailurePolicyIgnore",
        defaults.force_failure_policy_ignore,
        "whether every policy counts as one with failurePolicy: Ignore",
    )
    _switch(
        parser,
        "--exclude-bootstrap-resources",
        "--excludeBootstrapResources",
        defaults.exclude_bootstrap_resources,
        "whether webhooks that fail closed leave out Nodes and CertificateSigningRequests",
    )


def _configure_reports(parser: argparse.ArgumentParser, defaults: settings.Settings) -> None:
    """Declare the flags about reports and Events; Kyverno's names do as well."""
    _switch(
        parser,
        "--background-scan",
        "--backgroundScan",
        defaults.background_scan,
        "whether existing objects are scanned",
    )
    parser.add_argument(
        "--background-scan-interval",
        "--backgroundScanInterval",
        type=flagvalues.interval,
        default=defaults.background_scan_interval,
        metavar="DURATION",
        help="how often all existing objects are scanned, beside what has changed: 30m, 1h (default: 1h)",
    )
    _switch(
        parser,
        "--skip-resource-filters",
        "--skipResourceFilters",
        defaults.skip_resource_filters,
        "whether scans look at objects that resourceFilters keep from webhooks",
    )
    _switch(
        parser,
        "--admission-reports",
        "--admissionReports",
        defaults.admission_reports,
        "whether what reviews found gets into reports",
    )
    parser.add_argument(
        "--allowed-results",
        "--allowedResults",
        type=flagvalues.results,
        default=defaults.allowed_results,
        metavar="LIST",
        help=f"the results that get into reports, comma-separated (default: {','.join(policyreport.RESULTS)})",
    )
    _switch(
        parser,
        "--openreports-enabled",
        "--openreportsEnabled",
        defaults.openreports,
        "whether reports are those of openreports.io/v1alpha1, whose definitions have to be installed",
    )
    parser.add_argument(
        "--omit-events",
        "--omitEvents",
        type=flagvalues.reasons,
        default=defaults.omit_events,
        metavar="LIST",
        help="the reasons of Events that are not made, comma-separated, empty for none"
        f" (default: {','.join(sorted(defaults.omit_events))})",
    )
    parser.add_argument(
        "--max-queued-events",
        "--maxQueuedEvents",
        type=flagvalues.size,
        default=defaults.max_queued_events,
        metavar="NUMBER",
        help="how many Events may wait to be written; more are dropped (default: %(default)s)",
    )


def _switch(parser: argparse.ArgumentParser, ours: str, kyvernos: str, default: bool, meaning: str) -> None:  # noqa: FBT001 - a value of a setting
    """Declare a flag that is true or false, and true where it stands alone."""
    parser.add_argument(
        ours,
        kyvernos,
        type=flagvalues.boolean,
        nargs="?",
        const=True,
        default=default,
        metavar="true|false",
        help=f"{meaning} (default: {str(default).lower()})",
    )


def run(options: argparse.Namespace) -> int:
    """Run until a signal comes; returns the exit status."""
    chosen = settings.Settings(
        controllers=options.controllers,
        kubeconfig=options.kubeconfig,
        namespace=options.namespace,
        service=options.service,
        service_port=options.service_port,
        webhook_url=options.webhook_url,
        webhook_host=options.webhook_host or settings.Settings().webhook_host,
        webhook_port=options.webhook_port,
        webhook_client_ca=options.webhook_client_ca,
        health_port=options.health_port,
        shutdown_delay=options.shutdown_delay,
        enable_policy_exception=options.enable_policy_exception,
        exception_namespace=options.exception_namespace or None,
        service_call_trusted=options.service_call_trusted,
        service_call_token_file=options.service_call_token_file,
        service_call_token_namespaces=options.service_call_token_namespaces,
        max_api_call_response_length=options.max_api_call_response_length,
        image_pull_secrets=options.image_pull_secrets,
        allow_insecure_registry=options.allow_insecure_registry,
        background_scan=options.background_scan,
        background_scan_interval=options.background_scan_interval,
        skip_resource_filters=options.skip_resource_filters,
        admission_reports=options.admission_reports,
        allowed_results=options.allowed_results,
        openreports=options.openreports_enabled,
        omit_events=options.omit_events,
        max_queued_events=options.max_queued_events,
        config_map=options.config_map,
        webhook_names=options.webhook_names,
        webhook_timeout=options.webhook_timeout,
        force_failure_policy_ignore=options.force_failure_policy_ignore,
        exclude_bootstrap_resources=options.exclude_bootstrap_resources,
        protect_managed_resources=options.protect_managed_resources,
        log_format=options.log_format,
        log_level=options.log_level or telemetryflags.log_level(options, settings.Settings().log_level),
        metrics_host=options.metricsHost or None,
        telemetry=telemetryflags.read(options),
    )
    kopfimport.import_kopf()
    from kymograph.runtime import assemble  # noqa: PLC0415  # imports Kopf, which the line before prepares

    gc.freeze()  # what is imported lives as long as the process: collections need not look at it
    gc.set_threshold(*COLLECT)
    try:
        _loop_runner()(assemble.run(chosen, os.environ))
    except errors.RuntimeFailure as failure:
        sys.stderr.write(f"kymograph: {failure}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _loop_runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    try:
        import uvloop  # noqa: PLC0415  # not on every platform
    except ImportError:
        return asyncio.run
    runner: Callable[[Coroutine[Any, Any, None]], None] = uvloop.run
    return runner
