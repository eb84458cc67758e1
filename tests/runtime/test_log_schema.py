"""Every record conforms to the schema in docs/telemetry.md, whatever library it is from."""

import asyncio
import gc
import json
import logging
import pathlib
import re
import warnings

import aiohttp.log
import kopf
import pytest
from opentelemetry.sdk.trace import TracerProvider

from kymograph.runtime import logs
from kymograph.telemetry import logsettings, subject

DOCUMENT = (pathlib.Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
SCHEMA = json.loads(re.search(r"```json\n(\{.*?\n\})\n```", DOCUMENT, re.DOTALL)[1])
TYPES = {"string": str, "object": dict}


def check(line):
    """Hold a line against the schema: the few keywords that it uses, and no other."""
    assert set(SCHEMA) == {
        *("$schema", "title", "type", "required", "properties", "dependentRequired", "additionalProperties")
    }
    record = json.loads(line)
    assert isinstance(record, dict)
    assert set(SCHEMA["required"]) <= set(record)
    for name, needed in SCHEMA["dependentRequired"].items():
        assert name not in record or set(needed) <= set(record)
    for name, about in SCHEMA["properties"].items():
        if name not in record:
            continue
        assert set(about) <= {"description", "type", "pattern", "enum"}
        assert isinstance(record[name], TYPES[about["type"]]), name
        assert re.search(about.get("pattern", ""), str(record[name])), name
        assert record[name] in about.get("enum", [record[name]]), name
    return record


@pytest.fixture
def logging_starts(capsys, logging_put_back):
    """Log as the process does, everything, in JSON, and tell what was written since."""

    def start(*loggers):
        """What it gives tells records of these loggers and those below them: threads of other tests may log, too."""
        logs.Log("json", "debug").apply(logsettings.LogSettings(loggers=dict.fromkeys(logs._QUIET, "debug")))

        def written():
            records = [check(line) for line in capsys.readouterr().err.splitlines()]
            return [each for each in records if f"{each['logger']}.".startswith(tuple(f"{name}." for name in loggers))]

        return written

    return start


def test_our_own_records_conform(logging_starts) -> None:
    """With whatever fields, exceptions and stacks; at whatever level."""
    records = logging_starts("kymograph.test")
    logger = logging.getLogger("kymograph.test")
    for level in (5, logging.DEBUG, 15, logging.INFO, logging.WARNING, 35, logging.ERROR, logging.CRITICAL, 99):
        logger.setLevel(1)
        logger.log(level, "at %d", level, extra={"trace_id": "forged", "odd": {1}, "text": "a\nb"})
    logger.setLevel(logging.NOTSET)
    logger.info("with its stack", stack_info=True)
    try:
        int("what happened")
    except ValueError:
        logger.exception("with an exception")
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("work"):
        logger.info("within a span")
    found = records()
    assert len(found) == 12
    assert "stack" in found[9]
    assert "exception" in found[10]
    assert found[11]["trace_flags"] == "01"
    assert "uid" not in found[11]
    assert len({record["level"] for record in found}) == 5


def test_records_of_kopf_conform(logging_starts) -> None:
    """Of objects and of itself; what it tells its own handlers is left out."""
    records = logging_starts("kopf")
    from kopf._core.actions import loggers

    body = kopf.Body({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"}})
    loggers.ObjectLogger(body=body, settings=kopf.OperatorSettings()).warning("about an object")
    loggers.LocalObjectLogger(body=body, settings=kopf.OperatorSettings()).info("about it, not for Events")
    logging.getLogger("kopf.activities.probe").debug("about itself")
    found = records()
    assert len(found) == 3
    assert found[0]["k8s_ref"]["name"] == "p"
    assert not any({"settings", "k8s_skip"} & set(record) for record in found)


def test_records_of_aiohttp_conform(logging_starts) -> None:
    """Of its servers and of accesses."""
    records = logging_starts("aiohttp")
    aiohttp.log.server_logger.error("Error handling request", exc_info=ValueError("broken"))
    aiohttp.log.access_logger.info("GET /", extra={"first_request_line": "GET / HTTP/1.1", "response_size": 3})
    error, access = records()
    assert "ValueError: broken" in error["exception"]
    assert access["response_size"] == 3


def test_records_of_asyncio_conform(logging_starts) -> None:
    """Slow callbacks, and exceptions that nobody asked for."""
    records = logging_starts("asyncio")

    async def fail():
        raise ValueError("unasked")

    async def work():
        asyncio.get_running_loop().slow_callback_duration = 0
        forgotten = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del forgotten
        gc.collect()

    asyncio.run(work(), debug=True)
    found = records()
    assert any("never retrieved" in record["message"] for record in found)
    assert any("took" in record["message"] for record in found)


def test_records_of_grpc_and_opentelemetry_conform(logging_starts) -> None:
    """They have loggers of the standard library, too; within a review they have its uid."""
    loggers = ("grpc._channel", "grpc._cython", "opentelemetry.sdk.trace", "urllib3.connectionpool")
    records = logging_starts(*loggers)
    with subject.concerning(subject.Subject("review-1")):
        for name in loggers:
            logging.getLogger(name).error("channel closed")
    found = records()
    assert [record["uid"] for record in found] == ["review-1"] * 4


def test_what_ecs_calls_our_fields_is_documented() -> None:
    """Each of them; others are below our own name."""
    for ours, theirs in logs._ECS_NAMES.items():
        assert ours in SCHEMA["properties"]
        assert f"`{theirs}`" in DOCUMENT
    assert set(SCHEMA["properties"]) >= logsettings.OURS


def test_a_record_has_elastics_names() -> None:
    """What ECS demands of every record, and nothing at its top that is not its own."""
    raised = (ValueError, ValueError("odd"), None)
    given = logging.LogRecord("kymograph.x", logging.ERROR, "", 1, "no", (), raised)
    given.decision = {"uid": "u"}
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("work"), subject.concerning(subject.Subject("review-1")):
        document = json.loads(logs.EcsFormatter().format(given))
    assert document.pop("@timestamp").endswith("Z")
    assert {document.pop("trace.id").isalnum(), document.pop("span.id").isalnum()} == {True}
    assert document == {
        "log.level": "error",
        "log.logger": "kymograph.x",
        "message": "no",
        "http.request.id": "review-1",
        "error.type": "ValueError",
        "error.stack_trace": "ValueError: odd",
        "ecs.version": logs.ECS_VERSION,
        "kymograph": {"trace_flags": "01", "decision": {"uid": "u"}},
    }


def test_warnings_of_python_are_records(logging_starts) -> None:
    """And no lines of their own between them."""
    records = logging_starts("py.warnings")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)  # `catch_warnings` puts back what it finds
        logging.captureWarnings(capture=True)
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    (record,) = (each for each in records() if "DeprecationWarning: deprecated" in each["message"])
    assert (record["logger"], record["level"]) == ("py.warnings", "warning")
