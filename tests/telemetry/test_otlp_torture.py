"""Receivers that are dead, slow, resetting, dripping or refusing cost batches at most, never a thread or a secret."""

import asyncio
import threading
import time

import pytest

from kymograph.telemetry import delivery, destination, errors, otlp, providers, settings
from kymograph.telemetry.export import Reason
from support import receivers as fakes

PATIENCE = 30.0
PARENT = f"00-{7:032x}-{9:016x}-01"


@pytest.fixture(params=fakes.PROTOCOLS)
def protocol(request):
    return destination.Protocol(request.param)


def exporter_to(endpoint, protocol, timeout=PATIENCE, **given):
    to = destination.Destination(endpoint, protocol, plaintext=True, timeout=timeout, **given)
    return otlp.SpanExporter(to, fakes.ORIGIN)


def test_an_unavailable_receiver_is_tried_again_until_it_takes_the_batch(receivers, protocol):
    receiver = receivers(protocol)
    receiver.refuse, receiver.refuse_first = fakes.UNAVAILABLE, 1
    exporter = exporter_to(receiver.endpoint, protocol)
    exporter.export([])
    exporter.shutdown()
    assert (len(receiver.headers), len(receiver.requests)) == (2, 1)


def test_a_throttling_receiver_is_left_alone_for_as_long_as_it_says(receivers, protocol):
    receiver = receivers(protocol)
    receiver.refuse, receiver.refuse_first = fakes.THROTTLED, 1
    exporter = exporter_to(receiver.endpoint, protocol)
    began = time.monotonic()
    exporter.export([])
    assert time.monotonic() - began >= 1.0
    exporter.shutdown()


def test_a_receiver_that_asks_for_more_patience_than_there_is_costs_the_batch_at_once(receivers, protocol):
    receiver = receivers(protocol)
    receiver.refuse = fakes.Refusal(fakes.THROTTLED.code, fakes.THROTTLED.status, retry_after=3600)
    exporter = exporter_to(receiver.endpoint, protocol)
    began = time.monotonic()
    with pytest.raises(errors.ExportFailed, match="not today"):
        exporter.export([])
    assert time.monotonic() - began < PATIENCE / 2
    exporter.shutdown()


class BusyOnce:
    """A transport to a receiver that wants to be left alone for half a second, and is not busy afterwards."""

    def __init__(self):
        self.asked = []

    def attempt(self, request, timeout):
        self.asked.append(time.monotonic())
        if len(self.asked) == 1:
            raise delivery.Refused("not today", passing=True, wait=0.5)
        return b""

    def close(self):
        pass


def test_and_the_next_batch_waits_until_it_may_be_asked_again():
    """Who is too busy for one batch is not offered another at once."""
    busy = BusyOnce()
    made = delivery.Delivery(busy, 0.4, str)
    with pytest.raises(errors.ExportFailed, match="not today"):
        made.deliver(b"one")
    assert made.deliver(b"another").rejected == 0
    assert busy.asked[1] - busy.asked[0] >= 0.5


@pytest.mark.parametrize("how", [fakes.reset, fakes.silence, fakes.drip], ids=["resetting", "silent", "dripping"])
def test_whatever_a_receiver_does_a_batch_takes_no_longer_than_its_time(raw_server, protocol, how):
    """A dripping one too, for which no single read is ever late."""
    exporter = exporter_to(raw_server(how).endpoint, protocol, timeout=1.0)
    began = time.monotonic()
    with pytest.raises(errors.ExportFailed):
        exporter.export([])
    assert time.monotonic() - began < PATIENCE / 2
    exporter.shutdown()


@pytest.mark.usefixtures("one_try")
def test_a_dead_receiver_is_said_to_be_dead(protocol, port):
    exporter = exporter_to(f"127.0.0.1:{port}", protocol)
    with pytest.raises(errors.ExportFailed, match="refused"):
        exporter.export([])
    exporter.shutdown()


def test_shutdown_ends_a_call_that_hangs(raw_server, protocol):
    server = raw_server(fakes.silence)
    exporter = exporter_to(server.endpoint, protocol, timeout=4 * PATIENCE)
    failed = threading.Event()

    def export():
        with pytest.raises(errors.ExportFailed):
            exporter.export([])
        failed.set()

    thread = threading.Thread(target=export)
    thread.start()
    while not server.connections:
        assert not failed.wait(0.01)
    exporter.shutdown()
    assert failed.wait(PATIENCE)
    thread.join()


