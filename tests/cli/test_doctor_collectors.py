"""How the doctor asks collectors: every destination of every signal, as the operator would, and with nothing in it."""

import socket

import pytest

from kymograph.cli.diagnosing import collectors, findings
from support import logreceivers, metricreceivers, otlpservice, receivers

OK, PROBLEM, NOT_CHECKED = findings.State


class Cluster:
    """What is asked of a cluster: the Secrets of exporters, by name."""

    def __init__(self):
        self.secrets = {}

    async def telemetry_secrets(self, names):
        return {name: self.secrets[name] for name in names}


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def started():
    """Starts receivers, and stops them after the test."""
    running = []

    def start(make, *given, **named):
        running.append(make(*given, **named))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.mark.parametrize("protocol", otlpservice.PROTOCOLS)
async def test_every_signal_is_asked_for_at_its_own_destination(cluster, started, protocol) -> None:
    """Traces, further receivers of them, metrics and log records: each with its own request, which holds nothing."""
    traces, vendor = started(receivers.start, protocol), started(receivers.start, protocol)
    metrics, logs = started(metricreceivers.Receiver, protocol), started(logreceivers.Receiver, protocol)

    def to(receiver):
        return {"endpoint": receiver.endpoint, "protocol": protocol}

    spec = {
        "traces": {**to(traces), "additional": [{"name": "vendor", **to(vendor)}]},
        "metrics": {"otlp": to(metrics)},
        "logs": {"otlp": to(logs)},
    }
    found = await collectors.asked(cluster, spec, inside=False)
    expected = [
        ("collector (traces)", "traces", traces),
        ("collector (traces.additional[vendor])", "traces", vendor),
        ("collector (metrics.otlp)", "metrics", metrics),
        ("collector (logs.otlp)", "logs", logs),
    ]
    for finding, (check, signal, receiver) in zip(found, expected, strict=True):
        assert (finding.check, finding.state) == (check, OK), finding
        assert f"{receiver.endpoint} is reachable from this machine and accepts {signal}: " in finding.said
        details = dict(finding.details)
        assert details.pop("latencySeconds") > 0
        assert details.pop("connectingSeconds") > 0
        told = {"signal": signal, "endpoint": receiver.endpoint, "protocol": protocol}
        assert details == {**told, "reachable": True, "accepting": True}
        assert len(receiver.requests) == 2
        if protocol == receivers.HTTP:
            assert set(receiver.paths) == {f"/v1/{signal}"}
    assert (traces.spans, vendor.spans, metrics.metrics, logs.records) == ([], [], [], [])


@pytest.mark.parametrize("protocol", otlpservice.PROTOCOLS)
@pytest.mark.parametrize("signal", ["metrics", "logs"])
async def test_a_collector_of_traces_need_not_take_anything_else(cluster, started, protocol, signal) -> None:
    """Over gRPC it has no such service, over HTTP no such path: the fix is a pipeline, or another collector."""
    receiver = started(receivers.start, protocol)
    if protocol == receivers.HTTP:
        receiver.refuse = receivers.Refusal(None, 404)
    spec = {signal: {"otlp": {"endpoint": receiver.endpoint, "protocol": protocol}}}
    (found,) = await collectors.asked(cluster, spec, inside=False)
    assert (found.check, found.state) == (f"collector ({signal}.otlp)", PROBLEM)
    assert f"{receiver.endpoint} is reachable from this machine, but does not accept {signal}: " in found.said
    assert (found.details["reachable"], found.details["accepting"]) == (True, False)
    assert f"service.pipelines.{signal}.receivers" in found.fix
    assert f"spec.{signal}.otlp.endpoint" in found.fix


