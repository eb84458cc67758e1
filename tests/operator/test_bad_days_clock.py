"""The clock's bad days: while the operator works, its wall clock is set forward by hours and by weeks, and back again.

All clocks but the operator's go on as they do. The jump by weeks is past the day on which the operator's certificate is
due for renewal, by the clock that is wrong.
"""

import dataclasses
import datetime as dt
import functools
import itertools
import json
import os
import pathlib
import ssl
import time
import urllib.request
from collections.abc import Iterator, Mapping

import pytest
from cryptography import x509
from prometheus_client import parser

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from kymograph.objecttrace import spans
from kymograph.objecttrace.sources import otlp as otlp_source
from kymograph.runtime import certificates
from support import fakedtime
from support import installed as support
from support.installed import NO_PRIVILEGES, Installed, eventually
from support.replicas import LEASE, Load

pytestmark = pytest.mark.timeout(900)

FORWARD = {"+8h": dt.timedelta(hours=8), "+20d": dt.timedelta(days=20)}
JUMPS = ("+8h", "+0", "+20d", "+0")
SECRET = ("secret", "kymograph-tls", "-n", "kymograph")
NAMES = certificates.Names(("kymograph.kymograph.svc", "kymograph.kymograph.svc.cluster.local"), ("127.0.0.1",))
SOON_DUE = dt.timedelta(days=70)
"""What is left of the certificate: due in less than 20 days, not now."""

SECOND = 1_000_000_000
LONGEST = 600
"""Seconds: what is longer was bent. A watch is open for five minutes at most."""

USERS = 2
"""Who wait for reviews at the same time."""

QUIET = 2.0
"""Seconds for which the operator is left alone, to see what it does by itself."""

LOOKS = 5
"""How often it is left alone at most: what was under way before takes its time on a slow machine."""

GRANT = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "cleanup-of-maps", "labels": {"rbac.kymograph.dev/aggregate-to-cleanup": "true"}},
    "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch", "delete"]}],
}
"""What lets the operator delete ConfigMaps whose label says so."""

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclasses.dataclass
class Journey:
    """What was seen while the clock jumped, a value after each jump.

    Attributes:
        wrong: Answers that users got and should not have.
        offsets: How far the operator's clock was from ours, as its Lease says.
        leases: The Lease.
        served: The certificate of the webhooks, as it was served.
        secrets: The resourceVersion of the Secret it is kept in.
        renewed: The certificate that was asked for while the clock was weeks ahead.
        samples: Metrics, from before the first jump on.
        took: Seconds from before the operator began until the last of them, by a clock that does not jump.
        told: All spans that arrived.
        idle: Processor seconds that the operator took at least in `QUIET` seconds with nothing to do.
        gone_early: What had a week to live was deleted; what had a second to live was.
    """

    wrong: list[str] = dataclasses.field(default_factory=list)
    offsets: list[dt.timedelta] = dataclasses.field(default_factory=list)
    leases: list[dict] = dataclasses.field(default_factory=list)
    served: list[x509.Certificate] = dataclasses.field(default_factory=list)
    secrets: list[str] = dataclasses.field(default_factory=list)
    renewed: x509.Certificate | None = None
    samples: list[Samples] = dataclasses.field(default_factory=list)
    took: float = 0.0
    told: tuple[spans.Span, ...] = ()
    idle: list[float] = dataclasses.field(default_factory=list)
    gone_early: bool = False


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> fakedtime.FakedTime:
    """The operator's clock."""
    return fakedtime.FakedTime(fakedtime.find(), tmp_path_factory.mktemp("clock") / "offset")


@pytest.fixture(scope="module")
def journey(clock) -> Iterator[Journey]:
    """The operator lives through all jumps, under load, with every request traced."""
    with localcluster.LocalCluster() as cluster, otlp_source.Receiver() as receiver:
        support.install(cluster)
        made = Installed(cluster, installation.Operator(cluster, environ=clock.environ))
        made.apply(GRANT)
        made.apply(labelled("long-lived", "7d"))
        made.configure({"traces": {"endpoint": receiver.endpoint, "samplingRatePerMillion": 1_000_000}})
        began = time.monotonic()
        with made.operator:
            made.enforce(NO_PRIVILEGES)
            _age(made)
            yield _travelled(made, clock, receiver, began)


def _travelled(made: Installed, clock: fakedtime.FakedTime, receiver: otlp_source.Receiver, began: float) -> Journey:
    seen = Journey()
    seen.samples.append(scraped(made))
    with Load(made.cluster, threads=USERS) as load:
        for jump in JUMPS:
            clock.jump(jump)
            load.goes_on()
            expected = FORWARD.get(jump, dt.timedelta())
            seen.offsets.append(eventually(functools.partial(_offset, made, expected)))
            seen.leases.append(made.cluster.api.request("GET", LEASE)["spec"])
            seen.samples.append(scraped(made))
            seen.took = time.monotonic() - began
            if jump == "+20d":
                made.kubectl("annotate", *SECRET, "kymograph.dev/looked=at")  # the operator looks at what changes
                load.goes_on()
            seen.served.append(served(made))
            seen.secrets.append(json.dumps(made.get(*SECRET)["data"]))
            if jump == "+20d":
                made.kubectl("annotate", *SECRET, "kymograph.dev/rotate=weeks-ahead")
                seen.renewed = eventually(functools.partial(changed, made, seen.served[-1]))
                made.apply(labelled("short-lived", "1s"))
                eventually(functools.partial(_is_gone, made, "short-lived"))
                load.goes_on()
    seen.wrong += load.wrong
    seen.gone_early = _is_gone(made, "long-lived")
    for jump in ("+20d", "+0"):
        clock.jump(jump)
        seen.idle.append(min(itertools.islice(_busy(made), LOOKS)))
    assert made.operator.stop() == 0
    seen.told = receiver.received()
    return seen