def test_after_shutdown_nothing_is_sent(receivers, protocol):
    receiver = receivers(protocol)
    exporter = exporter_to(receiver.endpoint, protocol)
    exporter.shutdown()
    with pytest.raises(errors.ExportFailed, match="shut down"):
        exporter.export([])
    assert receiver.headers == []


@pytest.mark.parametrize("partial", [False, True])
def test_a_receiver_that_repeats_a_token_does_not_get_it_into_the_status(receivers, protocol, partial):
    receiver = receivers(protocol)
    receiver.words = "the token s3cr3t-t0ken of tenant a is unknown"
    receiver.reject, receiver.refuse = int(partial), None if partial else fakes.UNAUTHENTICATED
    exporter = exporter_to(receiver.endpoint, protocol, headers=(("authorization", "Bearer s3cr3t-t0ken"),))
    with pytest.raises(errors.ExportFailed, match=r"the token \[redacted\] of tenant a is unknown"):
        exporter.export([])
    exporter.shutdown()


def test_an_answer_that_a_shutdown_cuts_off_is_no_delivery(raw_server, protocol):
    """The receiver has begun to say 200: whoever believes that loses the batch, because nobody sends it again."""
    begun = threading.Event()

    def begin_to_answer(connection):
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-prot")
        begun.set()
        while connection.recv(65_536):
            pass

    exporter = exporter_to(raw_server(begin_to_answer).endpoint, protocol, timeout=4 * PATIENCE)
    failures = []

    def export():
        try:
            exporter.export([])
        except errors.ExportFailed as failure:
            failures.append(failure)

    thread = threading.Thread(target=export)
    thread.start()
    assert begun.wait(PATIENCE)
    exporter.shutdown()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(failures) == 1


async def test_a_swap_from_a_receiver_that_fails_in_any_way_loses_nothing(receivers, raw_server, protocol):
    """What a failing one did not take within its time goes to the next; only what was refused for good is lost."""
    telemetry = providers.Telemetry(lambda _, subject: (f"RULE {subject}", {}), facts={}, environ={})
    refusing = receivers(protocol)
    refusing.refuse = fakes.UNAVAILABLE
    good = receivers(protocol)
    bad = [raw_server(how).endpoint for how in (fakes.silence, fakes.reset, fakes.drip)] + [refusing.endpoint]
    taken = 0
    for endpoint in bad:
        await telemetry.apply(applied(endpoint, protocol))
        taken += sum(review(telemetry, f"{endpoint}-{each}") for each in range(50))
    await telemetry.apply(applied(good.endpoint, protocol))
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    names = [span.name for span in good.spans if span.name.startswith("RULE")]
    assert taken == 200
    assert len(set(names)) == taken
    assert telemetry.queue.status().dropped == dict.fromkeys(Reason, 0)
    await telemetry.shutdown(1.0)


async def test_a_swap_between_protocols_loses_nothing(receivers):
    telemetry = providers.Telemetry(lambda _, subject: (f"RULE {subject}", {}), facts={}, environ={})
    telemetry.queue._grace = PATIENCE  # a receiver that is slow has time: what it got is not sent to the next as well
    both = [receivers(each) for each in fakes.PROTOCOLS]
    taken = 0
    for turn in range(6):
        receiver = both[turn % 2]
        await telemetry.apply(applied(receiver.endpoint, destination.Protocol(receiver.protocol)))
        taken += sum(review(telemetry, f"{turn}-{each}") for each in range(50))
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    spans = [span for receiver in both for span in receiver.spans]
    assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans) == 2 * taken
    assert telemetry.queue.status().dropped == dict.fromkeys(Reason, 0)
    await telemetry.shutdown(1.0)


def applied(endpoint, protocol):
    """What no receiver takes is kept for longer than any of these tests lasts."""
    traces = settings.TraceSettings(endpoint, protocol=protocol, timeout=4 * PATIENCE)
    return settings.TelemetrySettings(traces=traces)


def review(telemetry, name):
    record = telemetry.begin(PARENT, None, 0)
    record.begin(1, name, 10)
    record.end("pass", "", 20)
    record.finish("admission validate CREATE /Pod", {}, 30)
    return telemetry.keep(record)
