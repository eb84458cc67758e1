"""Two replicas behind one Service: both answer, one leads, and neither's end is noticed by a user."""

import contextlib
import datetime as dt
import http.client
import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from kymograph.localcluster import installation
from kymograph.runtime import leadership
from support import pods, reviewing
from support.installed import eventually, pod, policy
from support.replicas import Load, Pair

pytestmark = pytest.mark.timeout(600)  # processes start and end in most tests, beside other work

REVIEWS = "/validate/fail?timeout=30s"

STATUS = 240.0
"""Seconds that the status of telemetry may take: the leader waits three minutes for a replica that says no more."""

KEPT = "The Lease is not given back"
"""What a replica says that stops while the API server does not answer."""


@pytest.fixture(autouse=True)
def both(pair):
    """Both are there when a test begins, whatever became of them in the one before."""
    for replica in pair.replicas:
        if replica.process.poll() is not None:
            replica.start()
    eventually(lambda: all(replica.ready() for replica in pair.replicas))


def test_one_leads_and_both_are_ready(pair) -> None:
    """The Lease names one of them; the other is ready without it."""
    lease = pair.lease()
    assert lease["leaseDurationSeconds"] == leadership.LEASE_DURATION
    assert pair.follower() is not pair.leader()
    eventually(lambda: all(replica.ready() for replica in pair.replicas))
    eventually(lambda: "leads" in pair.leader().log.read_text())
    for log in (replica.log.read_text() for replica in pair.replicas):
        assert "forbidden" not in log.lower()


@pytest.mark.timeout(900)
def test_the_status_of_telemetry_is_that_of_both(pair) -> None:
    """Each says for itself what it exports, and the leader what that comes to; who stops takes its word with it.

    It has a second for that. Where the API server does not answer within it, the leader takes the word out, after
    three minutes in which it did not change.
    """

    def told():
        status = pair.get("tracingconfiguration", "default").get("status") or {}
        return sorted(each["name"].rpartition("_")[2] for each in status.get("replicas", ())), status.get("inForce")

    def ports(*replicas):
        return sorted(str(replica.health_port) for replica in replicas)

    eventually(lambda: told() == (ports(*pair.replicas), "2/2"), timeout=STATUS)
    leader, follower = pair.leader(), pair.follower()
    try:
        assert follower.stop() == 0
        eventually(lambda: told() == (ports(leader), "1/1"), timeout=STATUS)
    finally:
        follower.start()
    eventually(lambda: told() == (ports(*pair.replicas), "2/2"), timeout=STATUS)
    header, row = pair.kubectl("get", "tracingconfiguration", "default").stdout.splitlines()
    assert header.split()[:6] == ["NAME", "ACCEPTED", "EXPORTING", "SIGNALS", "REPLICAS", "SENT"]
    assert row.split()[:5] == ["default", "True", "False", "none", "2/2"]


def test_no_request_fails_while_both_are_replaced(pair) -> None:
    """SIGTERM under load, one after the other, as a rolling update does it: every answer is right and in time."""
    with Load(pair.cluster) as load:
        for replica in (pair.leader(), pair.follower()):
            load.goes_on()
            assert replica.stop() == 0
            load.goes_on()
            replica.start()
    assert load.wrong == []
    assert load.right > 200


def test_a_leader_that_stops_hands_over_at_once(pair, capsys) -> None:
    """The other leads before the first has ended, and does its work: a policy is registered and told.

    The first has a request that is not complete, and so cannot end; with the other in the lead it still answers that.
    Where the API server takes too long to hear that the Lease is free, the first says so, and the other has to wait.
    """
    leader, follower = pair.leader(), pair.follower()
    kept = leader.log.read_text().count(KEPT)
    try:
        with half_asked(pair, leader) as finish:
            began = dt.datetime.now(dt.UTC)
            leader.process.send_signal(signal.SIGTERM)
            eventually(lambda: pair.is_leader(follower))
            acquired = dt.datetime.fromisoformat(pair.lease()["acquireTime"])
            is_answered = finish()
        assert leader.process.wait(90) == 0
        with capsys.disabled():
            print(f"\nhand-over after SIGTERM: {(acquired - began).total_seconds():.2f} s")  # noqa: T201 - the figure is wanted
        assert began < acquired
        assert is_answered or leader.log.read_text().count(KEPT) > kept
        _changes_are_enforced(pair, "after-sigterm")
    finally:
        leader.stop()
        leader.start()


