"""Log records: one line each, with the trace they belong to, whatever is in them."""

import datetime as dt
import json
import logging
import re
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider

from kymograph.runtime import logs
from kymograph.telemetry import fieldpaths, logsettings, subject

OURS = re.compile(r"kymograph\.(test|other)\b|kopf|aiohttp")
"""The loggers of these tests."""


@pytest.fixture
def configured(logging_put_back):
    """Configure logging as the process does."""
    return logs.Log


@pytest.fixture
def written(capsys):
    """Tells the lines of these loggers: threads of other tests may log, too."""

    def lines():
        return [line for line in capsys.readouterr().err.splitlines() if OURS.search(line)]

    return lines


def record(message="Policy %s compiled", arguments=("p",), exc_info=None, **extra):
    made = logging.LogRecord("kymograph.x", logging.WARNING, "", 1, message, arguments, exc_info)
    made.created, made.msecs = 1_709_294_400.25, 250.0
    made.__dict__.update(extra)
    return made


def in_json(given):
    text = logs.JsonFormatter().format(given)
    assert "\n" not in text
    return json.loads(text)


def test_a_json_record_has_time_level_logger_and_message() -> None:
    """The time is UTC whatever the machine's zone, in RFC 3339."""
    assert in_json(record()) == {
        "time": "2024-03-01T12:00:00.250Z",
        "level": "warning",
        "logger": "kymograph.x",
        "message": "Policy p compiled",
    }
    assert dt.datetime.fromisoformat(in_json(record())["time"])


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()])
def test_a_record_within_a_span_carries_its_ids(formatter) -> None:
    """In hexadecimal, as traces are looked up; none outside of a span."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("work") as span:
        inside = formatter.format(record())
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert trace_id in inside
    assert "trace" not in formatter.format(record())
    if isinstance(formatter, logs.JsonFormatter):
        document = json.loads(inside)
        assert (document["trace_id"], document["span_id"]) == (trace_id, f"{span.get_span_context().span_id:016x}")


def test_extra_fields_are_fields_and_overwrite_none_of_ours() -> None:
    """Whoever logs cannot forge level, time or trace."""
    document = in_json(record(policy="p", level="forged", time="forged", odd={1, 2}))
    assert (document["policy"], document["level"], document["time"][:4]) == ("p", "warning", "2024")
    assert document["odd"] in ("{1, 2}", "{2, 1}")


@pytest.mark.parametrize("value", [2**70, "\ud800", {"a": "\ud800"}, float("inf"), object])
def test_no_value_is_lost_for_being_odd(value) -> None:
    """A record that cannot be written would be one that nobody reads."""
    assert in_json(record("odd %r", (value,), value=value))["message"].startswith("odd")


def test_an_exception_is_part_of_its_record() -> None:
    """With its stack, in JSON on the same line."""
    try:
        int("what happened")
    except ValueError:
        given = record(exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in in_json(given)["exception"]
    assert "ValueError: invalid literal" in logs.TextFormatter().format(given)


def test_text_is_for_people() -> None:
    """Time, level, logger, message."""
    assert logs.TextFormatter().format(record()) == "12:00:00.250 WARNING kymograph.x: Policy p compiled"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_configured_records_go_to_standard_error(configured, written, log_format) -> None:
    """From the level on that was asked for; libraries only speak up about what is wrong."""
    configured(log_format, "info")
    logging.getLogger("kymograph.test").debug("too little")
    logging.getLogger("kymograph.test").info("hello")
    logging.getLogger("kopf.objects").info("chatter")
    logging.getLogger("kopf.objects").warning("trouble")
    lines = written()
    assert len(lines) == 2
    assert re.search("hello", lines[0])
    assert re.search("trouble", lines[1])
    assert lines[0].startswith("{") is (log_format == "json")


def test_a_level_above_warning_holds_for_libraries_too(configured, written) -> None:
    """Asked for errors, one gets errors."""
    configured("text", "error")
    logging.getLogger("aiohttp").warning("trouble")
    logging.getLogger("aiohttp").error("failure")
    assert ["failure" in line for line in written()] == [True]


def test_level_and_format_change_while_the_process_runs(configured, written) -> None:
    """And go back to what it was started with; handlers of others stay where they are."""
    others = logging.NullHandler()
    log = configured("text", "info")
    logging.getLogger().addHandler(others)
    logger = logging.getLogger("kymograph.test")
    log.apply(logsettings.LogSettings("debug", "json"))
    logger.debug("seen")
    log.apply(logsettings.LogSettings(level="error"))
    logger.warning("hidden")
    log.apply(logsettings.LogSettings())
    logger.info("back")
    seen, back = written()
    assert json.loads(seen)["message"] == "seen"
    assert back.endswith("kymograph.test: back")
    assert others in logging.getLogger().handlers


def test_a_logger_has_a_level_of_its_own_until_it_is_named_no_more(configured, written) -> None:
    """A library's too; one that is named no more is as quiet as before."""
    log = configured("text", "info")
    log.apply(logsettings.LogSettings(loggers={"kymograph.test": "debug", "kopf": "info"}))
    for name in ("kymograph.test", "kymograph.other"):
        logging.getLogger(name).debug("from %s", name)
    logging.getLogger("kopf").info("chatter")
    log.apply(logsettings.LogSettings(loggers={"kymograph.other": "error"}))
    for name in ("kymograph.test", "kymograph.other"):
        logging.getLogger(name).debug("again")
        logging.getLogger(name).warning("trouble of %s", name)
    logging.getLogger("kopf").info("chatter")
    lines = [line.partition(": ")[2] for line in written()]
    assert lines == ["from kymograph.test", "chatter", "trouble of kymograph.test"]


