"""Kyverno's flags that change nothing in `kymograph run`, and those that it cannot follow: its chart passes them all.

The first are taken with any value, each for its reason. The others are taken with the value that is true here anyway;
any other is refused, and the message says what there is instead: whoever asked for it should not go without unawares.
Flags that are followed are declared where ours are, under both names.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kymograph.cli import flagvalues

_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")

_WORKERS = "work is done as it comes, within bounds of its own"
_SIGNATURES = "signatures are not checked by this version"
_CEL = "for policies in CEL, which this version does not enforce"
_ADMISSION_POLICIES = "policies of Kubernetes' own are neither made nor reported about"
_ACCOUNTS = "all controllers have the account of the operator"
_CERTIFICATES = "certificate and authority are in the Secret kymograph-tls, and renewed two months before they end"
_METRICS = "TLS of metrics is in metrics.prometheus.tls of the TracingConfiguration"
_GO = "for programs in Go"
_KLOG = "a flag of Go's logger; see logs in the TracingConfiguration"

WITHOUT_EFFECT: Mapping[str, str] = {
    "aggregationWorkers": _WORKERS,
    "backgroundScanWorkers": _WORKERS,
    "genWorkers": _WORKERS,
    "maxAuditWorkers": _WORKERS,
    "maxAuditCapacity": _WORKERS,
    "maxAdmissionReports": "nothing is stored on the way to a report",
    "maxBackgroundReports": "nothing is stored on the way to a report",
    "reportsCRDsSanityChecks": "no definitions are checked at the start",
    "resyncPeriod": "what is held is compared with the cluster at intervals of its own",
    "crdWatcher": "definitions of kinds are always watched",
    "enableConfigMapCaching": "ConfigMaps that are labelled to be kept always are",
    "clientRateLimitQPS": "background work waits when the API server asks it to",
    "clientRateLimitBurst": "background work waits when the API server asks it to",
    "eventsRateLimitQPS": "25 Events a second are written",
    "eventsRateLimitBurst": "25 Events a second are written",
    "apiCallTimeout": "calls have the time of their review, and 30 s without one",
    "ttlReconciliationInterval": "labels are watched, and objects deleted at the time they say",
    "leaderElectionRetryPeriod": "the Lease is looked at every 2 s, as by default",
    "webhookRegistrationTimeout": "webhooks are registered as soon as the API server has reached the operator",
    "autoDeleteWebhooks": "webhook configurations are owned by the ClusterRole of the operator, and go with it",
    "caSecretName": _CERTIFICATES,
    "tlsSecretName": _CERTIFICATES,
    "tlsKeyAlgorithm": _CERTIFICATES,
    "renewBefore": _CERTIFICATES,
    "metricsCASecretName": _METRICS,
    "metricsKeyAlgorithm": _METRICS,
    "metricsRenewBefore": _METRICS,
    "metricsServerIP": _METRICS,
    "backgroundServiceAccountName": _ACCOUNTS,
    "reportsServiceAccountName": _ACCOUNTS,
    "cleanupServerHost": "schedules are kept without a server",
    "cleanupServerPort": "schedules are kept without a server",
    "enableTuf": _SIGNATURES,
    "tufMirror": _SIGNATURES,
    "tufRoot": _SIGNATURES,
    "tufRootRaw": _SIGNATURES,
    "enableCosignLogging": _SIGNATURES,
    "imageVerifyCacheEnabled": _SIGNATURES,
    "imageVerifyCacheMaxSize": _SIGNATURES,
    "imageVerifyCacheTTLDuration": _SIGNATURES,
    "registryCredentialHelpers": "the ambient credentials of clouds are not supported",
    "allowHTTPInNamespacedPolicies": _CEL,
    "httpBlocklist": _CEL,
    "httpAllowlist": _CEL,
    "generateValidatingAdmissionPolicy": _ADMISSION_POLICIES,
    "generateMutatingAdmissionPolicy": _ADMISSION_POLICIES,
    "validatingAdmissionPolicyReports": _ADMISSION_POLICIES,
    "mutatingAdmissionPolicyReports": _ADMISSION_POLICIES,
    "controllerRuntimeMetricsAddress": _GO,
    "autoMemLimitEnabled": _GO,
    "autoMemLimitRatio": _GO,
    "profileAddress": "there is no profiling server",
    "profilePort": "there is no profiling server",
    "disableLogColor": "logs have no colours",
    "loggingtsFormat": "times in logs are ISO 8601",
    "add_dir_header": _KLOG,
    "alsologtostderr": _KLOG,
    "log_backtrace_at": _KLOG,
    "log_dir": _KLOG,
    "log_file": _KLOG,
    "log_file_max_size": _KLOG,
    "logtostderr": _KLOG,
    "one_output": _KLOG,
    "skip_headers": _KLOG,
    "skip_log_headers": _KLOG,
    "stderrthreshold": _KLOG,
    "vmodule": _KLOG,
}
"""Flags that are taken and change nothing, with the reason."""


class Bound(NamedTuple):
    """A flag of which one value is true here.

    Attributes:
        value: That value; of a list, its entries in any order.
        instead: Why there is no other, and what to use instead.
    """

    value: str
    instead: str


BOUND: Mapping[str, Bound] = {
    "autoUpdateWebhooks": Bound(
        "true",
        "webhook configurations are derived from policies; one that asks about everything, once and for all, would "
        "stop the whole cluster together with the operator",
    ),
    "enableDeferredLoading": Bound("true", "contexts are loaded when an expression names them"),
    "enableReporting": Bound(
        "validate,mutate,mutateExisting,generate,imageVerify",
        "rules of all types are reported; --allowedResults says which of their results",
    ),
    "aggregateReports": Bound("true", "to have no reports, leave them out of --controllers"),
    "policyReports": Bound("true", "to have no reports, leave them out of --controllers"),
    "disableCertManagerController": Bound("false", f"{_CERTIFICATES}; others are not taken"),
    "dumpPayload": Bound(
        "false", "what is asked and answered is told by traces, see traces in the TracingConfiguration"
    ),
    "dumpPatches": Bound("false", "what is changed is told by traces, see traces in the TracingConfiguration"),
    "profile": Bound("false", "there is no profiling server"),
    "maxGlobalContextEntries": Bound("0", "entries are bounded one by one: 64 MiB for a collection"),
    "serverIP": Bound("", "use --webhook-url for an operator outside the cluster"),
}
"""Flags that are taken with one value, and refused with any other."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the flags, in two groups of their own."""
    ignored = parser.add_argument_group("Kyverno's flags that are taken and change nothing")
    for name, reason in WITHOUT_EFFECT.items():
        ignored.add_argument(f"--{name}", nargs="?", metavar="VALUE", help=reason)
    bound = parser.add_argument_group("Kyverno's flags that are taken with one value")
    for name, (value, instead) in BOUND.items():
        bound.add_argument(
            f"--{name}",
            nargs="?",
            const="true",
            type=_only(value, instead),
            metavar="VALUE",
            help=f"{value or 'empty'}; {instead}",
        )


def _only(value: str, instead: str) -> Callable[[str], str]:
    wanted = _meaning(value)

    def check(text: str) -> str:
        if _meaning(text) != wanted:
            raise argparse.ArgumentTypeError(f"{text or 'an empty value'} is not supported: {instead}")
        return text

    return check


def _meaning(text: str) -> str | frozenset[str]:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return "true" if word in _TRUE else "false"
    return flagvalues.names(text)