def _busy(made: Installed) -> Iterator[float]:
    """The processor seconds that the operator takes in `QUIET` seconds, until it is seen to be idle."""
    busy = QUIET
    while busy >= QUIET / 2:
        before = processor_seconds(made.operator.process.pid)
        time.sleep(QUIET)
        yield (busy := processor_seconds(made.operator.process.pid) - before)


def labelled(name: str, ttl: str) -> dict:
    """A ConfigMap that is to be deleted after a while."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"cleanup.kyverno.io/ttl": ttl}},
    }


def _is_gone(made: Installed, name: str) -> bool:
    return "NotFound" in made.kubectl("get", "configmap", name, check=False).stderr


def _age(made: Installed) -> None:
    """Have the operator serve a certificate that is due soon."""
    bundle = certificates.from_secret(made.get(*SECRET)["data"])
    authority = certificates.KeyPair(bundle.authorities, bundle.authority_key)
    aged = certificates.issue_serving(authority, NAMES.dns, NAMES.ips, dt.datetime.now(dt.UTC), SOON_DUE)
    data = certificates.to_secret(certificates.Bundle(bundle.authorities, bundle.authority_key, aged))
    before = served(made)
    made.kubectl("patch", *SECRET, "-p", json.dumps({"data": data}))
    eventually(lambda: changed(made, before))


def _offset(made: Installed, expected: dt.timedelta) -> dt.timedelta | None:
    """How far the time that the operator writes into its Lease is from ours; None while that is not as expected."""
    written = dt.datetime.fromisoformat(made.cluster.api.request("GET", LEASE)["spec"]["renewTime"])
    offset = written - dt.datetime.now(dt.UTC)
    return (offset or dt.timedelta.resolution) if abs(offset - expected) < dt.timedelta(minutes=1) else None


def served(made: Installed) -> x509.Certificate:
    """The certificate that new connections are shown."""
    text = ssl.get_server_certificate(("127.0.0.1", made.operator.webhook_port), timeout=30)
    return x509.load_pem_x509_certificate(text.encode())


def changed(made: Installed, before: x509.Certificate) -> x509.Certificate | None:
    """The certificate that is served, where that is another one than before."""
    now = served(made)
    return None if now == before else now


def scraped(made: Installed) -> Samples:
    """All samples of counters and histograms."""
    with urllib.request.urlopen(f"http://127.0.0.1:{made.metrics_port}/metrics", timeout=30) as answer:
        families = list(parser.text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if family.type in ("counter", "histogram")
    }


def processor_seconds(pid: int) -> float:
    """What a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_nothing_is_deleted_before_its_time(journey) -> None:
    """Although the operator's clock was weeks past it; what was due by everybody's clock was deleted."""
    assert not journey.gone_early


def test_users_notice_nothing(journey) -> None:
    """Bad Pods are denied and good ones let through, in every moment; and the clock did jump."""
    assert journey.wrong == []
    assert [round(each / dt.timedelta(hours=1)) for each in journey.offsets] == [8, 0, 480, 0]


def test_it_leads_as_before(journey) -> None:
    """The Lease has the same holder, who never lost it."""
    assert len({(each["holderIdentity"], each["leaseTransitions"]) for each in journey.leases}) == 1


def test_certificates_are_renewed_by_the_clock_of_those_who_verify_them(journey) -> None:
    """None is renewed because of a wrong clock; one that is asked for then is valid for everybody else."""
    first, second, third, after = journey.served
    assert first == second == third, "by the operator's own clock it was due"
    assert after == journey.renewed != third, "nor was it renewed once more on the way back"
    assert journey.secrets[0] == journey.secrets[1] == journey.secrets[2]
    now = dt.datetime.now(dt.UTC)
    assert after.not_valid_before_utc < now
    assert after.not_valid_after_utc - now < dt.timedelta(days=366)


def test_spans_last_as_long_as_what_they_tell_of(journey) -> None:
    """None is negative or bent by a jump, and all of a trace's lie within its review's."""
    reviews = {each.trace_id: each for each in journey.told if each.name.startswith("admission validate CREATE")}
    ours = [each for each in journey.told if each.trace_id in reviews]
    assert len(reviews) > 200
    lengths = {each.name: (each.end - each.start) / SECOND for each in journey.told}
    assert {name: seconds for name, seconds in lengths.items() if not 0 <= seconds < LONGEST} == {}
    for each in ours:
        around = reviews[each.trace_id]
        assert around.start <= each.start <= each.end <= around.end
    days = sorted({round((each.start / SECOND - time.time()) / 86_400) for each in reviews.values()})
    assert days == [0, 20], "each review at the moment that the operator's clock showed"


def test_counters_only_grow(journey) -> None:
    """Also the sums of durations, and by no more than time has passed for all who waited."""
    for before, after in zip(journey.samples, journey.samples[1:], strict=False):
        assert before.keys() <= after.keys()
        assert [key for key, value in before.items() if after[key] < value] == []
    sums = [key for key in journey.samples[-1] if key[0] == "admission_review_duration_seconds_sum"]
    assert sums
    assert all(journey.samples[-1][key] < USERS * journey.took for key in sums)


def test_nothing_runs_away(journey) -> None:
    """Right after a jump, with nothing asked, the operator is as idle as ever."""
    assert max(journey.idle) < QUIET / 2, journey.idle
