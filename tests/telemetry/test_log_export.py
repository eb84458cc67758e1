"""Log records over OTLP: complete, bounded, in nobody's way, and never about themselves."""

import asyncio
import logging
import sys
import threading

import pytest
from opentelemetry.proto.logs.v1 import logs_pb2

from kymograph.telemetry import (
    current,
    environment,
    errors,
    export,
    fieldpaths,
    logexport,
    providers,
    settings,
    subject,
)
from support import logreceivers, otlpservice, scraped, waiting

PATIENCE = 30.0
PARENT = f"00-{7:032x}-{9:016x}-01"
UNSAMPLED = f"00-{7:032x}-{9:016x}-00"


@pytest.fixture
def started():
    """Start receivers; they stop with the test."""
    receivers = []

    def start(protocol=otlpservice.GRPC):
        receivers.append(logreceivers.Receiver(protocol))
        return receivers[-1]

    yield start
    for receiver in receivers:
        receiver.stop()


@pytest.fixture
async def telemetry(started):  # shut down while the receivers are there
    made = providers.Telemetry(
        lambda _, subject: (str(subject), {}),
        facts={"service.instance.id": "i", "service.version": "1.2.3"},
        environ={"OTEL_SERVICE_NAME": "guard"},
    )
    yield made
    await made.shutdown(PATIENCE)


@pytest.fixture
def logger():
    """A logger whose records pass whatever the level of the root logger is."""
    found = logging.getLogger("kymograph.test")
    before = found.level
    found.setLevel(logging.DEBUG)
    yield found
    found.setLevel(before)


async def configure(telemetry, receiver, **fields):
    otlp = None
    if receiver is not None:
        protocol = receiver.protocol
        otlp = {"endpoint": receiver.endpoint, "protocol": protocol, **fields}
    await telemetry.apply(settings.from_spec({} if otlp is None else {"logs": {"otlp": otlp}}))


async def arrived(receiver, body):
    return await asyncio.to_thread(receiver.wait_for, body)


def bodies(receiver):
    """What the test's logger said: whatever runs in this process may log, too."""
    return [record.body.string_value for scope, record in receiver.records if scope == "kymograph.test"]


HIDDEN = (fieldpaths.parse("headers.token", "f"),)


def written(message="Policy %s compiled", arguments=("p",), level=logging.WARNING, exc_info=None, **extra):
    """A record as a receiver reads it."""
    record = logging.LogRecord("kymograph.x", level, "", 1, message, arguments, exc_info)
    record.created = 1_709_294_400.25
    record.__dict__.update(extra)
    found = logs_pb2.ScopeLogs.FromString(logexport.write(record, HIDDEN).data)
    return found.log_records[0]


def attributes(record):
    return {each.key: each.value for each in record.attributes}


def test_a_record_is_written_with_time_severity_message_and_fields() -> None:
    """In the fields that OTLP has for them; whatever was added to it is an attribute."""
    record = written(policy="p", count=3, met=True, ratio=0.5, odd={1}, nested={"a": [1, "b"]}, settings=object())
    assert record.time_unix_nano == 1_709_294_400_250_000_000
    assert record.observed_time_unix_nano == record.time_unix_nano
    assert (record.severity_text, record.severity_number) == ("WARNING", logs_pb2.SEVERITY_NUMBER_WARN)
    assert record.body.string_value == "Policy p compiled"
    found = attributes(record)
    assert set(found) == {"policy", "count", "met", "ratio", "odd", "nested"}
    assert (found["policy"].string_value, found["count"].int_value, found["met"].bool_value) == ("p", 3, True)
    assert (found["ratio"].double_value, found["odd"].string_value) == (0.5, "{1}")
    assert found["nested"].kvlist_value.values[0].value.array_value.values[1].string_value == "b"
    assert not record.trace_id


def test_a_record_is_written_without_what_is_hidden() -> None:
    """Fields that are named, and what its subject hides; within a review it has its uid, as spans have."""
    hides = subject.Subject("review-1", lambda text: text.replace("hunter2", "[redacted]"))
    raised = (ValueError, ValueError("hunter2 of t-1234"), None)
    with subject.concerning(hides):
        record = written("hunter2 of %s", ("t-1234",), exc_info=raised, headers={"token": "t-1234", "host": "h"})
    assert record.body.string_value == "[redacted] of [redacted]"
    found = attributes(record)
    assert found["admission.request.uid"].string_value == "review-1"
    assert [each.value.string_value for each in found["headers"].kvlist_value.values] == ["[redacted]", "h"]
    assert b"hunter2" not in record.SerializeToString()
    assert b"t-1234" not in record.SerializeToString()


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (logging.DEBUG, logs_pb2.SEVERITY_NUMBER_DEBUG),
        (logging.INFO, logs_pb2.SEVERITY_NUMBER_INFO),
        (logging.WARNING, logs_pb2.SEVERITY_NUMBER_WARN),
        (35, logs_pb2.SEVERITY_NUMBER_WARN),
        (logging.ERROR, logs_pb2.SEVERITY_NUMBER_ERROR),
        (logging.CRITICAL, logs_pb2.SEVERITY_NUMBER_FATAL),
    ],
)
def test_levels_are_severities(level, number) -> None:
    """As OpenTelemetry's bridge for Python maps them; a level in between is the one below."""
    assert written(level=level).severity_number == number


