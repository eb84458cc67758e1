"""Every flag of Kyverno's four controllers is taken by `kymograph run`, or refused with what there is instead."""

import argparse
import pathlib
import re

import pytest

from kymograph.cli import kyvernoflags, run

OPERATIONS = (pathlib.Path(__file__).parents[2] / "docs" / "operations.md").read_text()

# As `--help` of the controllers of v1.19.1 lists them.
ADMISSION = """
    admissionReports allowHTTPInNamespacedPolicies apiCallTimeout autoDeleteWebhooks autoUpdateWebhooks
    backgroundServiceAccountName caSecretName controllerRuntimeMetricsAddress disableCertManagerController dumpPatches
    dumpPayload excludeBootstrapResources forceFailurePolicyIgnore generateMutatingAdmissionPolicy
    generateValidatingAdmissionPolicy httpAllowlist httpBlocklist maxAPICallResponseLength maxAdmissionReports
    maxAuditCapacity maxAuditWorkers maxGlobalContextEntries maxQueuedEvents omitEvents protectManagedResources
    renewBefore reportsServiceAccountName serverIP servicePort tlsKeyAlgorithm tlsSecretName webhookRegistrationTimeout
    webhookServerHost webhookServerPort webhookTimeout
"""
OTHERS = """
    aggregateReports aggregationWorkers backgroundScan backgroundScanInterval backgroundScanWorkers cleanupServerHost
    cleanupServerPort genWorkers maxBackgroundReports mutatingAdmissionPolicyReports openreportsEnabled policyReports
    reportsCRDsSanityChecks skipResourceFilters ttlReconciliationInterval validatingAdmissionPolicyReports
"""
COMMON = """
    allowInsecureRegistry allowedResults autoMemLimitEnabled autoMemLimitRatio clientRateLimitBurst clientRateLimitQPS
    crdWatcher disableLogColor disableMetrics enableConfigMapCaching enableCosignLogging enableDeferredLoading
    enablePolicyException enableReporting enableTracing enableTuf eventsRateLimitBurst eventsRateLimitQPS
    exceptionNamespace exemplarFilter imagePullSecrets imageVerifyCacheEnabled imageVerifyCacheMaxSize
    imageVerifyCacheTTLDuration kubeconfig leaderElectionRetryPeriod loggingFormat loggingtsFormat metricsCASecretName
    metricsHost metricsKeyAlgorithm metricsPort metricsRenewBefore metricsServerIP metricsTLSSecretName otelCollector
    otelConfig profile profileAddress profilePort registryCredentialHelpers resyncPeriod tracingAddress tracingCreds
    tracingPort transportCreds tufMirror tufRoot tufRootRaw v vmodule
"""


@pytest.fixture(scope="module")
def parser():
    made = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    run.configure(made)
    return made


@pytest.mark.parametrize("flag", f"{ADMISSION} {OTHERS} {COMMON}".split())
def test_every_flag_is_known(parser, flag) -> None:
    """By Kyverno's spelling."""
    assert f"--{flag}" in parser._option_string_actions


CHART = """
    --caSecretName=kyverno-svc.kyverno.svc.kyverno-tls-ca --tlsSecretName=kyverno-svc.kyverno.svc.kyverno-tls-pair
    --tlsKeyAlgorithm=RSA --backgroundServiceAccountName=system:serviceaccount:kyverno:kyverno-background-controller
    --servicePort=443 --webhookServerPort=9443 --resyncPeriod=15m --crdWatcher=false --disableMetrics=false
    --otelConfig=prometheus --metricsPort=8000 --admissionReports=true --maxAdmissionReports=1000
    --aggregateReports=true --policyReports=true --validatingAdmissionPolicyReports=true
    --mutatingAdmissionPolicyReports=false --autoUpdateWebhooks=true --backgroundScan=true --backgroundScanWorkers=2
    --backgroundScanInterval=1h --skipResourceFilters=true --enableConfigMapCaching=true
    --controllerRuntimeMetricsAddress=:8080 --enableDeferredLoading=true --dumpPayload=false
    --forceFailurePolicyIgnore=false --generateValidatingAdmissionPolicy=true --dumpPatches=false
    --maxAPICallResponseLength=2000000 --apiCallTimeout=30s --maxGlobalContextEntries=0 --loggingFormat=text --v=2
    --omitEvents=PolicyApplied,PolicySkipped --enablePolicyException=true --exceptionNamespace=kyverno
    --protectManagedResources=false --allowInsecureRegistry=false
    --registryCredentialHelpers=default,google,amazon,azure,github
    --enableReporting=validate,mutate,mutateExisting,imageVerify,generate --ttlReconciliationInterval=1m
"""


def test_the_arguments_of_the_chart_are_taken_as_they_are(parser) -> None:
    """What is followed of them is."""
    options = parser.parse_args(CHART.split())
    assert (options.webhook_port, options.exception_namespace, options.enable_policy_exception) == (
        9443,
        "kyverno",
        True,
    )
    assert options.max_api_call_response_length == 2_000_000


@pytest.mark.parametrize(
    ("flags", "option", "value"),
    [
        ("--webhookTimeout=15", "webhook_timeout", 15),
        ("--servicePort=8443", "service_port", 8443),
        ("--maxQueuedEvents=5", "max_queued_events", 5),
        ("--imagePullSecrets=b,a", "image_pull_secrets", {"a", "b"}),
        ("--allowInsecureRegistry", "allow_insecure_registry", True),
        ("--protectManagedResources=1", "protect_managed_resources", True),
        ("--backgroundScan=F", "background_scan", False),
        ("--skipResourceFilters --backgroundScan", "background_scan", True),
    ],
)
def test_flags_that_are_followed_are_read_as_by_kyverno(parser, flags, option, value) -> None:
    """Booleans as Go reads them; alone they are true."""
    assert getattr(parser.parse_args(flags.split()), option) == value


@pytest.mark.parametrize(
    "flag", ["--webhookTimeout=0", "--webhookTimeout=31", "--webhookTimeout=1s", "--backgroundScan=on"]
)
def test_values_that_mean_nothing_are_refused(parser, flag) -> None:
    """With the flag's name."""
    with pytest.raises(argparse.ArgumentError, match=flag.partition("=")[0]):
        parser.parse_args([flag])


@pytest.mark.parametrize(("name", "bound"), kyvernoflags.BOUND.items())
def test_what_cannot_be_done_is_refused_with_what_there_is_instead(parser, name, bound) -> None:
    """And the value that is true anyway is taken."""
    assert parser.parse_args([f"--{name}={bound.value}"])
    with pytest.raises(argparse.ArgumentError) as refused:
        parser.parse_args([f"--{name}={'false' if bound.value == 'true' else '17'}"])
    assert bound.instead in str(refused.value)
    assert re.search(rf"^\| `--{name}` \|", OPERATIONS, re.MULTILINE)