@pytest.mark.parametrize("protocol", receivers.PROTOCOLS)
async def test_a_receiver_is_asked_as_the_operator_asks_it(cluster, started, protocol) -> None:
    """With its headers; a refusal is a problem, in the receiver's words and without our secrets."""
    receiver = started(receivers.start, protocol)
    cluster.secrets = {"token": {"t": b"Bearer secret-token"}}
    header = {"name": "authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "t"}}}
    traces = {"endpoint": receiver.endpoint, "protocol": protocol, "headers": [header]}
    (found,) = await collectors.asked(cluster, {"traces": traces}, inside=False)
    assert (found.check, found.state) == ("collector (traces)", OK), found
    assert {each["authorization"] for each in receiver.headers} == {"Bearer secret-token"}
    receiver.refuse, receiver.words = receivers.FORBIDDEN, "who is Bearer secret-token?"
    (found,) = await collectors.asked(cluster, {"traces": traces}, inside=False)
    assert (found.state, "secret-token" in found.said) == (PROBLEM, False)
    assert "spec.traces.headers" in found.fix


@pytest.mark.parametrize("protocol", receivers.PROTOCOLS)
async def test_a_busy_receiver_is_said_to_be_busy(cluster, started, protocol) -> None:
    """It is asked once: the doctor does not wait for it."""
    receiver = started(receivers.start, protocol)
    receiver.refuse = receivers.THROTTLED
    traces = {"endpoint": receiver.endpoint, "protocol": protocol}
    (found,) = await collectors.asked(cluster, {"traces": traces}, inside=False)
    assert (found.state, found.details["reachable"]) == (PROBLEM, True)
    assert "has too much to do" in found.fix
    assert len(receiver.headers) == 1


@pytest.mark.parametrize("protocol", receivers.PROTOCOLS)
async def test_a_partial_success_of_nothing_is_a_refusal(cluster, started, protocol) -> None:
    """In the receiver's words."""
    receiver = started(receivers.start, protocol)
    receiver.reject = 1
    traces = {"endpoint": receiver.endpoint, "protocol": protocol}
    (found,) = await collectors.asked(cluster, {"traces": traces}, inside=False)
    assert (found.state, found.said.endswith("does not accept traces: not today")) == (PROBLEM, True), found


def web_page(connection) -> None:
    """What is at the port of something else."""
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>")


@pytest.mark.parametrize("protocol", receivers.PROTOCOLS)
@pytest.mark.parametrize("serve", [web_page, receivers.reset])
async def test_something_else_at_the_port_is_not_taken_for_a_receiver(cluster, started, protocol, serve) -> None:
    """Also if it answers 200: the fix names the protocol that was spoken."""
    server = started(receivers.RawServer, serve)
    logs = {"endpoint": server.endpoint, "protocol": protocol}
    (found,) = await collectors.asked(cluster, {"logs": {"otlp": logs}}, inside=False)
    assert (found.state, found.details["reachable"], found.details["accepting"]) == (PROBLEM, True, False), found
    assert f"speaks OTLP over {protocol} in plaintext" in found.fix


@pytest.mark.parametrize("protocol", receivers.PROTOCOLS)
async def test_a_receiver_that_says_nothing_has_the_configured_time(cluster, started, protocol) -> None:
    """It can be reached, and accepts nothing."""
    server = started(receivers.RawServer, receivers.silence)
    traces = {"endpoint": server.endpoint, "protocol": protocol, "timeout": "200ms"}
    (found,) = await collectors.asked(cluster, {"traces": traces}, inside=False)
    assert (found.state, found.details["reachable"], found.details["accepting"]) == (PROBLEM, True, False), found


@pytest.mark.parametrize("protocol", receivers.PROTOCOLS)
async def test_nobody_at_the_port_is_not_reachable(cluster, protocol) -> None:
    """And the reason is the system's."""
    with socket.socket() as taken:  # by a socket that does not listen, so that nobody else can take it
        taken.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        metrics = {"endpoint": endpoint, "protocol": protocol}
        (found,) = await collectors.asked(cluster, {"metrics": {"otlp": metrics}}, inside=False)
    assert (found.state, found.details["reachable"], found.details["accepting"]) == (PROBLEM, False, False), found
    assert f"{endpoint} cannot be reached from this machine: Connection refused" in found.said
    assert f"listens at {endpoint}" in found.fix


@pytest.mark.parametrize(
    ("spec", "inside", "said"),
    [
        ({}, False, "nothing is exported"),
        ({"traces": {}}, False, "spec.traces.endpoint is not set"),
        ({"traces": {"endpoint": "127.0.0.1:1"}}, True, "the loopback of the operator's Pods"),
        ({"metrics": {"otlp": {"endpoint": "c.invalid:1"}}}, True, "does not resolve here"),
        ({"traces": {"endpoint": "nowhere"}}, False, "cannot be used"),
    ],
)
async def test_receivers_that_cannot_be_asked(cluster, spec, inside, said) -> None:
    """Are not called dead."""
    (found,) = await collectors.asked(cluster, spec, inside=inside)
    assert (found.state, said in found.said) == (NOT_CHECKED, True)
    assert not {"reachable", "accepting"} & set(found.details)