def test_an_exception_is_told_by_its_type_message_and_stack() -> None:
    """By OpenTelemetry's names."""
    try:
        int("what happened")
    except ValueError:
        found = attributes(written(exc_info=sys.exc_info()))
    assert found["exception.type"].string_value == "ValueError"
    assert found["exception.message"].string_value.startswith("invalid literal")
    assert "Traceback" in found["exception.stacktrace"].string_value


def test_tokens_are_sent_to_nobody() -> None:
    """Wherever in a record they stand."""
    secret = "Bearer abcdefgh12345678abcdefgh"
    raised = (ValueError, ValueError(secret), None)
    record = written("sent %s", (secret,), exc_info=raised, header=secret, nested={"a": [secret]})
    assert b"abcdefgh12345678" not in record.SerializeToString()


def test_no_record_is_larger_than_its_bounds() -> None:
    """Whatever somebody logs."""
    record = written("x" * 100_000, (), **{f"field{n}": "y" * 10_000 for n in range(200)})
    assert len(record.body.string_value) <= logexport.MOST_BODY
    assert len(record.attributes) == logexport.MOST_ATTRIBUTES
    assert record.ByteSize() < 100_000


@pytest.mark.parametrize("protocol", [otlpservice.GRPC, otlpservice.HTTP])
async def test_records_arrive_with_our_resource_and_their_loggers_name(telemetry, started, logger, protocol) -> None:
    """The resource is that of spans and metrics; our own loggers have our version."""
    receiver = started(protocol)
    await configure(telemetry, receiver, compression="gzip")
    logger.info("hello %s", "there")
    scope, record = await arrived(receiver, "hello there")
    assert scope == "kymograph.test"
    assert record.severity_text == "INFO"
    assert receiver.resource["service.name"] == "guard"
    assert receiver.resource["service.instance.id"] == "i"
    assert receiver.requests[0].resource_logs[0].scope_logs[0].scope.version == "1.2.3"
    if protocol == otlpservice.HTTP:
        assert set(receiver.paths) == {"/v1/logs"}


@pytest.mark.parametrize(("traceparent", "flags"), [(PARENT, 1), (UNSAMPLED, 0)])
async def test_a_record_of_a_review_carries_its_trace(telemetry, started, logger, traceparent, flags) -> None:
    """Trace id, span id and whether it is sampled."""
    receiver = started()
    await configure(telemetry, receiver)
    recorder = telemetry.begin(traceparent, None, 0)
    with current.serving(recorder):
        logger.warning("denied")
    _, record = await arrived(receiver, "denied")
    assert record.trace_id == recorder.decision.trace_id.to_bytes(16, "big")
    assert record.span_id == recorder.decision.span_id.to_bytes(8, "big")
    assert record.flags == flags


async def test_without_a_destination_nothing_is_taken(telemetry, started, logger) -> None:
    """And when it is taken away, nothing more is."""
    receiver = started()
    logger.info("before")
    await configure(telemetry, receiver)
    logger.info("within")
    await arrived(receiver, "within")
    await configure(telemetry, None)
    logger.info("after")
    assert await asyncio.to_thread(telemetry.log_queue.flush, PATIENCE)
    assert bodies(receiver) == ["within"]
    status = telemetry.log_queue.status()
    assert (status.sent, status.pending, sum(status.dropped.values())) == (len(receiver.records), 0, 0)


async def test_the_level_of_export_is_its_own(telemetry, started, logger) -> None:
    """Of what is logged, the least that is sent; changed live."""
    receiver = started()
    await configure(telemetry, receiver, level="warning")
    logger.info("chatter")
    logger.warning("trouble")
    await arrived(receiver, "trouble")
    await configure(telemetry, receiver, level="debug")
    logger.debug("detail")
    await arrived(receiver, "detail")
    assert bodies(receiver) == ["trouble", "detail"]