def test_a_leader_that_is_killed_is_replaced_when_the_lease_ends(pair, capsys) -> None:
    """SIGKILL: requests go on being answered by the other, which leads when the Lease has ended, and not before.

    How soon after is shown where the clock is moved by hand: here other work shares the machine.
    """
    leader, follower = pair.leader(), pair.follower()
    before = pair.lease()
    leader.kill()
    began = time.monotonic()
    try:
        eventually(lambda: "Privileged" in pair.create(pod("bad", privileged=True), "--dry-run=server").stderr)
        eventually(lambda: pair.is_leader(follower))
        took = time.monotonic() - began
        with capsys.disabled():
            print(f"\nhand-over after SIGKILL: {took:.2f} s")  # noqa: T201 - the figure is wanted
        after = pair.lease()
        renewed, acquired = (dt.datetime.fromisoformat(at) for at in (before["renewTime"], after["acquireTime"]))
        assert (acquired - renewed).total_seconds() >= leadership.LEASE_DURATION
        assert after["leaseTransitions"] == before["leaseTransitions"] + 1
        _changes_are_enforced(pair, "after-sigkill")
    finally:
        leader.start()


def test_a_leader_that_is_suspended_does_no_harm_when_it_wakes(pair) -> None:
    """SIGSTOP past the Lease, SIGCONT: it follows, and what the other wrote meanwhile stands."""
    leader, follower = pair.leader(), pair.follower()
    lost = leader.log.read_text().count("no longer leads")
    leader.process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: pair.is_leader(follower))
        pair.kubectl("delete", "clusterpolicy", "no-privileges")
        eventually(lambda: "kymograph-resource-validation" not in pair.webhook_configurations())
    finally:
        leader.process.send_signal(signal.SIGCONT)
    eventually(lambda: leader.log.read_text().count("no longer leads") > lost)
    # Once it has heard of that, it writes nothing any more that would undo it.
    eventually(lambda: pair.allows(leader, pod("bad", privileged=True)))
    assert "kymograph-resource-validation" not in pair.webhook_configurations()
    assert pair.leader() is follower
    pair.protect()
    eventually(leader.ready)


def test_what_only_the_leader_may_write_is_written_by_the_leader(pair) -> None:
    """A webhook configuration that somebody breaks is mended once, by the leader; the follower writes nothing."""
    leader, follower = pair.leader(), pair.follower()
    before = follower.log.read_text().count("written")
    name = "kymograph-resource-validation"
    pair.kubectl("label", "validatingwebhookconfiguration", name, "broken=by-hand")
    patch = '[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]'
    pair.kubectl("patch", "validatingwebhookconfiguration", name, "--type=json", "-p", patch)
    eventually(lambda: pair.get("validatingwebhookconfiguration", name)["webhooks"][0]["failurePolicy"] == "Fail")
    assert follower.log.read_text().count("written") == before
    assert "written" in leader.log.read_text()


@contextlib.contextmanager
def half_asked(pair: Pair, replica: installation.Operator) -> Iterator[Callable[[], bool]]:
    """Have a replica serve a review that it has half of; tells whether the other half is answered."""
    body = pods.encode(pods.create())
    connection = http.client.HTTPSConnection(
        "127.0.0.1", replica.webhook_port, timeout=60, context=reviewing.api_server(pair)
    )

    def finish() -> bool:
        try:
            connection.send(body[1:])
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    with contextlib.closing(connection):
        connection.request("POST", REVIEWS, body, {"Content-Type": "application/json"})
        assert json.load(connection.getresponse())["response"]["allowed"], "the connection is the replica's by now"
        connection.putrequest("POST", REVIEWS)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:1])
        yield finish


def _changes_are_enforced(pair: Pair, name: str) -> None:
    """Whoever leads now registers a policy and tells it so; the other learns of it by itself, about then."""
    about = {"any": [{"resources": {"kinds": ["Pod"], "names": ["unlabelled"]}}]}
    demanded = {"message": f"by {name}", "pattern": {"metadata": {"labels": {"team": "?*"}}}}
    pair.enforce(policy(name, demanded, match=about))
    eventually(lambda: f"by {name}" in pair.create(pod("unlabelled"), "--dry-run=server").stderr)
    status = pair.get("clusterpolicy", name)["status"]
    assert status["conditions"][0]["observedGeneration"] == 1
    pair.kubectl("delete", "clusterpolicy", name)
    eventually(lambda: pair.create(pod("unlabelled"), "--dry-run=server").returncode == 0)
