"""From the start of the process to the first request that a policy denies, and the memory then.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_startup.py

Warm: the certificate Secret, the webhook configurations, the TracingConfiguration and the policies are there, as after
a Pod was moved. Cold: nothing but CRDs, RBAC and policies. Modules are compiled, as in the image. The API server is
asked to create a bad Pod (dry run) again and again until the policy's denial comes back: what a user would see, with
the webhook call and the API server's own share in it.
"""

import dataclasses
import statistics
import time

import pytest

from benchmarks import load
from kymograph.controllers.admission import webhooknames
from kymograph.localcluster import errors, installation
from kymograph.runtime import secretstore
from support import installed as support

pytestmark = [pytest.mark.benchmark, pytest.mark.cluster, pytest.mark.timeout(600)]

ASK_EVERY = 0.02
PATIENCE = 180.0
"""Seconds until a start is given up."""

BAD = support.pod("bad", privileged=True)


@dataclasses.dataclass(frozen=True)
class Start:
    """One start: seconds to readiness and to the first denial, CPU seconds and memory at that moment."""

    denied: float
    used: load.Used

    def __str__(self) -> str:
        mebibytes = self.used.resident / 2**20
        return f"first denial {self.denied:5.2f} s   {self.used.cpu:4.2f} s CPU   {mebibytes:4.0f} MiB"


@pytest.fixture(scope="module")
def operator(measured, pod_security, tmp_path_factory):
    """The operator as its image runs it, which has served before."""
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("compiled")), "PYTHONDONTWRITEBYTECODE": ""}
    measured.operator = installation.Operator(measured.cluster, environ=compiled)
    for policy in pod_security:
        measured.apply(policy)
    with measured.operator:
        support.eventually(lambda: _denied(measured), PATIENCE)
    return measured


@pytest.mark.parametrize("warmth", ["warm", "cold"])
def test_start(warmth, operator, is_long, figure):
    """A started operator denies what its policies forbid, and not before long."""
    starts = [_start(operator, cold=warmth == "cold") for _ in range(7 if is_long else 1)]
    for start in starts:
        figure(f"{warmth}  {start}")
    if is_long:
        figure(f"{warmth}  median {statistics.median(start.denied for start in starts):5.2f} s")


def _start(operator: support.Installed, *, cold: bool) -> Start:
    if cold:
        operator.kubectl("delete", "secret", secretstore.NAME, "-n", installation.NAMESPACE)
        operator.kubectl("delete", "tracingconfiguration", "default")
        operator.kubectl("delete", "validatingwebhookconfigurations", webhooknames.KYMOGRAPH.validation)
        operator.kubectl("delete", "validatingwebhookconfigurations", webhooknames.KYMOGRAPH.policies)
    assert not _denied(operator)
    began = time.monotonic()
    operator.operator.launch()
    try:
        while not _denied(operator):
            assert operator.operator.process.poll() is None
            assert time.monotonic() - began < PATIENCE
            time.sleep(ASK_EVERY)
        denied = time.monotonic() - began
        used = load.Process(operator.operator.process.pid).used()
        operator.operator.wait_ready()
    finally:
        operator.operator.stop()
    return Start(denied, used)


def _denied(operator: support.Installed) -> bool:
    """Whether the API server refuses a bad Pod because of a policy, and not for want of the webhook."""
    try:
        operator.cluster.api.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", BAD)
    except errors.RequestRefused as refused:
        return "baseline-privileged" in str(refused)
    return False