async def test_undelivered_records_go_to_the_next_destination(telemetry, started, logger) -> None:
    """A dead receiver costs whoever logs nothing, and a swap loses nothing."""
    receiver = started()
    await telemetry.apply(settings.from_spec({"logs": {"otlp": {"endpoint": "127.0.0.1:1", "timeout": "2m"}}}))
    for number in range(20):
        logger.info("record %d", number)
    await configure(telemetry, receiver)
    assert await asyncio.to_thread(telemetry.log_queue.flush, PATIENCE)
    assert sorted(set(bodies(receiver))) == sorted(f"record {number}" for number in range(20))
    assert sum(telemetry.log_queue.status().dropped.values()) == 0


async def test_what_a_receiver_rejects_is_counted(telemetry, started, logger) -> None:
    """In a partial success: the rest was taken."""
    receiver = started()
    receiver.reject = 1
    await configure(telemetry, receiver)
    logger.info("one")
    status = await asyncio.to_thread(
        waiting.until, "the record is rejected", lambda: (s := telemetry.log_queue.status()).last_error and s
    )
    assert status.dropped[export.Reason.EXPORT_FAILED] == 1
    assert "not today" in status.last_error


async def test_metrics_tell_what_became_of_records(telemetry, started, logger) -> None:
    """Delivered, dropped by reason, pending."""
    receiver = started()
    await configure(telemetry, receiver)
    logger.info("one")
    await arrived(receiver, "one")
    assert await asyncio.to_thread(telemetry.log_queue.flush, PATIENCE)
    text = scraped.text(telemetry)
    assert f"\ntelemetry_log_records_exported_total {len(receiver.records)}.0\n" in text
    assert '\ntelemetry_log_records_dropped_total{reason="queue_full"} 0.0\n' in text
    assert "\ntelemetry_log_records_pending 0.0\n" in text


class Talkative:
    """An exporter that logs whatever it does, and fails."""

    def __init__(self, logger):
        self.logger = logger
        self.batches = []
        self.gate = threading.Event()

    def export(self, records):
        self.batches.append([record.logger for record in records])
        self.logger.error("cannot export")
        logging.getLogger("grpc._channel").error("nor can I")
        self.gate.wait(PATIENCE)
        raise errors.ExportFailed("no")

    def shutdown(self):
        self.gate.set()


@pytest.fixture
def queue():
    made = export.Queue(wall_clock=lambda: 1, clock=lambda: 0.0, capacity=3, linger=0.0, grace=0.1)
    yield made
    made.close(0)


@pytest.fixture
def handled(queue, logger):
    handler = logexport.Handler(queue)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_what_is_said_while_exporting_is_not_exported(queue, logger, handled) -> None:
    """Else a collector that is gone would be told of it for ever."""
    exporter = Talkative(logger)
    exporter.gate.set()
    queue.swap(exporter)
    logger.info("once")
    logging.getLogger("grpc._channel").addHandler(handled)
    try:
        logging.getLogger("grpc._channel").error("from a thread of its own")
    finally:
        logging.getLogger("grpc._channel").removeHandler(handled)
    assert queue.flush(PATIENCE)
    assert exporter.batches == [["kymograph.test"]]
    assert queue.status().dropped[export.Reason.EXPORT_FAILED] == 1


def test_a_receiver_that_hangs_costs_records_and_nobodys_time(queue, logger, handled) -> None:
    """What finds no room is counted."""
    exporter = Talkative(logger)
    queue.swap(exporter)
    logger.info("taken")
    waiting.until("the exporter has it", lambda: exporter.batches)
    for _ in range(10):
        logger.info("more")
    status = queue.status()
    assert status.dropped[export.Reason.QUEUE_FULL] == 7
    assert status.pending == 4


def test_a_value_that_has_no_text_costs_its_record_and_nothing_else(queue, logger, handled, monkeypatch) -> None:
    """Whoever logs it goes on."""

    class Odd:
        def __str__(self):
            raise ValueError("no text")

    monkeypatch.setattr(logging, "raiseExceptions", False)
    queue.swap(Talkative(logger))
    logger.info("odd", extra={"odd": Odd()})
    assert queue.status().pending == 0


def test_the_bounds_of_a_queue_are_changed_while_it_works(queue) -> None:
    """What is left open is as it was made."""
    queue.swap(Talkative(logging.getLogger("kymograph.other")))
    queue.limit(environment.QueueLimits(capacity=1, batch=100))
    assert queue.batch == 1
    queue.limit(environment.NO_LIMITS)
    assert queue.batch == 3