def test_named_fields_are_in_no_form_of_a_record() -> None:
    """Neither in the field nor in the message and exception; others stay as they are."""
    fields = (fieldpaths.parse("decision.user", "f"), fieldpaths.parse("headers[*]", "f"))
    said = {"decision": {"user": "jane.doe", "name": "web"}, "headers": ["x-1234", "no"], "count": 2}
    failed = (ValueError, ValueError("x-1234 is odd"), None)
    given = record("by %s, not on web: no", ("jane.doe",), failed, **said)
    document = json.loads(logs.JsonFormatter(fields).format(given))
    assert document["message"] == "by [redacted], not on web: [redacted]"
    assert document["decision"] == {"user": "[redacted]", "name": "web"}
    assert document["headers"] == ["[redacted]", "[redacted]"]
    assert (document["exception"], document["count"]) == ("ValueError: [redacted] is odd", 2)
    for form in (logs.TextFormatter(fields), logs.EcsFormatter(fields)):
        text = form.format(given)
        assert "jane.doe" not in text
        assert "x-1234" not in text
    assert given.decision["user"] == "jane.doe", "it is others' record, too"


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter(), logs.EcsFormatter()])
def test_a_record_tells_nothing_that_its_subject_hides(formatter) -> None:
    """Whoever logs while a Secret is reviewed does not know that it is one."""
    hides = subject.Subject("review-1", lambda text: text.replace("hunter2", "[redacted]"))
    given = record("no host %s", ("hunter2.example",), (ValueError, ValueError("hunter2"), None), url="/hunter2")
    with subject.concerning(hides):
        inside = formatter.format(given)
    assert "hunter2" not in inside
    assert "review-1" in inside
    assert "review-1" not in formatter.format(given)


def test_named_fields_are_taken_out_from_the_next_record_on(configured, written) -> None:
    """And told again when they are named no more."""
    log = configured("json", "info")
    for fields in ((fieldpaths.parse("user", "f"),), ()):
        log.apply(logsettings.LogSettings(redacted=logsettings.Redacted(fields=fields)))
        logging.getLogger("kymograph.test").info("hello", extra={"user": "jane.doe"})
    hidden, told = (json.loads(line)["user"] for line in written())
    assert (hidden, told) == ("[redacted]", "jane.doe")
